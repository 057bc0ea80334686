"""Callbacks: the user's code, called while a Trainer trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .trainer import Trainer


class Callback:
    """Override any of these; each gets the Trainer, whose `history` and `network` tell the state.

    ``trainer.stop(reason)`` ends training after the current chunk of batches.
    """

    def on_fit_start(self, trainer: Trainer, n_epochs: int) -> None:
        """Training of `n_epochs` starts."""

    def on_chunk_end(self, trainer: Trainer, n_batches_done: int, n_batches: int) -> None:
        """A chunk of batches of the current epoch is done (the longest time without a call)."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        """An epoch is done and validated."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """Training has ended, for whatever reason."""
