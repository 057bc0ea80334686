"""The time limit, by a clock of the test's own."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from fastmlp import TimeLimit
from fastmlp.callbacks import time_limit


def test_it_stops_in_the_middle_of_an_epoch(
    monkeypatch: pytest.MonkeyPatch, make_trainer: Any, make_problem: Any
) -> None:
    clock = itertools.count(0.0, 1.0)  # a second goes by from call to call
    monkeypatch.setattr(time_limit.time, "perf_counter", lambda: next(clock))
    trainer, limit = make_trainer(batch_size=2), TimeLimit(8.0)
    limit.batches_per_call = 1  # 10 batches per epoch; the trainer's own clock ticks too
    trainer.fit(*make_problem(20), epochs=50, callbacks=limit)
    assert trainer.history.stop_reason == "stopped: the time limit of 8 seconds"
    assert trainer.history.n_epochs == 0 and 0 < trainer.n_steps < 10


def test_a_long_limit_changes_nothing(make_trainer: Any, make_problem: Any, state_of: Any) -> None:
    limited, free = make_trainer(), make_trainer()
    limited.fit(*make_problem(), epochs=3, callbacks=TimeLimit(1e6))
    free.fit(*make_problem(), epochs=3)
    assert state_of(limited) == state_of(free)


def test_bad_seconds() -> None:
    with pytest.raises(ValueError, match="seconds must be"):
        TimeLimit(-1)
