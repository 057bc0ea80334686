"""A callback that averages the weights along the way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_integer, check_number
from .base import Callback, Training


class WeightAveraging(Callback):
    """Averages the parameters while training; when `fit` ends, the network gets the average.

    Without `decay` it is stochastic weight averaging (Izmailov et al., 2018): the plain mean of the
    parameters after each epoch from `start` on. With `decay` it is an exponential moving average
    over the batches, whose decay grows to its value as (1 + n) / (10 + n) does with n updates.

    The running means and variances of a batch normalisation are averaged along. Training itself is
    not touched, nor is what is validated meanwhile. The same object given to the
    next `fit` puts the parameters in training back first, and both go on.

    Parameters
    ----------
    decay : float in (0, 1) or None, default None
        Per batch, such as 0.999.
    start : int, default 0
        The epochs to leave out at first, counted over all calls of `fit`.
    every : int, default 10
        The moving average is brought up to date after so many batches, and after each epoch.

    Attributes
    ----------
    average : ndarray of float64, shape (n_parameters + n_statistics,), or None
        What was averaged so far, laid out as ``network.learned``; None before the first.
    """

    def __init__(self, decay: float | None = None, start: int = 0, every: int = 10) -> None:
        if decay is not None:
            decay = check_number("decay", decay, 1e-30, 1.0, below_maximum=True)
        self.decay = decay
        self.start = check_integer("start", start, 0)
        self.every = check_integer("every", every, 1)
        # Only where the updates fall on the same batches in every run is the average the same.
        self.batches_per_call = None if decay is None else self.every
        self.looks_at_chunks = decay is not None
        self.n_averaged = 0
        self.average: NDArray[np.float64] | None = None
        self._in_training: NDArray[Any] | None = None

    def on_fit_start(self, trainer: Training, n_epochs: int) -> None:
        """Put the parameters in training back, unless others were set meanwhile.

        A network that has not been trained begins an average of its own.
        """
        learned = trainer.network.learned
        is_new = trainer.history.n_epochs == 0
        if is_new or (self.average is not None and self.average.shape != learned.shape):
            self.average, self.n_averaged, self._in_training = None, 0, None
        if self._in_training is not None and np.array_equal(
            learned, np.asarray(self.average, learned.dtype)
        ):
            trainer.network.learned = self._in_training
        self._in_training = None
        self._last_done = 0

    def on_chunk_end(self, trainer: Training, n_batches_done: int, n_batches: int) -> None:
        """Bring the moving average up to date."""
        if self.decay is None or trainer.history.n_epochs < self.start:
            return
        is_last = n_batches_done == n_batches
        if is_last or n_batches_done % self.every == 0:
            n_steps = n_batches_done - self._last_done
            self._last_done = 0 if is_last else n_batches_done
            growing = (1.0 + self.n_averaged) / (10.0 + self.n_averaged)
            self._add(trainer, 1.0 - min(self.decay, growing) ** n_steps)

    def on_epoch_end(self, trainer: Training) -> None:
        """Add to the plain mean."""
        if self.decay is None and trainer.history.n_epochs > self.start:
            self._add(trainer, 1.0 / (self.n_averaged + 1))

    def _add(self, trainer: Training, share: float) -> None:
        learned = trainer.network.learned
        if self.average is None:
            self.average = learned.astype(np.float64)
        else:
            self.average = self.average + share * (learned - self.average)
        self.n_averaged += 1

    def on_fit_end(self, trainer: Training) -> None:
        """Give the network the average."""
        if self.average is not None:
            self._in_training = trainer.network.learned
            trainer.network.learned = self.average
