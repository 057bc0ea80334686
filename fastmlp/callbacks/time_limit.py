"""A callback that ends training after some time."""

from __future__ import annotations

import time

from ..checks import check_number
from .base import Callback, Training


class TimeLimit(Callback):
    """Ends `fit` after so many seconds, within about 100 ms, if need be in the middle of an epoch.

    Parameters
    ----------
    seconds : float
        From the start of `fit`; what an epoch's validation takes counts too.
    """

    looks_at_chunks = False

    def __init__(self, seconds: float) -> None:
        self.seconds = check_number("seconds", seconds, 0.0)

    def on_fit_start(self, trainer: Training, n_epochs: int) -> None:
        """Start the clock."""
        self.start = time.perf_counter()

    def on_chunk_end(self, trainer: Training, n_batches_done: int, n_batches: int) -> None:
        """Stop if it is time."""
        if time.perf_counter() - self.start >= self.seconds:
            trainer.stop(f"the time limit of {self.seconds:g} seconds")
