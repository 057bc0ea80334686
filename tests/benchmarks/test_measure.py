from __future__ import annotations

import pytest

from fastmlp.benchmarks import measure


class Clock:
    """A clock that goes on only when something is called."""

    def __init__(self, seconds_per_call: float) -> None:
        self.now, self.step, self.calls = 0.0, seconds_per_call, 0

    def call(self) -> None:
        self.calls += 1
        self.now += self.step

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(1e-4)
    monkeypatch.setattr(measure, "time", clock)
    return clock


def test_calibrate_fills_the_minimum(clock: Clock) -> None:
    loops, seconds = measure.calibrate(clock.call, minimum=0.005)
    assert 50 <= loops <= 100
    assert seconds == pytest.approx(loops * 1e-4)
    assert seconds >= 0.005


def test_calibrate_calls_a_slow_one_once(clock: Clock) -> None:
    clock.step = 1.0
    assert measure.calibrate(clock.call, minimum=0.005) == (1, 1.0)
    assert clock.calls == 1


def test_calibrate_ends_when_the_clock_shows_nothing_at_first(clock: Clock) -> None:
    clock.step = 1e-12
    loops, _ = measure.calibrate(clock.call, minimum=1e-9)
    assert loops >= 1000


def test_repeat_gives_seconds_per_call_after_one_call_that_is_not_timed(clock: Clock) -> None:
    assert measure.repeat(clock.call, 20) == pytest.approx(1e-4)
    assert clock.calls == 21


def test_repeat_makes_a_single_call_only_once(clock: Clock) -> None:
    measure.repeat(clock.call, 1)
    assert clock.calls == 1
