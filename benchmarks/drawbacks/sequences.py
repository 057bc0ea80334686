"""Sequence tasks made by a program: the adding problem and a recall task.

A step of a sequence is a few numbers, the last of them a mark: 1 at the steps that matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastmlp.checks import check_integer

N_SYMBOLS = 4
"""How many symbols the recall task knows."""
RECALL_FEATURES = N_SYMBOLS + 1
ADDING_FEATURES = 2


def adding_problem(
    n: int, steps: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw sequences of numbers, two of them marked; the target is the marked numbers' sum.

    The adding problem of Hochreiter and Schmidhuber (1997): one number is marked in the first half
    of the sequence and one in the second.

    Parameters
    ----------
    n : int
        How many sequences.
    steps : int
        Their length, at least 2.
    seed : int

    Returns
    -------
    x : ndarray of float32, shape (n, steps, 2)
        A number in [0, 1) and the mark, 0 or 1.
    y : ndarray of float32, shape (n, 1)
        The sum; its variance is 1/6.
    """
    n, steps = check_integer("n", n, 0), check_integer("steps", steps, 2)
    random = np.random.default_rng([seed, steps, 0])
    x = np.zeros((n, steps, ADDING_FEATURES), np.float32)
    x[:, :, 0] = random.random((n, steps), dtype=np.float32)
    rows = np.arange(n)
    first, second = random.integers(0, steps // 2, n), random.integers(steps // 2, steps, n)
    x[rows, first, 1] = 1.0
    x[rows, second, 1] = 1.0
    return x, x[rows, first, :1] + x[rows, second, :1]


def recall_task(
    n: int, steps: int, seed: int, marked_steps: Sequence[int] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw sequences of symbols, one of them marked; the target is the marked symbol.

    Parameters
    ----------
    n : int
        How many sequences.
    steps : int
        Their length.
    seed : int
    marked_steps : sequence of int, optional
        The steps that the mark may be at, counted from 0; by default any.

    Returns
    -------
    x : ndarray of float32, shape (n, steps, 5)
        The symbol, one of 4, as a row with a single 1; and the mark, 0 or 1.
    y : ndarray of int64, shape (n,)
        The marked symbol, 0 to 3.

    Raises
    ------
    ValueError
        If a marked step lies outside the sequence.
    """
    n, steps = check_integer("n", n, 0), check_integer("steps", steps, 1)
    allowed = np.arange(steps) if marked_steps is None else np.asarray(marked_steps)
    if len(allowed) == 0 or allowed.min() < 0 or allowed.max() >= steps:
        raise ValueError(
            f"marked_steps must be steps from 0 to {steps - 1}; got {allowed.tolist()}"
        )
    random = np.random.default_rng([seed, steps, 1])
    symbols = random.integers(0, N_SYMBOLS, (n, steps))
    x = np.zeros((n, steps, RECALL_FEATURES), np.float32)
    x[:, :, :N_SYMBOLS] = symbols[:, :, None] == np.arange(N_SYMBOLS)
    rows = np.arange(n)
    marked = random.choice(allowed, n)
    x[rows, marked, N_SYMBOLS] = 1.0
    return x, symbols[rows, marked]


def last_window(x: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Return the last `window` steps of x (rows, steps, features), flat: what an MLP can take.

    A shorter sequence is preceded by empty steps (zeros). The result is (rows, window * features).
    """
    rows, steps, features = x.shape
    seen = np.zeros((rows, window, features), x.dtype)
    kept = min(window, steps)
    seen[:, window - kept :] = x[:, steps - kept :]
    return seen.reshape(rows, -1)
