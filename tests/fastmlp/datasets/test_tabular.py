"""synthetic_tabular: the same for a seed whatever else is asked, nonlinear, and learnable."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from fastmlp.datasets import synthetic_tabular
from fastmlp.datasets.tabular import CHUNK, MAX_USED


def test_classification() -> None:
    x, y = synthetic_tabular(3000, 7)
    assert (x.shape, x.dtype) == ((3000, 7), np.float32)
    assert (y.shape, y.dtype) == ((3000,), np.int64)
    assert set(np.unique(y)) == {0, 1}
    assert 0.45 < y.mean() < 0.55


def test_regression() -> None:
    x, y = synthetic_tabular(3000, 7, task="regression")
    assert (y.shape, y.dtype) == ((3000,), np.float32)
    assert y.std() == pytest.approx(1.02, abs=0.1)  # 1, and noise of 0.2
    labels = synthetic_tabular(3000, 7)[1]
    np.testing.assert_array_equal(labels, y > 0)  # the same rows and function
    np.testing.assert_array_equal(x, synthetic_tabular(3000, 7)[0])


def test_no_rows() -> None:
    x, y = synthetic_tabular(0, 2)
    assert x.shape == (0, 2)
    assert y.shape == (0,)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("n", [1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_first_rows_do_not_depend_on_n(
    n: int, task: Literal["classification", "regression"]
) -> None:
    many_x, many_y = synthetic_tabular(2 * CHUNK + 5, task=task, seed=9)
    x, y = synthetic_tabular(n, task=task, seed=9)
    np.testing.assert_array_equal(x, many_x[:n])
    np.testing.assert_array_equal(y, many_y[:n])


def test_seed_decides() -> None:
    x, y = synthetic_tabular(500, seed=1)
    np.testing.assert_array_equal(synthetic_tabular(500, seed=1)[0], x)
    other_x, other_y = synthetic_tabular(500, seed=2)
    assert (other_x != x).any()
    assert (other_y != y).any()


def r_squared(features: Any, y: Any) -> float:
    """How much of the target's variance a least squares fit explains."""
    features = np.column_stack([np.ones(len(y)), features]).astype(np.float64)
    residual = y - features @ np.linalg.lstsq(features, y, rcond=None)[0]
    return float(1 - residual.var() / y.var())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_products_explain_what_a_line_cannot(seed: int) -> None:
    x, y = synthetic_tabular(6000, 12, task="regression", seed=seed)
    used = x[:, :MAX_USED]
    products = used * np.roll(used, -1, axis=1)
    linear = r_squared(x, y)
    assert linear < 0.8
    assert r_squared(np.hstack([x, products]), y) > linear + 0.15


def test_features_beyond_the_used_ones_are_distractors() -> None:
    x, y = synthetic_tabular(6000, MAX_USED + 5, task="regression")
    assert r_squared(x[:, MAX_USED:], y) < 0.01
    assert r_squared(x[:, :MAX_USED], y) > 0.05


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"n": -1}, ValueError, "n must be an integer >= 0; got -1"),
        ({"n": 1.5}, TypeError, "n must be .* got float: 1.5"),
        ({"n": 1, "n_features": 1}, ValueError, "n_features must be an integer >= 2"),
        ({"n": 1, "seed": "0"}, TypeError, "seed must be .* got str: '0'"),
        ({"n": 1, "task": "regresion"}, ValueError, "task must be .* Did you mean 'regression'"),
        ({"n": 1, "task": None}, TypeError, "task must be .* got NoneType"),
        ({"n": 1, "task": ["regression"]}, TypeError, "task must be .* got list"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        synthetic_tabular(**arguments)
