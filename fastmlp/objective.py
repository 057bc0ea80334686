"""`Objective`: the loss of all rows, with its gradient, as a function of the parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bound_engine import BoundEngine
from .data import Examples
from .regularization import Regularization
from .rows import DENSE_BYTES


class Objective:
    """What `Trainer.objective` returns: called with parameters, gives the loss and its gradient.

    Parameters
    ----------
    engine : BoundEngine
    examples : Examples
    penalty : Regularization

    Raises
    ------
    ValueError
        If the network has a batch normalisation.
    """

    def __init__(self, engine: BoundEngine, examples: Examples, penalty: Regularization) -> None:
        if engine.network.normalization == "batch":
            raise ValueError(
                "a network with normalization='batch' has no loss of all rows as a function of its "
                "parameters: it depends on which rows are a batch. Take normalization='layer', or "
                "train it with fit"
            )
        self._engine, self._examples, self._penalty = engine, examples, penalty
        # The inputs, and z, a and dz of all layers, are kept for each row.
        layers = engine.plan.layers
        kept = 8 * (layers[0].fan_in + 3 * sum(layer.fan_out for layer in layers))
        self._rows_per_call = max(1, DENSE_BYTES // kept)

    def __call__(self, parameters: NDArray[Any]) -> tuple[float, NDArray[np.float64]]:
        """Put parameters into the network; return the loss and its gradient, (n_parameters,)."""
        self._engine.network.parameters = parameters
        loss, gradient = self._of_rows()
        engine, penalty = self._engine, self._penalty
        share = 1.0 / self._examples.total_weight if penalty.divided_by_rows else 1.0
        for layer, weights in zip(engine.plan.layers, engine.network.weights, strict=True):
            loss += share * penalty.penalty(weights)
            gradient[layer.weights] += share * penalty.penalty_gradient(weights).ravel()
        return loss, gradient

    def _of_rows(self) -> tuple[float, NDArray[np.float64]]:
        """Return the (weighted) mean loss of all rows, and its gradient."""
        engine, examples = self._engine, self._examples
        loss, gradient = 0.0, np.zeros(engine.plan.n_parameters)
        total, n_rows = examples.total_weight, len(examples.x)
        for rows in engine.chunks(examples.x, self._rows_per_call):
            if examples.weights is None:
                counts = float(min(rows.stop, n_rows) - rows.start)
            else:
                counts = float(examples.weights[rows].sum(dtype=np.float64))
            if counts == 0.0:
                continue
            found = engine.gradients(examples, rows)
            loss += found.loss * (counts / total)
            for layer, *parts in zip(
                engine.plan.layers, found.dw, found.db, found.dgamma, strict=True
            ):
                flat = np.concatenate([np.ravel(part) for part in parts])
                gradient[layer.parameters] += flat * (counts / total)
        return loss, gradient
