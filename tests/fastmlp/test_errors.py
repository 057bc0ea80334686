"""The errors' classes and wording."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

import fastmlp
from fastmlp.errors import ALIASES, MissingExtraError, nearest, unknown_name
from fastmlp.initializers import INITIALIZERS
from fastmlp.kernels.formulas import ACTIVATIONS, LOSSES
from fastmlp.network import OUTPUTS


def test_classes_are_the_ones_that_callers_catch() -> None:
    assert issubclass(fastmlp.FormatError, ValueError)
    assert issubclass(fastmlp.BackendUnavailableError, RuntimeError)
    assert issubclass(fastmlp.MissingExtraError, ImportError)
    assert issubclass(fastmlp.DivergenceError, FloatingPointError)


def test_a_missing_extra_says_how_to_install_it() -> None:
    text = str(MissingExtraError("matplotlib", "report", "drawing"))
    # Both work with a clone only: fastmlp need not be on any index.
    assert text == (
        "drawing needs the package 'matplotlib', which is not installed; install it with: "
        "pip install matplotlib (or, for all of the extra 'report', in the clone of fastmlp: "
        "pip install '.[report]')"
    )


def test_a_missing_extra_says_what_else_helps() -> None:
    error = MissingExtraError("pooch", "data", "downloading", otherwise="Or:\n  - copy it")
    assert str(error).splitlines()[1:] == ["Or:", "  - copy it"]


def test_unknown_names() -> None:
    error = unknown_name("loss", "squared", ["squared_error", "hinge"])
    assert isinstance(error, ValueError)
    assert str(error) == (
        "loss must be one of 'hinge', 'squared_error'; got 'squared'. Did you mean 'squared_error'?"
    )
    assert "Did you mean" not in str(unknown_name("loss", "zzz", ["squared_error"]))
    wrong_type = unknown_name("loss", 3, ["hinge"])
    assert isinstance(wrong_type, TypeError) and "got int: 3" in str(wrong_type)


def test_nearest() -> None:
    assert nearest("rleu", ["relu", "tanh"]) == "relu"
    assert nearest("qqq", ["relu", "tanh"]) is None


def test_nearest_whatever_the_case() -> None:
    assert nearest("RELU", ["relu", "tanh"]) == "relu"
    assert nearest("ReLU ", ["elu", "relu"]) == "relu"
    assert nearest("sgd", ["SGD", "Adam"]) == "SGD"


@pytest.mark.parametrize(
    ("alias", "name", "valid"),
    [
        ("mse", "squared_error", LOSSES),
        ("MSE", "squared_error", LOSSES),
        ("bce", "binary_cross_entropy", LOSSES),
        ("cross_entropy", "categorical_cross_entropy", LOSSES),
        ("cross-entropy", "categorical_cross_entropy", LOSSES),
        ("cce", "categorical_cross_entropy", LOSSES),
        ("log_loss", "categorical_cross_entropy", LOSSES),
        ("logistic", "sigmoid", OUTPUTS),
        ("swish", "silu", ACTIVATIONS),
        ("linear", "identity", OUTPUTS),
        ("xavier", "glorot", INITIALIZERS),
        ("kaiming", "he", INITIALIZERS),
    ],
)
def test_names_of_others_are_suggested(alias: str, name: str, valid: Iterable[str]) -> None:
    assert f"Did you mean '{name}'?" in str(unknown_name("name", alias, valid))


def test_every_alias_is_of_a_name_that_there_is() -> None:
    names = {*LOSSES, *OUTPUTS, *INITIALIZERS}
    assert set(ALIASES.values()) <= names
    assert not names & set(ALIASES)
