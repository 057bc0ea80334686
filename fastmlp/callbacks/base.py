"""What a callback is, and what it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..history import History
    from ..network import Network
    from ..optimizers import Optimizer


class Training(Protocol):
    """What a callback is given, and may rely on: the `Trainer` that trains."""

    history: History
    n_steps: int
    validates: bool
    """Whether there is validation data."""

    @property
    def network(self) -> Network:
        """The network that is trained."""

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer; another one of the same kind may be assigned, from the next epoch on."""

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer) -> None: ...

    @property
    def score_name(self) -> str:
        """What the score of a validation is."""

    def stop(self, reason: str) -> None:
        """End training after the current chunk of batches."""

    def predict(self, X: object) -> Any:  # noqa: N803 (the field's own name)
        """Predict classes or values."""

    def gradients(self, X: object, y: object, sample_weight: object = None) -> Any:  # noqa: N803
        """Return the loss, the gradients, and what led to them."""

    def evaluate(self, X: object, y: object, sample_weight: object = None) -> Any:  # noqa: N803
        """Return the mean loss and the score."""


class Callback:
    """Override any of these; each gets the Trainer, whose `history` and `network` tell the state.

    ``trainer.stop(reason)`` ends training after the current chunk of batches.
    """

    batches_per_call: int | None = None
    """`on_chunk_end` is called after each so many batches of an epoch, and in between too; None
    leaves it to the Trainer, which calls about every 100 ms."""

    looks_at_chunks: bool = True
    """Whether `on_chunk_end` may look at the parameters, or predict; large networks train faster
    where no callback does: their parameters stay in the engine's own layout for the epoch."""

    def on_fit_start(self, trainer: Training, n_epochs: int) -> None:
        """Training of `n_epochs` starts."""

    def on_chunk_end(self, trainer: Training, n_batches_done: int, n_batches: int) -> None:
        """A chunk of batches of the current epoch is done (the longest time without a call)."""

    def on_epoch_end(self, trainer: Training) -> None:
        """An epoch is done and validated."""

    def on_fit_end(self, trainer: Training) -> None:
        """Training has ended, for whatever reason; called even if another callback's fails."""
