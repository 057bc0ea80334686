"""Several callbacks of one `fit`: in which order and after which batches they are called."""

from __future__ import annotations

from typing import Any

import pytest

from fastmlp import Callback, TimeLimit, Trainer, WeightAveraging
from fastmlp.callbacks.listeners import Listeners


class Recorder(Callback):
    def __init__(self, log: list[str], name: str = "") -> None:
        self.log, self.name = log, name

    def on_fit_start(self, trainer: Trainer, n_epochs: int) -> None:
        self.log.append(f"{self.name}start {n_epochs}")

    def on_chunk_end(self, trainer: Trainer, n_batches_done: int, n_batches: int) -> None:
        assert 0 < n_batches_done <= n_batches
        if n_batches_done == n_batches:
            self.log.append(f"{self.name}batches {n_batches}")

    def on_epoch_end(self, trainer: Trainer) -> None:
        history = trainer.history
        assert len(history.validation_loss) in (0, history.n_epochs)
        self.log.append(f"{self.name}epoch {history.n_epochs}")

    def on_fit_end(self, trainer: Trainer) -> None:
        assert trainer.history.stop_reason
        self.log.append(f"{self.name}end")


def test_who_looks_at_chunks() -> None:
    class AtEnds(Callback):
        def on_epoch_end(self, trainer: Trainer) -> None: ...

    averaging = WeightAveraging(), WeightAveraging(decay=0.9)
    assert not Listeners([], progress=True).any_looks_at_chunks
    assert not Listeners([AtEnds(), TimeLimit(9.0), averaging[0]]).any_looks_at_chunks
    assert Listeners([AtEnds(), Recorder([])]).any_looks_at_chunks
    assert Listeners(averaging).any_looks_at_chunks
    ends = AtEnds()
    ends.on_chunk_end = lambda *arguments: None  # type: ignore[method-assign]
    assert Listeners(ends).any_looks_at_chunks


def test_the_order_of_calls(backend_name: str, make_trainer: Any, make_problem: Any) -> None:
    log: list[str] = []
    x, y = make_problem(n_rows=20)
    trainer = make_trainer(backend_name)
    trainer.fit(
        x, y, 2, validation_data=(x, y), callbacks=[Recorder(log, "a "), Recorder(log, "b ")]
    )
    once = ["a batches 3", "b batches 3"]
    assert log == [
        "a start 2", "b start 2", *once, "a epoch 1", "b epoch 1",
        *once, "a epoch 2", "b epoch 2", "a end", "b end",
    ]  # fmt: skip


def test_a_single_callback_needs_no_list(make_trainer: Any, make_problem: Any) -> None:
    log: list[str] = []
    make_trainer().fit(*make_problem(), callbacks=Recorder(log))
    assert log == ["start 1", "batches 3", "epoch 1", "end"]


class Failing(Callback):
    def on_epoch_end(self, trainer: Trainer) -> None:
        raise LookupError("the user's own error")


def test_an_error_in_a_callback_is_the_callers(make_trainer: Any, make_problem: Any) -> None:
    log: list[str] = []
    trainer = make_trainer()
    with pytest.raises(LookupError, match="the user's own error"):
        trainer.fit(*make_problem(), callbacks=[Recorder(log), Failing()])
    assert log[-1] == "end" and trainer.history.stop_reason == "failed: LookupError"


class FailingAtTheEnd(Callback):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_fit_end(self, trainer: Trainer) -> None:
        raise self.error


@pytest.mark.parametrize("error", [LookupError("first"), KeyboardInterrupt("first")])
def test_all_are_told_the_end_whatever_one_raises(
    error: BaseException, make_trainer: Any, make_problem: Any
) -> None:
    log: list[str] = []
    trainer = make_trainer()
    failing = FailingAtTheEnd(error), FailingAtTheEnd(OSError("second"))
    callbacks = [failing[0], Recorder(log, "a "), failing[1], Recorder(log, "b ")]
    with pytest.raises(type(error), match="first"):
        trainer.fit(*make_problem(), callbacks=callbacks)
    assert log[-2:] == ["a end", "b end"]
    assert trainer.history.stop_reason == "epochs done" and trainer.history.n_epochs == 1
    # What training itself failed of is not lost: it is the error's context.
    with pytest.raises(type(error), match="first") as caught:
        trainer.fit(*make_problem(), callbacks=[Failing(), *callbacks])
    assert isinstance(caught.value.__context__, LookupError)
    assert str(caught.value.__context__) == "the user's own error" and log[-1] == "b end"


class InterruptedAtTheStart(Callback):
    def on_fit_start(self, trainer: Trainer, n_epochs: int) -> None:
        raise KeyboardInterrupt


def test_only_what_was_started_is_ended(make_trainer: Any, make_problem: Any) -> None:
    log: list[str] = []
    callbacks = [Recorder(log, "a "), InterruptedAtTheStart(), Recorder(log, "b ")]
    history = make_trainer().fit(*make_problem(), callbacks=callbacks, progress=True)
    assert log == ["a start 1", "a end"] and history.stop_reason == "interrupted"


@pytest.mark.parametrize("callbacks", [[print], "text", 3, None])
def test_what_is_no_callback(callbacks: Any, make_trainer: Any, make_problem: Any) -> None:
    with pytest.raises(TypeError, match=r"callbacks must be objects of fastmlp\.Callback; got"):
        make_trainer().fit(*make_problem(), callbacks=callbacks)


class EverySoMany(Callback):
    def __init__(self, batches_per_call: int) -> None:
        self.batches_per_call = batches_per_call
        self.seen: list[list[int]] = []

    def on_chunk_end(self, trainer: Trainer, n_batches_done: int, n_batches: int) -> None:
        if not self.seen or n_batches_done < self.seen[-1][-1]:
            self.seen.append([])
        self.seen[-1].append(n_batches_done)
        assert len(trainer.history.batch_losses) == n_batches_done


def test_chunks_end_where_a_callback_needs_it(
    backend_name: str, make_trainer: Any, make_problem: Any, state_of: Any
) -> None:
    x, y = make_problem(n_rows=42)  # 11 batches of 4
    trainer, undisturbed = (make_trainer(backend_name, batch_size=4) for _ in range(2))
    threes, fives = EverySoMany(3), EverySoMany(5)
    trainer.fit(x, y, epochs=3, callbacks=[threes, fives])
    undisturbed.fit(x, y, epochs=3)
    assert len(threes.seen) == 3
    for epoch in threes.seen:
        assert {3, 5, 6, 9, 10, 11} <= set(epoch)
    assert state_of(trainer) == state_of(undisturbed)


def test_the_losses_of_an_epoch_that_was_stopped_are_kept(
    make_trainer: Any, make_problem: Any
) -> None:
    class StopAtTwo(EverySoMany):
        def on_chunk_end(self, trainer: Trainer, n_batches_done: int, n_batches: int) -> None:
            if n_batches_done == 2:
                trainer.stop("two are enough")

    trainer, whole = make_trainer(batch_size=4), make_trainer(batch_size=4)
    x, y = make_problem()
    trainer.fit(x, y, callbacks=StopAtTwo(1))
    whole.fit(x, y)
    assert trainer.history.n_epochs == 0 and trainer.n_steps == 2
    assert trainer.history.batch_losses == whole.history.batch_losses[:2]
