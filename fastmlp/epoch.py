"""`Epoch`: one epoch of training; the order of its rows, its batches call by call, divergence."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bound_engine import BoundEngine
from .data import Examples
from .errors import DivergenceError
from .history import History
from .kernels.contract import Plan
from .kernels.formulas import random_bits
from .optimizers import Optimizer
from .regularization import Clipping, Regularization

TINY = 1e-300
"""What the loss of rows without weight, 0, is divided by."""

ROWS_LOOKED_AT = 1000
"""How many rows the advice after a divergence looks at."""


class Epoch:
    """The batches of one epoch, trained some at a time.

    Parameters
    ----------
    engine : BoundEngine
    examples : Examples
    order : ndarray of int64, shape (rows,)
        The rows to go through, as `epoch_order` returns them.
    optimizer : Optimizer
    regularization : Regularization
    clipping : Clipping
    history : History
        What happens is noted in it.
    n_steps : int
        How many batches were trained before this epoch.
    dropout_seed : int

    Attributes
    ----------
    n_batches : int
    n_steps : int
        How many batches have been trained by now, in all.
    """

    def __init__(
        self,
        engine: BoundEngine,
        examples: Examples,
        order: NDArray[np.int64],
        *,
        optimizer: Optimizer,
        regularization: Regularization,
        clipping: Clipping,
        history: History,
        n_steps: int,
        dropout_seed: int,
        stays_packed: bool = False,
    ) -> None:
        plan = engine.plan
        self.n_batches = n_batches = -(-len(order) // plan.batch_size)
        self.n_steps = n_steps
        self._engine, self._examples, self._order = engine, examples, order
        self._optimizer, self._history, self._stays_packed = optimizer, history, stays_packed
        # Per batch, all of them: what it counts for, when it comes, what its update is made with.
        self._counts = _batch_weights(order, examples.weights, plan.batch_size)
        self._epochs = history.n_epochs + np.arange(n_batches) / n_batches
        self._rows_per_epoch = history.rows_per_epoch(len(order))
        coefficients = optimizer.coefficients(
            n_steps + 1, n_batches, self._epochs, self._rows_per_epoch
        )
        if plan.adjusts_gradient:
            adjustments = _adjustments(regularization, clipping, self._counts)
            coefficients = np.hstack([coefficients, adjustments])
        self._coefficients = coefficients
        self._dropout_keys = dropout_keys(plan, dropout_seed, n_steps, n_batches)
        self._start = engine.network.learned, engine.optimizer_state.copy(), n_steps
        self._sums: list[float] = []
        self._seconds = 0.0
        history.batch_losses = []

    @property
    def n_done(self) -> int:
        """How many batches are done."""
        return len(self._sums)

    @property
    def is_done(self) -> bool:
        """Whether all batches are done."""
        return len(self._sums) == self.n_batches

    def train(self, most: int) -> None:
        """Train the next batches: as many as a call should take, but no more than `most`.

        Raises
        ------
        DivergenceError
            If the loss or the parameters are no longer finite. The last finite ones are put back.
        """
        engine, keys, first = self._engine, self._dropout_keys, self.n_done
        last = min(first + min(engine.most_batches(self._examples.x), most), self.n_batches)
        size = engine.plan.batch_size
        sums, seconds = engine.train(
            self._examples,
            self._order[first * size : last * size],
            self._coefficients[first:last],
            None if keys is None else keys[first:last],
            stays_packed=self._stays_packed and last < self.n_batches,
        )
        self._seconds += seconds
        self._sums.extend(sums)
        counts = np.maximum(self._counts[first : self.n_done], TINY)
        self._history.batch_losses.extend((np.array(sums) / counts).tolist())
        diverged = not math.isfinite(sums[-1])
        self.n_steps += len(sums) - diverged
        if diverged or (self.is_done and not self._network_is_finite):
            rates = self._optimizer.rates(self._epochs[first:last], self._rows_per_epoch)
            engine.unpack()
            self._put_back()
            raise DivergenceError(self._advice(float(rates.max())))

    def note(self) -> None:
        """Note in the history that the epoch is done."""
        self._history.loss.append(float(np.array(self._sums).sum() / self._counts.sum()))
        self._history.seconds.append(self._seconds)
        self._history.rows.append(len(self._order))

    @property
    def _network_is_finite(self) -> bool:
        network = self._engine.network
        return all(np.isfinite(values).all() for values in (network.parameters, network.statistics))

    def _put_back(self) -> None:
        """Put back what the epoch began with, unless the present is finite."""
        network, state = self._engine.network, self._engine.optimizer_state
        if not (self._network_is_finite and np.isfinite(state).all()):
            network.learned, state[...], self.n_steps = self._start

    def _advice(self, rate: float) -> str:
        """Return that training has diverged, and what to try: by some rows and the rate."""
        advice = [f"a smaller learning rate (now {rate:g})"]
        rows = self._engine.dense(self._examples.x, slice(ROWS_LOOKED_AT))
        largest = float(np.abs(self._engine.network.scaled(rows)).max())
        if largest > 20.0:
            advice.insert(
                0,
                f"inputs of about unit size (as scaled they reach {largest:g}; see input_scale and "
                "input_center of Network, or scale_inputs='standard' of the estimators)",
            )
        return (
            f"training diverged in epoch {self._history.n_epochs + 1} (step {self.n_steps + 1}): "
            f"the loss or the parameters are no longer finite. The last finite parameters were "
            f"kept. Try {' or '.join(advice)}."
        )


def epoch_order(
    shuffle: bool | Callable[[int], NDArray[np.int64]], random: np.random.Generator, n_rows: int
) -> NDArray[np.int64]:
    """Return the rows that an epoch goes through, in their order; `shuffle` as a Trainer has it."""
    if not callable(shuffle):
        return random.permutation(n_rows) if shuffle else np.arange(n_rows)
    order = np.asarray(shuffle(n_rows))
    if order.ndim != 1 or len(order) == 0 or order.dtype.kind not in "iu":
        raise ValueError(
            "shuffle must return the numbers of the rows in order, a flat array of integers; "
            f"got the shape {order.shape} and dtype {order.dtype}"
        )
    if order.min() < 0 or order.max() >= n_rows:
        raise ValueError(
            f"shuffle must return row numbers from 0 to {n_rows - 1}; got {order.min()} to "
            f"{order.max()}"
        )
    return np.ascontiguousarray(order, np.int64)


def dropout_keys(plan: Plan, seed: int, n_steps: int, n_batches: int) -> NDArray[np.int64] | None:
    """Return the keys of dropout after `n_steps` batches, (n_batches, n_layers); None without."""
    if not any(plan.dropout):
        return None
    steps = np.arange(n_steps, n_steps + n_batches, dtype=np.uint64)[:, None]
    layers = np.arange(len(plan.layers), dtype=np.uint64)
    keys = random_bits(random_bits(steps + np.uint64(seed)) + layers)
    return np.asarray(keys, np.int64)


def _batch_weights(
    order: NDArray[np.int64], weights: NDArray[Any] | None, batch_size: int
) -> NDArray[np.float64]:
    """Return what each batch counts for: its rows, or the sum of their weights."""
    starts = np.arange(0, len(order), batch_size)
    if weights is None:
        return np.diff(starts, append=len(order)).astype(np.float64)
    return np.add.reduceat(weights[order].astype(np.float64), starts)


def _adjustments(
    penalty: Regularization, clipping: Clipping, counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return l1, l2 and the limit of each batch, (n_batches, 3); `counts` as its rows count."""
    share = 1.0 / np.maximum(counts, 1e-30) if penalty.divided_by_rows else np.ones(len(counts))
    limit = np.full(len(counts), clipping.largest)
    return np.column_stack([penalty.l1 * share, penalty.l2 * share, limit])
