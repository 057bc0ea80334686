"""Tables of random numbers with a target that a linear model cannot follow."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from fastmlp.checks import check_integer, check_seed
from fastmlp.errors import unknown_name

__all__ = ["synthetic_tabular"]

TASKS = ("classification", "regression")
# Rows are drawn in chunks of this many, each with random numbers of its own; the first rows are
# then the same however many follow. Changing it changes the rows.
CHUNK = 1024
MAX_USED = 10  # the target depends on at most so many features; the others are distractors
N_RIDGES = 6
NOISE = 0.2  # standard deviation, relative to that of the target without noise
CALIBRATION_ROWS = 8192


@overload
def synthetic_tabular(
    n: int,
    n_features: int = ...,
    *,
    task: Literal["classification"] = ...,
    seed: int = ...,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]: ...


@overload
def synthetic_tabular(
    n: int,
    n_features: int = ...,
    *,
    task: Literal["regression"],
    seed: int = ...,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...


def synthetic_tabular(
    n: int,
    n_features: int = 20,
    *,
    task: Literal["classification", "regression"] = "classification",
    seed: int = 0,
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Draw a table of standard normal features with a smooth, nonlinear, noisy target.

    The target is a sum of bends ``tanh(direction . x)`` and of products of two features, over the
    first ``min(n_features, 10)`` features; the others are distractors. It is centred and scaled to
    a standard deviation of 1, and has normal noise of standard deviation 0.2 added. Two classes
    are its two signs; the noise limits every classifier to about 94%.

    The first rows for a seed do not depend on `n`. The function belongs to the seed: split one
    call's rows to train and test, do not draw them with two seeds.

    Parameters
    ----------
    n : int
        How many rows.
    n_features : int, default 20
        How many columns, at least 2.
    task : {"classification", "regression"}
        Which target.
    seed : int, default 0
        Which function and which rows; not negative.

    Returns
    -------
    x : ndarray of float32, shape (n, n_features)
        The features.
    y : ndarray, shape (n,)
        int64 classes, 0 or 1; or float32 values.

    Raises
    ------
    TypeError
        If a number is not an integer, or `task` is not a str.
    ValueError
        If `n` or `seed` is negative, `n_features` is less than 2, or `task` is unknown.
    """
    n = check_integer("n", n, minimum=0)
    n_features = check_integer("n_features", n_features, minimum=2)
    seed = check_seed(seed)
    if task not in TASKS:
        raise unknown_name("task", task, TASKS)

    target = _Target(min(n_features, MAX_USED), np.random.SeedSequence(seed, spawn_key=(0,)))
    x = np.empty((n, n_features), dtype=np.float32)
    y = np.empty(n, dtype=np.float32)
    for chunk, start in enumerate(range(0, n, CHUNK)):
        stop = min(start + CHUNK, n)
        random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, chunk)))
        # Always a whole chunk: what follows must not depend on how many rows are wanted.
        rows = random.standard_normal((CHUNK, n_features), dtype=np.float32)
        noise = random.standard_normal(CHUNK)
        x[start:stop] = rows[: stop - start]
        y[start:stop] = (target(rows) + NOISE * noise)[: stop - start]
    if task == "classification":
        return x, (y > 0).astype(np.int64)
    return x, y


class _Target:
    """The function behind the target: fixed by its random numbers, mean 0, deviation 1."""

    def __init__(self, n_used: int, seed: np.random.SeedSequence) -> None:
        random = np.random.default_rng(seed)
        self.n_used = n_used
        self.directions = random.standard_normal((n_used, N_RIDGES)) * (2.0 / np.sqrt(n_used))
        self.offsets = random.uniform(-1.0, 1.0, N_RIDGES)
        self.heights = random.uniform(0.5, 1.0, N_RIDGES) * random.choice([-1.0, 1.0], N_RIDGES)
        self.products = random.uniform(0.4, 0.8, n_used) * random.choice([-1.0, 1.0], n_used)
        self.mean, self.deviation = 0.0, 1.0
        sample = self(random.standard_normal((CALIBRATION_ROWS, n_used)))
        # The median, not the mean: it makes the two classes equally large.
        self.mean, self.deviation = float(np.median(sample)), float(sample.std())

    def __call__(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Map rows (count, features) to values (count,)."""
        used = x[:, : self.n_used].astype(np.float64)
        ridges = np.tanh(used @ self.directions + self.offsets)  # (count, N_RIDGES)
        # Each used feature times the next one, the last times the first.
        pairs = used * np.roll(used, -1, axis=1)
        values = ridges @ self.heights + 0.5 * (pairs @ self.products)
        return np.asarray((values - self.mean) / self.deviation)
