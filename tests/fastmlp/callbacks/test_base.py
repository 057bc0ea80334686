"""Callbacks: how they stop training."""

from __future__ import annotations

from typing import Any

from fastmlp import Callback, Trainer


class StopAt(Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, trainer: Trainer) -> None:
        if trainer.history.n_epochs == self.epoch:
            trainer.stop("that is enough")


def test_stop_after_an_epoch(backend_name: str, make_trainer: Any, make_problem: Any) -> None:
    trainer = make_trainer(backend_name)
    history = trainer.fit(*make_problem(), epochs=9, callbacks=[StopAt(3)])
    assert history.n_epochs == 3
    assert history.stop_reason == "stopped: that is enough"
    assert trainer.fit(*make_problem()).stop_reason == "epochs done"  # forgotten by the next call


class StopInTheMiddle(Callback):
    def on_chunk_end(self, trainer: Trainer, n_batches_done: int, n_batches: int) -> None:
        trainer.stop("at once")


def test_stop_within_an_epoch(backend_name: str, make_trainer: Any, make_problem: Any) -> None:
    trainer = make_trainer(backend_name)
    history = trainer.fit(*make_problem(n_rows=2000), epochs=2, callbacks=[StopInTheMiddle()])
    # The first chunk is one batch: the epoch is not complete, and not in the history.
    assert trainer.n_steps == 1 and history.n_epochs == 0
    assert history.stop_reason == "stopped: at once"


def test_stop_after_the_last_epoch_is_a_stop(make_trainer: Any, make_problem: Any) -> None:
    history = make_trainer().fit(*make_problem(), epochs=2, callbacks=[StopAt(2)])
    assert history.n_epochs == 2 and history.stop_reason.startswith("stopped")
