"""Learning-rate schedules: their rates, and training that follows them."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastmlp
from fastmlp import (
    SGD,
    Adam,
    Constant,
    CosineRestarts,
    InverseScaling,
    OneCycle,
    StepDecay,
    WarmUp,
)
from fastmlp.schedules import SCHEDULES, Scaled, Schedule, rates_of

EXAMPLES: list[Schedule] = [
    Constant(0.2),
    StepDecay(0.4, every=2.0, factor=0.5),
    CosineRestarts(0.3, period=2.0, multiply=2.0, minimum=0.01),
    CosineRestarts(0.3, period=1.5),
    OneCycle(0.5, epochs=3.0),
    InverseScaling(0.3, power=0.25),
    WarmUp(1.5, StepDecay(0.4, every=1.0)),
    WarmUp(0.5, 0.1, start=0.0),
    Scaled(OneCycle(0.5, epochs=3.0), 0.5),
]


def at(schedule: Schedule, *epochs: float, n_rows: int = 1) -> list[float]:
    found: list[float] = schedule.rates(np.array(epochs), n_rows).tolist()
    return found


def test_every_schedule_has_an_example() -> None:
    assert {type(each).__name__ for each in EXAMPLES} == set(SCHEDULES)


@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
def test_rates_are_vectorised_and_positive(schedule: Schedule) -> None:
    epochs = np.linspace(0.0, 20.0, 401)
    rates = schedule.rates(epochs, 7)
    assert rates.shape == epochs.shape and rates.dtype == np.float64
    assert np.array_equal(rates, [schedule.rates(epochs[i : i + 1], 7)[0] for i in range(401)])
    assert (rates >= 0.0).all() and (rates <= 0.5).all()
    assert type(schedule)(**schedule.settings()) == schedule
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.factor = 2.0  # type: ignore[attr-defined]


def test_step_decay() -> None:
    assert at(StepDecay(1.0, every=3, factor=0.1), 0, 2.99, 3, 5.5, 6) == pytest.approx(
        [1.0, 1.0, 0.1, 0.1, 0.01]
    )


def test_cosine_restarts() -> None:
    plain = CosineRestarts(1.0, period=4, minimum=0.2)
    assert at(plain, 0, 1, 2, 4, 6) == pytest.approx(
        [1.0, 0.2 + 0.4 * (1 + math.sqrt(0.5)), 0.6, 1.0, 0.6]
    )
    longer = CosineRestarts(1.0, period=1, multiply=2)  # periods from 0, 1, 3 and 7
    assert at(longer, 0, 0.5, 1, 2, 3, 5, 7, 11) == pytest.approx([1, 0.5, 1, 0.5, 1, 0.5, 1, 0.5])


@given(
    st.floats(0.1, 10.0), st.floats(1.0, 3.0), st.lists(st.floats(0.0, 1e4), min_size=1, max_size=9)
)
def test_cosine_restarts_stay_in_range(period: float, multiply: float, epochs: list[float]) -> None:
    rates = np.array(at(CosineRestarts(0.5, period, multiply, minimum=0.1), *epochs))
    assert (rates >= 0.1 - 1e-12).all() and (rates <= 0.5 + 1e-12).all()


def test_one_cycle() -> None:
    cycle = OneCycle(1.0, epochs=10, rising=0.3, first_divisor=20, last_divisor=100)
    first, last = 1 / 20, 1 / 2000
    assert at(cycle, 0, 3, 10, 25) == pytest.approx([first, 1.0, last, last])
    assert at(cycle, 1.5, 6.5) == pytest.approx([(first + 1) / 2, (last + 1) / 2])
    rates = cycle.rates(np.linspace(0, 10, 1001), 1)
    assert (np.diff(rates[:300]) > 0).all() and (np.diff(rates[300:]) < 0).all()


def test_inverse_scaling_is_scikit_learns() -> None:
    # Its rate changes after an epoch, to initial / (rows seen + 1)^power.
    found = at(InverseScaling(0.1, power=0.5), 0, 0.9, 1, 2.5, n_rows=99)
    assert found == pytest.approx([0.1, 0.1, 0.1 / math.sqrt(100), 0.1 / math.sqrt(199)])


def test_warm_up_rises_and_hands_over() -> None:
    schedule = WarmUp(2, StepDecay(1.0, every=1, factor=0.5), start=0.2)
    assert at(schedule, 0, 1, 2, 2.5, 3) == pytest.approx([0.2, 0.6, 1.0, 1.0, 0.5])
    assert at(WarmUp(1, lambda epoch: 3.0 + epoch, start=0.0), 0.5, 1, 2) == [1.5, 3.0, 4.0]


def test_a_function_takes_the_epochs_done() -> None:
    optimizer = SGD(lambda epoch: 1.0 / (1.0 + epoch))
    assert optimizer.first_rate == 1.0
    table = optimizer.coefficients(1, 3, np.array([0.0, 0.5, 1.0]))
    assert table[:, 0] == pytest.approx([1.0, 1 / 1.5, 0.5])


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: StepDecay(-1.0), ValueError, "initial must be"),
        (lambda: StepDecay(0.1, every=0), ValueError, "every must be"),
        (lambda: StepDecay(0.1, factor=1.5), ValueError, r"factor must be .* in \[0, 1\]"),
        (lambda: CosineRestarts(0.1, minimum=0.2), ValueError, r"minimum must be .* in \[0, 0.1\]"),
        (lambda: CosineRestarts(0.1, multiply=0.5), ValueError, "multiply must be"),
        (lambda: OneCycle(0.1, epochs=0), ValueError, "epochs must be"),
        (lambda: OneCycle(0.1, 10, rising=1.0), ValueError, "rising must be"),
        (lambda: WarmUp(1, "0.1"), TypeError, "then must be .* got str"),
        (lambda: SGD(StepDecay), TypeError, "learning_rate must be .* got type"),
        (lambda: SGD(None), TypeError, "learning_rate must be .* got NoneType"),
    ],
)
def test_bad_settings(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_a_function_that_gives_no_rate_is_named() -> None:
    for wrong, error in ((lambda epoch: -1.0, ValueError), (lambda epoch: "x", TypeError)):
        with pytest.raises(error, match=r"learning_rate must be .* at epoch 0.5"):
            rates_of(wrong, np.array([0.5]), 1)


class RecordedRates(Schedule):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[float], float]] = []

    def rates(self, epochs: Any, rows_per_epoch: float) -> Any:
        self.asked.append((epochs.tolist(), rows_per_epoch))
        return np.full(len(epochs), 0.1)


def test_the_trainer_counts_epochs(make_trainer: Any, make_problem: Any) -> None:
    schedule = RecordedRates()
    trainer = make_trainer(optimizer=SGD(schedule), batch_size=5)
    trainer.fit(*make_problem(20), epochs=2)
    trainer.fit(*make_problem(10))  # another number of batches: an epoch is an epoch
    trainer.fit(*make_problem(5))
    quarters = [0.0, 0.25, 0.5, 0.75]
    # Rows are those of the epochs before: so many were seen by then.
    assert schedule.asked == [
        *((quarters, 20), ([1 + q for q in quarters], 20)),
        *(([2.0, 2.5], 20), ([3.0], 50 / 3)),
    ]


def test_training_follows_the_rates(
    backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(20)
    # Batches of 8, 8 and 4 rows, at 0, 1/3 and 2/3 of the epoch: the first two have a rate of 0.
    late = make_trainer(backend_name, optimizer=SGD(lambda epoch: 0.1 * (epoch >= 0.5)))
    rows = copy.deepcopy(late.random).permutation(20)[16:]
    late.fit(x, y)
    untrained = make_trainer(backend_name)
    gradients = untrained.gradients(x[rows], y[rows])
    stepped = untrained.network.weights[0] - 0.1 * gradients.dw[0]
    np.testing.assert_allclose(late.network.weights[0], stepped, rtol=1e-12)


@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
def test_training_goes_on_where_it_was_saved(
    schedule: Schedule, make_trainer: Any, make_problem: Any, state_of: Any, tmp_path: Path
) -> None:
    x, y = make_problem(21)
    first, straight = (make_trainer(optimizer=Adam(schedule), batch_size=4) for _ in range(2))
    first.fit(x, y, epochs=2)
    fastmlp.save(first, tmp_path / "half")
    second = fastmlp.load(tmp_path / "half", backend="numpy")
    assert second.optimizer == first.optimizer
    second.fit(x, y, epochs=2)
    straight.fit(x, y, epochs=4)
    assert state_of(second) == state_of(straight)


def test_functions_cannot_be_saved(make_trainer: Any, tmp_path: Path) -> None:
    for rate in (abs, WarmUp(1, abs)):
        trainer = make_trainer(optimizer=SGD(rate))
        with pytest.raises(TypeError, match=r"is a function \(.*\), which cannot be saved"):
            fastmlp.save(trainer, tmp_path / "trainer")
    assert not (tmp_path / "trainer").exists()


def test_the_advice_after_a_divergence_names_the_rate(make_trainer: Any, make_problem: Any) -> None:
    network = fastmlp.Network([4, 3], output="identity", seed=0)
    trainer = fastmlp.Trainer(network, optimizer=SGD(Constant(1e8)), batch_size=4, backend="numpy")
    x, _ = make_problem(40)
    with pytest.raises(fastmlp.DivergenceError, match=r"a smaller learning rate \(now 1e\+08\)"):
        trainer.fit(x, np.ones((40, 3)), epochs=20)


def test_explain_tells_the_first_rate() -> None:
    from fastmlp.explain import explain

    text = explain(optimizer=SGD(StepDecay(0.25, every=1)), max_iterations=2)
    assert "learning_rate = 0.25" in text
