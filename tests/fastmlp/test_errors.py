"""The errors' classes and wording."""

from __future__ import annotations

import fastmlp
from fastmlp.errors import MissingExtraError, nearest, unknown_name


def test_classes_are_the_ones_that_callers_catch() -> None:
    assert issubclass(fastmlp.FormatError, ValueError)
    assert issubclass(fastmlp.BackendUnavailableError, RuntimeError)
    assert issubclass(fastmlp.MissingExtraError, ImportError)
    assert issubclass(fastmlp.DivergenceError, FloatingPointError)


def test_a_missing_extra_says_how_to_install_it() -> None:
    text = str(MissingExtraError("matplotlib", "report", "drawing"))
    assert text.startswith("drawing needs the package 'matplotlib'")
    assert "pip install 'fastmlp[report]'" in text


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
