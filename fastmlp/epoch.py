"""One epoch of training: the order of its rows, its batches call by call, and its divergence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .bound_engine import BoundEngine
from .callbacks import Callback
from .data import Features
from .errors import DivergenceError
from .kernels.formulas import random_bits

if TYPE_CHECKING:
    from .trainer import Trainer

TINY = 1e-300
"""What the loss of rows without weight, 0, is divided by."""

ROWS_LOOKED_AT = 1000
"""How many rows the advice after a divergence looks at."""


def run_epoch(
    trainer: Trainer,
    engine: BoundEngine,
    x: Features,
    targets: NDArray[Any],
    weights: NDArray[Any] | None,
    listeners: Sequence[Callback],
) -> bool:
    """Train one epoch and note it in the history; return whether it was completed.

    Raises
    ------
    DivergenceError
        If the loss or the parameters are no longer finite. The last finite ones are put back.
    """
    history, plan, optimizer = trainer.history, trainer.plan, trainer.optimizer
    network, batch_size = trainer.network, plan.batch_size
    order = epoch_order(trainer, len(x))
    n_batches = -(-len(order) // batch_size)
    counts = _batch_weights(order, weights, batch_size)
    epochs = history.n_epochs + np.arange(n_batches) / n_batches
    coefficients = optimizer.coefficients(trainer.n_steps + 1, n_batches, epochs, len(order))
    if plan.adjusts_gradient:
        coefficients = np.hstack([coefficients, _adjustments(trainer, counts)])
    keys = dropout_keys(trainer, n_batches)
    snapshot = network.learned, trainer.optimizer_state.copy(), trainer.n_steps
    sums: list[float] = []
    spent = 0.0
    history.batch_losses = []
    intervals = [each.batches_per_call for each in listeners if each.batches_per_call]
    while len(sums) < n_batches:
        first = len(sums)
        to_next_call = (every - first % every for every in intervals)
        last = min(first + min(engine.most_batches(x), *to_next_call, n_batches), n_batches)
        chosen = order[first * batch_size : last * batch_size]
        keys_of_call = None if keys is None else keys[first:last]
        call = (x, targets, weights, chosen, coefficients[first:last], keys_of_call)
        found, seconds = engine.train(*call)
        spent += seconds
        sums.extend(found)
        weighed = np.maximum(counts[first : len(sums)], TINY)
        history.batch_losses.extend((np.array(found) / weighed).tolist())
        diverged = not np.isfinite(sums[-1])
        trainer.n_steps += len(found) - diverged
        finished = len(sums) == n_batches
        if diverged or (finished and not np.isfinite(network.learned).all()):
            rate = float(optimizer.rates(epochs[first:last], len(order)).max())
            _put_back(trainer, *snapshot)
            raise DivergenceError(_advice(trainer, engine.dense(x, slice(ROWS_LOOKED_AT)), rate))
        for listener in listeners:
            listener.on_chunk_end(trainer, len(sums), n_batches)
        if trainer.stop_requested and not finished:
            return False
    history.loss.append(float(np.sum(sums) / np.sum(counts)))
    history.seconds.append(spent)
    return True


def epoch_order(trainer: Trainer, n_rows: int) -> NDArray[np.int64]:
    """Return the rows that an epoch goes through, in their order."""
    if not callable(trainer.shuffle):
        return trainer.random.permutation(n_rows) if trainer.shuffle else np.arange(n_rows)
    order = np.asarray(trainer.shuffle(n_rows))
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


def dropout_keys(trainer: Trainer, n_batches: int) -> NDArray[np.int64] | None:
    """Return the keys of dropout per batch and layer, from the next step on."""
    if not any(trainer.plan.dropout):
        return None
    steps = np.arange(trainer.n_steps, trainer.n_steps + n_batches, dtype=np.uint64)[:, None]
    layers = np.arange(len(trainer.plan.layers), dtype=np.uint64)
    keys = random_bits(random_bits(steps + np.uint64(trainer.dropout_seed)) + layers)
    return np.asarray(keys, np.int64)


def _batch_weights(
    order: NDArray[np.int64], weights: NDArray[Any] | None, batch_size: int
) -> NDArray[np.float64]:
    """Return what each batch counts for: its rows, or the sum of their weights."""
    starts = np.arange(0, len(order), batch_size)
    if weights is None:
        return np.diff(starts, append=len(order)).astype(np.float64)
    return np.add.reduceat(weights[order].astype(np.float64), starts)


def _adjustments(trainer: Trainer, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return l1, l2 and the limit of each batch, (n_batches, 3); `counts` as its rows count."""
    penalty = trainer.regularization
    share = 1.0 / np.maximum(counts, 1e-30) if penalty.divided_by_rows else np.ones(len(counts))
    limit = np.full(len(counts), trainer.clipping.largest)
    return np.column_stack([penalty.l1 * share, penalty.l2 * share, limit])


def _put_back(trainer: Trainer, learned: NDArray[Any], state: NDArray[Any], n_steps: int) -> None:
    """Put back what the epoch began with, unless the present is finite."""
    present = trainer.network.learned, trainer.optimizer_state
    if not all(np.isfinite(values).all() for values in present):
        trainer.network.learned = learned
        trainer.optimizer_state[...] = state
        trainer.n_steps = n_steps


def _advice(trainer: Trainer, rows: NDArray[Any], rate: float) -> str:
    """Return that training has diverged, and what to try; by some rows and the learning rate."""
    advice = [f"a smaller learning rate (now {rate:g})"]
    largest = float(np.abs(trainer.network.scaled(rows)).max())
    if largest > 20.0:
        advice.insert(
            0,
            f"inputs of about unit size (as scaled they reach {largest:g}; pass "
            "Network(..., input_scale=..., input_center=...))",
        )
    return (
        f"training diverged in epoch {trainer.history.n_epochs + 1} (step {trainer.n_steps + 1}): "
        f"the loss or the parameters are no longer finite. The last finite parameters were "
        f"kept. Try {' or '.join(advice)}."
    )
