"""`Evaluation`: the loss and the score of some rows; and what a network's outputs decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .data import Examples
from .kernels.contract import Plan
from .kernels.formulas import LOSSES
from .losses import Loss


@dataclass(frozen=True)
class Evaluation:
    """What `Trainer.evaluate` returns.

    Attributes
    ----------
    loss : float
        The (weighted) mean loss.
    accuracy : float or None
        The share of rows predicted right (all outputs of the row), for classes; else None.
    r2 : float or None
        The coefficient of determination over all outputs, for values; else None. Of several
        quantiles that nearest to the median counts.
    """

    loss: float
    accuracy: float | None = None
    r2: float | None = None

    @property
    def score(self) -> float:
        """The accuracy, or R^2."""
        value = self.r2 if self.accuracy is None else self.accuracy
        assert value is not None
        return value


def decide(plan: Plan, outputs: NDArray[Any], decides_at: float | None) -> NDArray[Any]:
    """Turn outputs (rows, n_outputs) into classes, from `decides_at` on if it is one, or values."""
    if plan.targets_are_labels:
        labels = [outputs[:, group].argmax(axis=1) for group in plan.groups]
        return np.asarray(labels[0] if len(labels) == 1 else np.stack(labels, axis=1))
    decided = outputs if decides_at is None else (outputs >= decides_at).astype(np.int64)
    return decided[:, 0] if plan.n_outputs == 1 else decided


def evaluation_of(
    plan: Plan, loss: Loss, mean_loss: float, outputs: NDArray[Any], examples: Examples
) -> Evaluation:
    """Score outputs (rows, n_outputs) against what is expected of their rows."""
    formula, targets, weights = LOSSES[plan.loss], examples.targets, examples.weights
    if not formula.predicts_classes:
        scored = loss.scored_outputs
        return Evaluation(mean_loss, r2=_r2(outputs[:, scored], targets[:, scored], weights))
    decided = decide(plan, outputs, formula.decides_at)
    # A target between 0 and 1 counts as the class that it is nearer to.
    right = decided == (targets if plan.targets_are_labels else decide(plan, targets, 0.5))
    rows_right = right.reshape(len(outputs), -1).all(axis=1)
    return Evaluation(mean_loss, accuracy=float(np.average(rows_right, weights=weights)))


def _r2(predicted: NDArray[Any], expected: NDArray[Any], weights: NDArray[Any] | None) -> float:
    """Return R^2 over all outputs: 1 - residual / total sum of squares."""
    predicted = predicted.reshape(len(predicted), -1).astype(np.float64)
    expected = expected.reshape(len(expected), -1).astype(np.float64)
    row_weights = np.ones(len(expected)) if weights is None else weights.astype(np.float64)
    mean = np.average(expected, axis=0, weights=row_weights)
    residual = float(row_weights @ ((expected - predicted) ** 2).sum(axis=1))
    total = float(row_weights @ ((expected - mean) ** 2).sum(axis=1))
    if total == 0.0:
        return 1.0 if residual == 0.0 else 0.0
    return 1.0 - residual / total
