"""Callbacks that watch a number, epoch by epoch, and act when it no longer improves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..checks import check_integer, check_number
from ..errors import unknown_name
from ..schedules import Scaled
from .base import Callback, Training

Monitor = str | Callable[[Any], float]

MONITORS = {"validation_loss": -1.0, "validation_score": 1.0, "loss": -1.0}
"""What of the history can be watched, and the sign that makes more of it better."""


class Monitored(Callback):
    """Counts the epochs since the number that is watched was best.

    Attributes
    ----------
    best : float
        The best value of this `fit`, as it is: of a loss the smallest. NaN before the first.
    best_epoch : int
        The number of the epoch that had it, from 1 over all calls of `fit`; 0 before the first.
    """

    def __init__(self, monitor: Monitor, patience: int, min_delta: float) -> None:
        if not callable(monitor) and (not isinstance(monitor, str) or monitor not in MONITORS):
            raise unknown_name("monitor", monitor, MONITORS)
        self.monitor = monitor
        self.patience = check_integer("patience", patience, 1)
        self.min_delta = check_number("min_delta", min_delta, 0.0)
        self._forget()

    def _forget(self) -> None:
        self.best, self.best_epoch, self.epochs_waited = math.nan, 0, 0

    @property
    def monitor_name(self) -> str:
        """What is watched, in a word."""
        if isinstance(self.monitor, str):
            return self.monitor.replace("_", " ")
        return getattr(self.monitor, "__name__", "the monitor")

    def on_fit_start(self, trainer: Training, n_epochs: int) -> None:
        """Begin anew; refuse to watch what will not be there."""
        self._check_monitor(trainer)
        self._forget()

    def _check_monitor(self, trainer: Training) -> None:
        if self.monitor in ("validation_loss", "validation_score") and not trainer.validates:
            raise ValueError(
                f"{type(self).__name__}(monitor={self.monitor!r}) needs validation data: pass "
                "fit(..., validation_data=(X, y)) or, of an estimator, fit(..., X_val=..., "
                "y_val=...); or watch monitor='loss'"
            )

    def improves(self, trainer: Training) -> bool:
        """Note the value of this epoch; return whether it is the best so far."""
        if isinstance(self.monitor, str):
            sign, value = MONITORS[self.monitor], getattr(trainer.history, self.monitor)[-1]
        else:
            sign, value = 1.0, float(self.monitor(trainer))
        is_first = self.best_epoch == 0 and not math.isnan(value)
        if is_first or sign * value > sign * self.best + self.min_delta:
            self.best, self.best_epoch = value, trainer.history.n_epochs
            self.epochs_waited = 0
            return True
        self.epochs_waited += 1
        return False


class EarlyStopping(Monitored):
    """Ends training when what is watched has not improved for some epochs.

    Parameters
    ----------
    patience : int, default 10
        So many epochs without an improvement end training.
    min_delta : float, default 0.0
        What is less of an improvement counts for none.
    monitor : {"validation_loss", "validation_score", "loss"} or callable, default "validation_loss"
        A function takes the Trainer and returns a number: the larger, the better.
    restore_best : bool, default True
        Whether the network gets back the parameters of its best epoch when `fit` ends, for
        whatever reason. The optimizer's state stays the last one.

    Examples
    --------
    >>> from fastmlp import EarlyStopping, Network, Trainer
    >>> from fastmlp.datasets import synthetic_digits
    >>> X, y = synthetic_digits(600)
    >>> trainer = Trainer(Network([784, 16, 10], input_scale=1 / 255, seed=0), seed=0)
    >>> stopping = EarlyStopping(patience=2)
    >>> history = trainer.fit(
    ...     X[:500], y[:500], epochs=100, validation_data=(X[500:], y[500:]), callbacks=stopping
    ... )
    >>> history.stop_reason
    'stopped: validation loss has not improved for 2 epochs'
    """

    def __init__(
        self,
        patience: int = 10,
        min_delta: float = 0.0,
        monitor: Monitor = "validation_loss",
        restore_best: bool = True,
    ) -> None:
        super().__init__(monitor, patience, min_delta)
        self.restore_best = restore_best
        self.best_parameters: Any = None

    def on_fit_start(self, trainer: Training, n_epochs: int) -> None:
        """Begin anew."""
        super().on_fit_start(trainer, n_epochs)
        self.best_parameters = None

    def on_epoch_end(self, trainer: Training) -> None:
        """Keep the parameters if they are the best; stop if they have not been for long."""
        if self.improves(trainer):
            if self.restore_best:
                self.best_parameters = trainer.network.learned
        elif self.epochs_waited >= self.patience:
            plural = "epoch" if self.patience == 1 else "epochs"
            trainer.stop(f"{self.monitor_name} has not improved for {self.patience} {plural}")

    def on_fit_end(self, trainer: Training) -> None:
        """Put the best parameters back."""
        if self.best_parameters is not None:
            trainer.network.learned = self.best_parameters


class ReduceOnPlateau(Monitored):
    """Lowers the learning rate when what is watched has not improved for some epochs.

    Parameters
    ----------
    factor : float in (0, 1), default 0.1
        What the learning rate, or the schedule in its place, is multiplied by; `Muon` has two.
    patience : int, default 5
        So many epochs without an improvement lower the rate; then the count begins again.
    min_delta : float, default 0.0
        What is less of an improvement counts for none.
    monitor : {"validation_loss", "validation_score", "loss"} or callable, default "validation_loss"
        A function takes the Trainer and returns a number: the larger, the better.
    minimum : float, default 0.0
        The rate is not lowered below this.

    The rate stays lowered after `fit`: it is a setting of the Trainer's optimizer.
    """

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 5,
        min_delta: float = 0.0,
        monitor: Monitor = "validation_loss",
        minimum: float = 0.0,
    ) -> None:
        super().__init__(monitor, patience, min_delta)
        self.factor = check_number("factor", factor, 1e-30, 1.0, below_maximum=True)
        self.minimum = check_number("minimum", minimum, 0.0)

    def on_fit_start(self, trainer: Training, n_epochs: int) -> None:
        """Go on counting where training goes on: many short fits are one long fit."""
        self._check_monitor(trainer)
        if trainer.history.n_epochs == 0 or self.best_epoch > trainer.history.n_epochs:
            self._forget()

    def on_epoch_end(self, trainer: Training) -> None:
        """Lower the rate of the epochs to come if it is time."""
        if self.improves(trainer) or self.epochs_waited < self.patience:
            return
        self.epochs_waited = 0
        optimizer = trainer.optimizer
        present = float(optimizer.rates(np.array([float(trainer.history.n_epochs)]))[0])
        if present <= self.minimum:
            return
        factor = max(self.factor, self.minimum / present)
        rates = {name: getattr(optimizer, name) for name in optimizer.rate_names}
        lowered = {name: _times(rate, factor) for name, rate in rates.items()}
        trainer.optimizer = replace(optimizer, **lowered)


def _times(rate: Any, factor: float) -> Any:
    """Return a learning rate, a number or a schedule, times a factor."""
    if isinstance(rate, float):
        return rate * factor
    if isinstance(rate, Scaled):
        return Scaled(rate.schedule, rate.factor * factor)
    return Scaled(rate, factor)
