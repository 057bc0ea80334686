"""Formulas as text: what is shown is what runs."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fastmlp import ACTIVATIONS
from fastmlp.explain.formula_text import assignments, definition, with_numbers
from fastmlp.explain.textbook_losses import binary_cross_entropy_slope
from fastmlp.kernels import formulas


def evaluated(text: str) -> float:
    """Read a shown formula as Python again."""
    known = {name: getattr(formulas, name) for name in dir(formulas)}
    return float(eval(text.replace("·", "*"), {**known, "log": math.log}))


@pytest.mark.parametrize("z", [-1.25, -0.5, 0.0, 0.5, 1.25])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_with_numbers_have_the_value_of_the_formula(name: str, z: float) -> None:
    formula = ACTIVATIONS[name]
    shown, _ = with_numbers(formula.value, z)
    assert evaluated(shown) == pytest.approx(formula.value(z), rel=2e-3, abs=1e-12)
    argument = z if formula.derivative_input == "z" else formula.value(z)
    shown, _ = with_numbers(formula.derivative, argument)
    assert evaluated(shown) == pytest.approx(formula.derivative(argument), rel=5e-3, abs=1e-3)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (formulas.sigmoid, "1 / (1 + exp(-z))"),
        (formulas.sigmoid_derivative, "a·(1 - a)"),
        (formulas.relu, "0 if z < 0 else z"),
        (formulas.tanh, "the hyperbolic tangent"),
        (formulas.softplus, "log(1 + exp(z))"),
    ],
)
def test_definitions(function: Any, expected: str) -> None:
    assert definition(function) == expected


def test_names_can_be_changed() -> None:
    assert definition(formulas.squared_error_slope, z="a") == "a - y"


@pytest.mark.parametrize(
    ("function", "values", "expected"),
    [
        (formulas.sigmoid, (0.44,), ("1 / (1 + exp(-0.44))", "")),
        (formulas.sigmoid, (-0.44,), ("1 / (1 + exp(-(-0.44)))", "")),
        (formulas.relu, (0.5,), ("0.5", "z >= 0")),
        (formulas.relu, (-0.5,), ("0", "z < 0")),
        (formulas.leaky_relu, (-0.5,), ("0.01·(-0.5)", "z < 0")),
        (formulas.relu_derivative, (0.0,), ("0", "a <= 0")),
        (formulas.tanh, (-0.5,), ("tanh(-0.5)", "")),
        (formulas.squared_error_slope, (-0.5, -0.25), ("-0.5 - (-0.25)", "")),
        (binary_cross_entropy_slope, (0.5, 1.0), ("-1 / 0.5 + (1 - 1) / (1 - 0.5)", "")),
    ],
)
def test_numbers_put_in(function: Any, values: Any, expected: tuple[str, str]) -> None:
    assert with_numbers(function, *values) == expected


def test_optimizers_line_by_line() -> None:
    assert assignments(formulas.sgd, "w_new") == ["w_new = w - learning_rate·g"]
    assert assignments(formulas.momentum, "w_new") == [
        "velocity = settled(decay·velocity - learning_rate·g)",
        "w_new = w + velocity",
    ]
