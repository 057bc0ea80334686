"""The learning-rate range test (Smith, 2015): which rates are too small, good, too large."""

from __future__ import annotations

import contextlib
import copy
import math
import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .callbacks import Callback, Training
from .checks import check_integer, check_number
from .errors import DivergenceError, MissingExtraError
from .history import History
from .schedules import LARGEST_RATE, Rates, Schedule
from .trainer import Trainer

SMOOTHING = 0.9
"""Decay of the running mean of the batches' losses, which ends the test."""

BLOWN_UP = 4.0
"""So many times its smallest value so far, the running mean ends the test."""


@dataclass(frozen=True, eq=False)
class RangeTest:
    """What `learning_rate_range_test` found.

    Attributes
    ----------
    rates, losses : ndarray of float64, shape (n_batches,)
        The rate of each batch, and its loss before the update. There are fewer if it diverged.
    smoothed : ndarray of float64, shape (n_batches,)
        The losses, averaged with those around them.
    suggestion : float
        A tenth of the rate at which the smoothed loss is least: there it no longer falls, since the
        steps are nearly too long.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    suggestion: float

    def plot(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the loss over the rate; return matplotlib's Figure, and save it if `path` is given.

        Raises
        ------
        MissingExtraError
            Without matplotlib.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingExtraError(
                "matplotlib", "report", "plotting the learning-rate range test"
            ) from error
        figure = Figure(figsize=(7.0, 4.0), layout="constrained")
        axes = figure.subplots()
        axes.plot(self.rates, self.losses, alpha=0.35, label="batch")
        axes.plot(self.rates, self.smoothed, label="smoothed")
        label = f"suggestion {self.suggestion:.2g}"
        axes.axvline(self.suggestion, linestyle="--", color="grey", label=label)
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        axes.legend(frameon=False)
        if path is not None:
            figure.savefig(path)
        return figure


@dataclass(frozen=True)
class _Ramp(Schedule):
    """The rate grows by the same factor from batch to batch, from `lowest` to `highest`."""

    lowest: float
    highest: float
    n_batches: int
    batch_size: int

    def rates(self, epochs: Rates, rows_per_epoch: float) -> Rates:
        per_epoch = -(-rows_per_epoch // self.batch_size)
        risen = np.minimum(np.rint(epochs * per_epoch) / (self.n_batches - 1), 1.0)
        return np.asarray(self.lowest * (self.highest / self.lowest) ** risen)


class _Recorder(Callback):
    """Keeps the loss of every batch, and ends the test."""

    batches_per_call, looks_at_chunks = 1, False

    def __init__(self, n_batches: int) -> None:
        self.n_batches = n_batches
        self.losses: list[float] = []
        self.mean, self.least = 0.0, math.inf

    def on_chunk_end(self, trainer: Training, n_batches_done: int, n_batches: int) -> None:
        loss = trainer.history.batch_losses[n_batches_done - 1]
        self.losses.append(loss)
        self.mean = SMOOTHING * self.mean + (1.0 - SMOOTHING) * loss
        present = self.mean / (1.0 - SMOOTHING ** len(self.losses))
        self.least = min(self.least, present)
        if present > BLOWN_UP * self.least or len(self.losses) == self.n_batches:
            trainer.stop("the range test is done")


def learning_rate_range_test(
    trainer: Trainer,
    X: object,  # noqa: N803 (the field's own name)
    y: object,
    *,
    lowest: float = 1e-6,
    highest: float = 10.0,
    n_batches: int = 100,
    sample_weight: object = None,
) -> RangeTest:
    """Train a copy for some batches while the learning rate grows, and watch the loss.

    The trainer itself is left as it was.

    Parameters
    ----------
    trainer : Trainer
        As it would be trained: its network, loss, optimizer and batch size are tested.
    X : array of shape (rows, n_inputs)
    y : array of shape (rows,) or (rows, n_outputs)
    lowest, highest : float, default 1e-6 and 10
        The rate grows from batch to batch by the same factor.
    n_batches : int, default 100
        At most so many; a loss that blows up ends the test.
    sample_weight : array of shape (rows,), optional

    Returns
    -------
    RangeTest

    Raises
    ------
    ValueError, TypeError
        If an argument is not valid, or the loss is not finite at the lowest rates already.

    Examples
    --------
    >>> from fastmlp import Network, Trainer, learning_rate_range_test
    >>> from fastmlp.datasets import synthetic_digits
    >>> X, y = synthetic_digits(2000)
    >>> trainer = Trainer(Network([784, 32, 10], input_scale=1 / 255, seed=0), seed=0)
    >>> found = learning_rate_range_test(trainer, X, y)
    >>> 0.01 < found.suggestion < 0.5
    True
    >>> trainer.n_steps
    0
    """
    if not isinstance(trainer, Trainer):
        raise TypeError(f"trainer must be a Trainer; got {type(trainer).__name__}")
    n_batches = check_integer("n_batches", n_batches, 10)
    lowest = check_number("lowest", lowest, 1e-30, LARGEST_RATE)
    highest = check_number("highest", highest, lowest, LARGEST_RATE)
    probe = copy.deepcopy(trainer)
    probe.history = History()
    ramp = _Ramp(lowest, highest, n_batches, probe.plan.batch_size)
    probe.optimizer = replace(probe.optimizer, learning_rate=ramp)
    recorder = _Recorder(n_batches)
    with contextlib.suppress(DivergenceError):
        probe.fit(X, y, epochs=n_batches, sample_weight=sample_weight, callbacks=recorder)
    if probe.history.stop_reason == "interrupted":
        raise KeyboardInterrupt
    n_done = len(recorder.losses)
    if n_done < 3:
        raise ValueError(
            f"lowest must be a rate that the network can be trained at; got {lowest:g}, at which "
            f"the loss is no longer finite after {n_done} batches: lower it, or scale the inputs"
        )
    rates = lowest * (highest / lowest) ** (np.arange(n_done) / (n_batches - 1))
    losses = np.array(recorder.losses)
    smoothed = _smooth(losses, width=max(1.0, n_batches / 30))
    return RangeTest(rates, losses, smoothed, float(rates[np.argmin(smoothed)] / 10.0))


def _smooth(values: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Return means of values (n,) over their neighbours, weighted by a Gaussian."""
    reach = min(math.ceil(3.0 * width), len(values) - 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    middle = slice(reach, reach + len(values))
    weights = np.convolve(np.ones(len(values)), kernel)[middle]  # fewer neighbours at the ends
    return np.asarray(np.convolve(values, kernel)[middle] / weights)
