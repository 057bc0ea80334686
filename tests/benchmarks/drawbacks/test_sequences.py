"""The adding problem, the recall task, and the window that an MLP sees."""

from __future__ import annotations

import numpy as np
import pytest

from fastmlp.benchmarks.drawbacks.sequences import adding_problem, last_window, recall_task


def test_adding_problem() -> None:
    x, y = adding_problem(4000, 7, seed=3)
    assert (x.shape, y.shape, x.dtype, y.dtype) == ((4000, 7, 2), (4000, 1), np.float32, np.float32)
    np.testing.assert_allclose((x[..., 0] * x[..., 1]).sum(axis=1), y[:, 0], rtol=1e-6)
    # One mark in the first half, one in the second, each step in turn.
    np.testing.assert_array_equal(x[:, :3, 1].sum(axis=1), 1)
    np.testing.assert_array_equal(x[:, 3:, 1].sum(axis=1), 1)
    assert (x[..., 1].sum(axis=0) > 800).all()
    assert y.var() == pytest.approx(1 / 6, rel=0.1)


def test_recall_task() -> None:
    x, y = recall_task(2000, 6, seed=3)
    assert (x.shape, y.shape, y.dtype) == ((2000, 6, 5), (2000,), np.int64)
    np.testing.assert_array_equal(x[..., :4].sum(axis=2), 1)
    np.testing.assert_array_equal(x[..., 4].sum(axis=1), 1)
    marked = x[..., 4].argmax(axis=1)
    np.testing.assert_array_equal(x[np.arange(2000), marked, :4].argmax(axis=1), y)
    assert (np.bincount(marked) > 250).all()
    assert (np.bincount(y) > 400).all()


def test_marks_only_where_allowed() -> None:
    x, _ = recall_task(300, 8, seed=0, marked_steps=(2, 5))
    assert set(x[..., 4].argmax(axis=1).tolist()) == {2, 5}
    for steps in [(8,), (-1, 3), ()]:
        with pytest.raises(ValueError, match="marked_steps must be steps from 0 to 7"):
            recall_task(3, 8, seed=0, marked_steps=steps)


def test_seed_and_length_decide() -> None:
    np.testing.assert_array_equal(recall_task(9, 5, 1)[0], recall_task(9, 5, 1)[0])
    assert (recall_task(9, 5, 1)[0] != recall_task(9, 5, 2)[0]).any()
    assert (adding_problem(9, 6, 1)[0] != adding_problem(9, 6, 2)[0]).any()


def test_too_short() -> None:
    with pytest.raises(ValueError, match="steps must be an integer >= 2"):
        adding_problem(3, 1, seed=0)


def test_last_window() -> None:
    x = np.arange(2 * 4 * 3, dtype=np.float32).reshape(2, 4, 3)
    np.testing.assert_array_equal(last_window(x, 4), x.reshape(2, 12))
    np.testing.assert_array_equal(last_window(x, 2), x[:, 2:].reshape(2, 6))
    longer = last_window(x, 5)
    assert not longer[:, :3].any()
    np.testing.assert_array_equal(longer[:, 3:], x.reshape(2, 12))
