"""`Listeners`: the callbacks of one `fit`, called as one."""

from __future__ import annotations

from collections.abc import Iterable

from .base import Callback, Training


class Listeners(Callback):
    """Hands each call on to several callbacks, in their order.

    Parameters
    ----------
    callbacks : iterable of Callback, or one Callback
    progress : bool
        Whether a progress bar is one of them.

    Raises
    ------
    TypeError
        If one is no Callback.
    """

    def __init__(self, callbacks: Iterable[Callback] | Callback, *, progress: bool = False) -> None:
        self._all = list(callbacks) if isinstance(callbacks, Iterable) else [callbacks]
        for each in self._all:
            if not isinstance(each, Callback):
                raise TypeError(
                    f"callbacks must be objects of fastmlp.Callback; got {type(each).__name__}"
                )
        if progress:
            from ..progress import TrainingProgress  # late: only a shown bar pays for it

            self._all.append(TrainingProgress())
        self._started: list[Callback] = []

    @property
    def any_looks_at_chunks(self) -> bool:
        """Whether one of them may look at the parameters before an epoch is done."""
        return any(
            each.looks_at_chunks
            and getattr(each.on_chunk_end, "__func__", None) is not Callback.on_chunk_end
            for each in self._all
        )

    def most_batches(self, n_batches_done: int, n_batches: int) -> int:
        """Return how many of an epoch's batches may be done until the next `on_chunk_end`."""
        most = n_batches - n_batches_done
        for each in self._all:
            if each.batches_per_call:
                most = min(most, each.batches_per_call - n_batches_done % each.batches_per_call)
        return most

    def on_fit_start(self, trainer: Training, n_epochs: int) -> None:
        """Tell them that training starts; only those that were told so are told the end."""
        for each in self._all:
            each.on_fit_start(trainer, n_epochs)
            self._started.append(each)

    def on_chunk_end(self, trainer: Training, n_batches_done: int, n_batches: int) -> None:
        """Tell them that batches are done."""
        for each in self._all:
            each.on_chunk_end(trainer, n_batches_done, n_batches)

    def on_epoch_end(self, trainer: Training) -> None:
        """Tell them that an epoch is done."""
        for each in self._all:
            each.on_epoch_end(trainer)

    def on_fit_end(self, trainer: Training) -> None:
        """Tell each that training has ended, whatever the others raise; then raise the first."""
        errors: list[BaseException] = []
        for each in self._started:
            try:
                each.on_fit_end(trainer)
            except BaseException as error:  # Ctrl-C too
                errors.append(error)
        if errors:
            raise errors[0]
