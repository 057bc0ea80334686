"""scikit-learn's own callbacks (1.9 and newer): `set_callbacks`, told of every epoch of `fit`."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..callbacks import Callback, Training

if TYPE_CHECKING:
    from .base import BaseMLP

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
    from sklearn.callback._callback_support import callback_management_context
except ImportError:  # before 1.9 there were none

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing to support."""

    callback_management_context = None


@contextmanager
def epoch_tasks(estimator: BaseMLP, data: dict[str, Any]) -> Iterator[list[Callback]]:
    """Give the Trainer's callbacks that tell those of scikit-learn; take these down at the end.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    data : dict
        X, y and metadata, which the callbacks may ask for.
    """
    if callback_management_context is None:
        yield []
        return
    with callback_management_context(estimator):
        whole = estimator._init_callback_context(max_subtasks=None)
        whole.call_on_fit_task_begin(estimator=estimator, **data)
        yield [_EpochTasks(estimator, whole, data)]
        whole.call_on_fit_task_end(estimator=estimator, **data)


class _EpochTasks(Callback):
    """Makes each epoch a task, below the task of the whole fit."""

    def __init__(self, estimator: BaseMLP, whole: Any, data: dict[str, Any]) -> None:
        self.estimator, self.whole, self.data = estimator, whole, data
        self.epoch: Any = None
        # Those that a task begins with may look at the estimator; mostly there are none.
        self.looks_at_chunks = bool(getattr(whole, "_callbacks", True))

    def on_chunk_end(self, trainer: Training, n_batches_done: int, n_batches: int) -> None:
        """Begin the task of an epoch; there is no earlier moment at which it is sure to come."""
        if self.epoch is None:
            self.epoch = self.whole.subcontext(task_name="epoch")
            self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def on_epoch_end(self, trainer: Training) -> None:
        """End the task of an epoch, and training if a callback says so."""
        epoch, self.epoch = self.epoch, None
        attributes = {"reconstruction_attributes": self._copied, **self.data}
        if epoch.call_on_fit_task_end(estimator=self.estimator, **attributes):
            trainer.stop("a callback of scikit-learn asked for it")

    def _copied(self) -> dict[str, Any]:
        """Return what makes a copy of the estimator that predicts with the present parameters."""
        return {"_trainer": copy.deepcopy(self.estimator._trainer)}
