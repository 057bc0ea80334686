"""The losses by the output agree with the formulas that the library runs."""

from __future__ import annotations

import math

import pytest

from fastmlp import LOSSES
from fastmlp.explain.textbook_losses import TEXTBOOK_LOSSES
from fastmlp.kernels.formulas import sigmoid


@pytest.mark.parametrize("y", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("z", [-3.0, 0.0, 1.5])
def test_binary_cross_entropy(z: float, y: float) -> None:
    textbook, merged = TEXTBOOK_LOSSES["binary_cross_entropy"], LOSSES["binary_cross_entropy"]
    a = sigmoid(z)
    assert textbook.value(a, y) == pytest.approx(merged.value(z, y), rel=1e-13)
    assert textbook.slope(a, y) * a * (1 - a) == pytest.approx(merged.slope(z, y), rel=1e-13)


@pytest.mark.parametrize("a", [0.1, 0.5, 0.9])
def test_categorical_cross_entropy(a: float) -> None:
    name = "categorical_cross_entropy"
    textbook, merged = TEXTBOOK_LOSSES[name], LOSSES[name]
    for y in (0.0, 1.0):
        assert textbook.value(a, y) == pytest.approx(merged.value(math.log(a), y), rel=1e-14)
        # d(log a)/da = 1 / a
        assert textbook.slope(a, y) == pytest.approx(merged.slope(math.log(a), y) / a, rel=1e-14)


@pytest.mark.parametrize("name", TEXTBOOK_LOSSES)
def test_slopes_are_the_derivatives(name: str) -> None:
    loss, step = TEXTBOOK_LOSSES[name], 1e-6
    for a in (0.2, 0.7):
        measured = (loss.value(a + step, 0.8) - loss.value(a - step, 0.8)) / (2 * step)
        assert loss.slope(a, 0.8) == pytest.approx(measured, rel=1e-7)


def test_only_losses_of_the_library() -> None:
    assert set(TEXTBOOK_LOSSES) <= set(LOSSES)
