"""The checks of data: everything that does not fit is refused, by name; nothing is copied."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmlp import SGD, Network
from fastmlp.data import check_features, check_finite, check_sample_weight, check_targets
from fastmlp.plan import make_plan


def plan_for(output: str, n_outputs: int = 3) -> Any:
    return make_plan(Network([4, n_outputs], output=output), optimizer=SGD())


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_features_pass_as_they_are(dtype: str) -> None:
    x = np.ones((10, 8), dtype)
    for view in (x[:, ::2], x[::-1, :4], np.asfortranarray(x[:, :4])):
        assert check_features(view, 4) is view


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [("float16", "float32"), ("int16", "float32"), ("bool", "float32"), ("int64", "float64"),
     (">f4", "float32"), (">f8", "float64"), ("uint32", "float32")],
)  # fmt: skip
def test_other_numbers_are_converted(dtype: str, wanted: str) -> None:
    converted = check_features(np.ones((3, 4), dtype), 4)
    assert converted.dtype == wanted and converted.dtype.isnative and (converted == 1).all()
    assert check_features([[1, 2], [3, 4]], 2).tolist() == [[1.0, 2.0], [3.0, 4.0]]


BAD_FEATURES: list[tuple[Any, type[Exception], str]] = [
    (np.ones(4), ValueError, r"X must have the shape \(rows, 4\).*got \(4,\).*reshape\(1, -1\)"),
    (np.ones(3), ValueError, r"X must have the shape \(rows, 4\).*got \(3,\)"),
    (np.ones((2, 2, 2)), ValueError, r"X must have.*got \(2, 2, 2\); flatten the rows"),
    (np.ones((2, 5)), ValueError, r"got \(2, 5\)"),
    (np.ones((0, 4)), ValueError, r"X must have at least one row; got the shape \(0, 4\)"),
    (np.float64(3.0), ValueError, r"got \(\)"),
    ([[1, 2, 3, 4], [1, 2]], ValueError, "X must be a rectangular array of numbers; got list"),
    (np.array([["a"] * 4]), TypeError, "X must hold numbers.*got the dtype <U1"),
    (np.array([[None] * 4]), TypeError, "X must hold numbers.*dtype object"),
    (np.ones((2, 4), complex), TypeError, "X must hold numbers.*dtype complex128"),
    (np.ones((2, 4), "datetime64[s]"), TypeError, "X must hold numbers"),
    (None, TypeError, "X must hold numbers"),
    ("text", TypeError, "X must hold numbers"),
]


@pytest.mark.parametrize(("x", "error", "text"), BAD_FEATURES)
def test_bad_features(x: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        check_features(x, 4)


@given(
    st.integers(0, 9000),
    st.integers(0, 1),
    st.sampled_from([np.nan, np.inf, -np.inf]),
    st.sampled_from(["float32", "float64"]),
)
def test_what_is_not_finite_is_found_and_placed(
    row: int, column: int, bad: float, dtype: str
) -> None:
    x = np.ones((9001, 2), dtype)
    x[row, column] = bad
    with pytest.raises(ValueError, match=rf"got {bad} at X\[{row}, {column}\]; drop or fill"):
        check_features(x, 2)


def test_a_sum_that_overflows_is_not_mistaken_for_infinity() -> None:
    check_finite(np.full((3, 2), np.finfo(np.float32).max), "X")
    check_finite(np.full((3, 2), 1e308), "X")


@pytest.mark.parametrize(
    "y",
    [
        [0, 2, 1],
        np.array([0, 2, 1], np.uint8),
        np.array([0.0, 2.0, 1.0], np.float32),
        [[0], [2], [1]],
        np.eye(3)[[0, 2, 1]],
        np.eye(3, dtype=bool)[[0, 2, 1]],
    ],
)
def test_labels(y: Any) -> None:
    labels = check_targets(y, plan_for("softmax"), 3)
    assert labels.dtype == np.int32 and labels.tolist() == [0, 2, 1]
    assert labels.flags.c_contiguous


def test_values() -> None:
    column = check_targets([1, 0], plan_for("sigmoid", 1), 2)
    assert column.shape == (2, 1) and column.dtype == np.float32
    matrix = check_targets(np.asfortranarray(np.ones((2, 3))), plan_for("identity"), 2)
    assert matrix.flags.c_contiguous and matrix.dtype == np.float32


BAD_TARGETS: list[tuple[str, int, Any, type[Exception], str]] = [
    ("softmax", 3, [0, 1], ValueError, r"y must have one target per row of X \(3\).*\(2,\)"),
    ("softmax", 3, 1, ValueError, r"one target per row.*\(\)"),
    ("softmax", 3, [0, 1, 3], ValueError, "y must hold integers from 0 to 2.*got 3"),
    ("softmax", 3, [0, 1, -1], ValueError, "y must hold integers from 0 to 2.*got -1"),
    ("softmax", 3, [0, 1, 0.5], ValueError, "y must hold integers.*got 0.5"),
    ("softmax", 3, [0, 1, np.nan], ValueError, r"y must hold finite.*y\[2\]"),
    ("softmax", 3, np.ones((3, 2)), ValueError, r"y must be class numbers.*got \(3, 2\)"),
    ("softmax", 3, np.full((3, 3), 1 / 3), ValueError, "must be one-hot"),
    ("softmax", 3, np.zeros((3, 3)), ValueError, "must be one-hot"),
    ("softmax", 3, ["a", "b", "c"], TypeError, "y must hold numbers"),
    ("softmax", 3, [None, 1, 2], TypeError, "y must hold numbers"),
    ("sigmoid", 2, np.ones(3), ValueError, r"y must have the shape \(3, 2\).*got \(3,\)"),
    ("sigmoid", 1, np.ones((3, 2)), ValueError, r"shape \(3, 1\) or \(3,\).*got \(3, 2\)"),
    ("sigmoid", 1, [0, 1, 2], ValueError, r"y must lie in \[0, 1\].*got 2"),
    ("sigmoid", 1, [0, 1, -0.1], ValueError, r"y must lie in \[0, 1\].*got -0.1"),
    ("identity", 1, [0, 1, np.inf], ValueError, "y must hold finite numbers only; got inf"),
    ("identity", 1, [0, 1, 1e300], ValueError, "y must hold finite numbers only; got inf"),
    ("identity", 1, [1j, 1, 1], TypeError, "y must hold numbers"),
]


@pytest.mark.parametrize(("output", "n_outputs", "y", "error", "text"), BAD_TARGETS)
def test_bad_targets(
    output: str, n_outputs: int, y: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        check_targets(y, plan_for(output, n_outputs), 3)


@pytest.mark.parametrize(
    ("weights", "error", "text"),
    [
        ([1, 1], ValueError, r"sample_weight must have the shape \(3,\).*got \(2,\)"),
        ([[1], [1], [1]], ValueError, r"got \(3, 1\)"),
        ([1, -1, 1], ValueError, "sample_weight must be >= 0; got -1"),
        ([0, 0, 0], ValueError, "positive sum; got only zeros"),
        ([1, np.nan, 1], ValueError, r"got nan at sample_weight\[1\]"),
        ([1, 1e300, 1], ValueError, r"got inf at sample_weight\[1\]"),
        (["a", "b", "c"], TypeError, "sample_weight must hold numbers"),
        (2.0, ValueError, r"got \(\)"),
    ],
)
def test_bad_sample_weight(weights: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        check_sample_weight(weights, 3, "float32")


def test_sample_weight() -> None:
    assert check_sample_weight(None, 3, "float32") is None
    weights = check_sample_weight([True, False, True], 3, "float64")
    assert weights is not None and weights.dtype == np.float64 and weights.tolist() == [1, 0, 1]


GROUPED = make_plan(Network([4, 5], group_sizes=(3, 2)), optimizer=SGD())


def test_labels_of_groups() -> None:
    for dtype in ("int64", "float32", "uint8"):
        labels = check_targets(np.array([[2, 1], [0, 0]], dtype), GROUPED, 2)
        assert labels.dtype == np.int32 and labels.tolist() == [[2, 1], [0, 0]]
        assert labels.flags.c_contiguous


@pytest.mark.parametrize(
    ("y", "text"),
    [
        ([2, 1], r"y must be class numbers of the shape \(rows, 2\).*3, 2 outputs; got \(2,\)"),
        (np.zeros((2, 5)), r"shape \(rows, 2\).*got \(2, 5\)"),
        ([[2, 1], [0, 2]], r"y\[:, 1\] must hold integers from 0 to 1.*got 2"),
        ([[-1, 1], [0, 1]], r"y\[:, 0\] must hold integers from 0 to 2.*got -1"),
        ([[0.5, 1], [0, 1]], r"y\[:, 0\] must hold integers.*got 0.5"),
        ([[0.0, 1], [np.nan, 1]], r"y\[:, 0\] must hold finite numbers only"),
    ],
)
def test_bad_labels_of_groups(y: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        check_targets(y, GROUPED, 2)
