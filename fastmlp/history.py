"""`History`: what happened during training, epoch by epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass
class History:
    """What happened during training; `fit` returns it, and goes on with it when called again.

    Attributes
    ----------
    loss : list of float
        Mean training loss of each epoch, taken batch by batch as the weights change.
    validation_loss, validation_score : list of float
        After each epoch, if there was validation data: loss, and accuracy or R^2 (or `fit`'s own
        `score`). NaN for epochs without, before the last one with.
    seconds : list of float
        Training time of each epoch, validation left out.
    rows : list of int
        The rows of each epoch.
    batch_losses : list of float
        Mean loss of each batch of the last epoch, or of the present one as far as it has come.
    stop_reason : str
        Why training ended: "epochs done", "stopped: " and the callback's reason,
        "interrupted", "diverged" or "failed: " and the error's class.
    """

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_score: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    batch_losses: list[float] = field(default_factory=list)
    stop_reason: str = ""

    @property
    def n_epochs(self) -> int:
        """How many epochs are complete."""
        return len(self.loss)

    def rows_per_epoch(self, n_rows: int) -> float:
        """Return how many rows an epoch had on average; before the first one that it has `n_rows`.

        Parts of the data, epoch by epoch, may be of different sizes.
        """
        return sum(self.rows) / len(self.rows) if self.rows else float(n_rows)

    def add_validation(self, loss: float, score: float) -> None:
        """Add the result of the last epoch; earlier ones without a result become NaN."""
        for values, value in ((self.validation_loss, loss), (self.validation_score, score)):
            values.extend([math.nan] * (self.n_epochs - 1 - len(values)))
            values.append(value)

    def as_dict(self) -> dict[str, Any]:
        """Return plain lists, ready for JSON."""
        return dict(vars(self))

    def __repr__(self) -> str:
        if not self.loss:
            return "<History: no epoch yet>"
        parts = [f"{self.n_epochs} epochs", f"loss {self.loss[-1]:.4f}"]
        if self.validation_score:
            parts.append(f"validation score {self.validation_score[-1]:.4f}")
        parts.append(f"{sum(self.seconds):.3g} s")
        return f"<History: {', '.join(parts)}>"
