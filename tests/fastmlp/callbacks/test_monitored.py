"""Early stopping and lowering the rate: when they act, and what they leave."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fastmlp import (
    SGD,
    Callback,
    Constant,
    EarlyStopping,
    Muon,
    ReduceOnPlateau,
    StepDecay,
    Trainer,
)
from fastmlp.schedules import Scaled


class Script(Callback):
    """Writes a number per epoch into the parameters, to be watched."""

    def __init__(self, *values: float) -> None:
        self.values = list(values)
        self.rates: list[float] = []

    def on_epoch_end(self, trainer: Trainer) -> None:
        trainer.network.parameters[0] = self.values[trainer.history.n_epochs - 1]
        self.rates.append(trainer.optimizer.first_rate)


def watched(trainer: Trainer) -> float:
    return float(trainer.network.parameters[0])


def run(trainer: Trainer, problem: Any, listener: Callback, *values: float) -> Script:
    script = Script(*values)
    trainer.fit(*problem, epochs=len(values), callbacks=[script, listener])
    return script


def test_it_stops_after_so_many_epochs_without_an_improvement(
    make_trainer: Any, make_problem: Any
) -> None:
    trainer = make_trainer()
    stopping = EarlyStopping(patience=2, monitor=watched)
    run(trainer, make_problem(), stopping, 1.0, 3.0, 2.0, 4.0, 4.0, 3.5, 9.0)
    assert trainer.history.n_epochs == 6
    assert trainer.history.stop_reason == "stopped: watched has not improved for 2 epochs"
    assert (stopping.best, stopping.best_epoch) == (4.0, 4)
    assert trainer.network.parameters[0] == 4.0  # the best ones are back


def test_min_delta_and_the_last_parameters(make_trainer: Any, make_problem: Any) -> None:
    trainer = make_trainer()
    stopping = EarlyStopping(patience=1, min_delta=0.5, monitor=watched, restore_best=False)
    run(trainer, make_problem(), stopping, 1.0, 1.6, 2.1, 9.0)
    assert trainer.history.n_epochs == 3 and stopping.best == 1.6
    assert trainer.network.parameters[0] == 2.1


@pytest.mark.parametrize("monitor", ["validation_loss", "validation_score", "loss"])
def test_what_is_watched_is_the_history(
    monitor: str, backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(40, seed=2)
    trainer = make_trainer(backend_name, optimizer=SGD(3.0))  # so large that the loss goes up too
    stopping = EarlyStopping(patience=3, monitor=monitor)
    history = trainer.fit(x, y, epochs=60, validation_data=(x, y), callbacks=stopping)
    values = getattr(history, monitor)
    best = max(values) if monitor == "validation_score" else min(values)
    assert stopping.best == best and values.index(best) + 1 == stopping.best_epoch
    assert history.n_epochs in (stopping.best_epoch + 3, 60)
    if monitor != "loss":  # which is that of the batches before their updates
        found = trainer.evaluate(x, y)
        assert best == (found.score if monitor == "validation_score" else found.loss)


def test_the_best_parameters_come_back_without_a_stop(make_trainer: Any, make_problem: Any) -> None:
    trainer = make_trainer()
    run(trainer, make_problem(), EarlyStopping(patience=9, monitor=watched), 1.0, 3.0, 2.0)
    assert trainer.history.stop_reason == "epochs done"
    assert trainer.network.parameters[0] == 3.0


def test_each_fit_begins_anew(make_trainer: Any, make_problem: Any) -> None:
    trainer, stopping = make_trainer(), EarlyStopping(patience=2, monitor=watched)
    run(trainer, make_problem(), stopping, 5.0, 4.0)
    script = Script(0.0, 0.0, 1.0, 2.0)
    trainer.fit(*make_problem(), epochs=2, callbacks=[script, stopping])
    assert stopping.best == 2.0 and stopping.best_epoch == 4
    assert trainer.history.stop_reason == "epochs done"


def test_nan_is_no_improvement(make_trainer: Any, make_problem: Any) -> None:
    values = iter([math.nan, 1.0, math.nan, math.nan, 5.0])
    stopping = EarlyStopping(patience=2, monitor=lambda trainer: next(values))
    trainer = make_trainer()
    trainer.fit(*make_problem(), epochs=5, callbacks=stopping)
    assert trainer.history.n_epochs == 4 and stopping.best_epoch == 2
    assert "<lambda> has not improved" in trainer.history.stop_reason


@pytest.mark.parametrize("make", [EarlyStopping, ReduceOnPlateau])
def test_without_validation_data_nothing_begins(
    make: Any, make_trainer: Any, make_problem: Any, state_of: Any
) -> None:
    trainer = make_trainer()
    before = state_of(trainer)[:3]
    with pytest.raises(ValueError, match=f"{make.__name__}.*needs validation data: pass fit"):
        trainer.fit(*make_problem(), epochs=3, callbacks=make())
    assert state_of(trainer)[:3] == before
    assert trainer.history.stop_reason == "failed: ValueError"


def test_the_rate_is_lowered_again_and_again(make_trainer: Any, make_problem: Any) -> None:
    trainer = make_trainer(optimizer=SGD(0.8, momentum=0.5))
    plateau = ReduceOnPlateau(factor=0.5, patience=2, monitor=watched, minimum=0.15)
    values = [1.0, *[0.0] * 8]
    script = run(trainer, make_problem(), plateau, *values)
    assert script.rates == pytest.approx([0.8, 0.8, 0.8, 0.4, 0.4, 0.2, 0.2, 0.15, 0.15])
    assert trainer.optimizer == SGD(trainer.optimizer.first_rate, momentum=0.5)


def test_an_improvement_starts_the_count_again(make_trainer: Any, make_problem: Any) -> None:
    trainer = make_trainer(optimizer=SGD(0.8))
    plateau = ReduceOnPlateau(factor=0.5, patience=2, monitor=watched)
    script = run(trainer, make_problem(), plateau, 1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 0.0, 0.0)
    assert script.rates == pytest.approx([0.8] * 7 + [0.4])


def test_a_schedule_is_scaled(make_trainer: Any, make_problem: Any) -> None:
    schedule = StepDecay(0.8, every=100)
    trainer = make_trainer(optimizer=SGD(schedule))
    plateau = ReduceOnPlateau(factor=0.5, patience=1, monitor=watched)
    script = run(trainer, make_problem(), plateau, 1.0, 0.0, 0.0, 0.0)
    assert script.rates == pytest.approx([0.8, 0.8, 0.4, 0.2])
    assert trainer.optimizer == SGD(Scaled(schedule, 0.125))


def test_all_rates_of_an_optimizer_are_scaled(make_trainer: Any, make_problem: Any) -> None:
    schedule = StepDecay(0.01, every=100)
    trainer = make_trainer(sizes=(4, 6, 5, 3), optimizer=Muon(0.8, adam_learning_rate=schedule))
    plateau = ReduceOnPlateau(factor=0.5, patience=1, monitor=watched)
    script = run(trainer, make_problem(), plateau, 1.0, 0.0, 0.0)
    assert script.rates == pytest.approx([0.8, 0.8, 0.4])
    assert trainer.optimizer == Muon(0.2, adam_learning_rate=Scaled(schedule, 0.25))


def test_a_rate_of_zero_stays(make_trainer: Any, make_problem: Any) -> None:
    trainer = make_trainer(optimizer=SGD(Constant(0.0)))
    plateau = ReduceOnPlateau(patience=1, monitor="loss", min_delta=1.0)
    trainer.fit(*make_problem(), epochs=3, callbacks=plateau)
    assert trainer.optimizer == SGD(Constant(0.0))


def test_the_lowered_rate_is_trained_with(
    backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem()
    lowered, by_hand = make_trainer(backend_name), make_trainer(backend_name)
    plateau = ReduceOnPlateau(factor=0.5, patience=1, monitor=lambda trainer: 0.0)
    lowered.fit(x, y, epochs=3, callbacks=plateau)  # the first value is the best: 0.1, 0.1, 0.05
    by_hand.fit(x, y, epochs=2)
    by_hand.optimizer = SGD(0.05)
    by_hand.fit(x, y)
    assert np.array_equal(lowered.network.parameters, by_hand.network.parameters)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: EarlyStopping(patience=0), ValueError, "patience must be an integer >= 1; got 0"),
        (lambda: EarlyStopping(min_delta=-1.0), ValueError, "min_delta must be"),
        (lambda: EarlyStopping(monitor="val_loss"), ValueError, "Did you mean 'validation_loss'"),
        (lambda: EarlyStopping(monitor=None), TypeError, "monitor must be one of .* got NoneType"),
        (lambda: ReduceOnPlateau(factor=1.0), ValueError, "factor must be"),
        (lambda: ReduceOnPlateau(minimum=-0.1), ValueError, "minimum must be"),
    ],
)
def test_bad_settings(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_the_best_statistics_come_back(make_trainer: Any, make_problem: Any) -> None:
    trainer, kept = make_trainer(normalization="batch"), []
    values = iter([0.0, 2.0, 1.0])

    def score(trainer: Any) -> float:
        kept.append(trainer.network.learned)
        return next(values)

    stopping = EarlyStopping(patience=3, monitor=score)
    trainer.fit(*make_problem(), epochs=3, callbacks=stopping)
    np.testing.assert_array_equal(trainer.network.learned, kept[1])
    assert not np.array_equal(kept[1][-12:], kept[2][-12:])
