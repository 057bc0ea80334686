"""The plain loop over a plan's steps: what it runs, in which order, and when it stops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastmlp
from fastmlp.kernels import python_backend
from fastmlp.kernels.step_engine import StepEngine


def operations(steps: Any) -> list[tuple[str, int]]:
    return [(step.operation, step.layer) for step in steps]


class Recording(python_backend.PythonEngine):
    """Writes down every operation that it runs."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.done: list[tuple[str, int]] = []

    def run(self, steps: Any) -> None:
        self.done += operations(steps)
        super().run(steps)


@pytest.fixture
def recording(make_trainer: Any) -> Recording:
    trainer = make_trainer(sizes=(4, 5, 3))
    network = trainer.network
    return Recording(trainer.plan, network.parameters, trainer.optimizer_state, network.statistics)


def one_batch(engine: StepEngine, x: Any, y: Any, n_batches: int = 1) -> Any:
    rows = np.arange(len(x), dtype=np.int64)
    return engine.train(x, y, None, rows, np.full((n_batches, 1), 0.1))


def test_a_batch_runs_the_plan_in_order(recording: Recording, make_problem: Any) -> None:
    x, y = make_problem(n_rows=8)
    one_batch(recording, x, y.astype(np.int32))
    plan = recording.plan
    assert recording.done == operations(plan.forward + plan.backward + plan.update)
    assert recording.done == [
        ("gather", 0), ("weighted_sum", 0), ("activation", 0), ("weighted_sum", 1),
        ("loss", 1), ("weight_gradient", 1), ("bias_gradient", 1), ("input_gradient", 1),
        ("activation_slope", 0), ("weight_gradient", 0), ("bias_gradient", 0),
        ("update", 0), ("update", 1),
    ]  # fmt: skip


def test_a_loss_that_is_not_finite_stops_before_the_update(
    recording: Recording, make_problem: Any
) -> None:
    x, y = make_problem(n_rows=24)
    x[9] = np.inf  # in the second of three batches
    before = recording.parameters.copy()
    sums = one_batch(recording, x, y.astype(np.int32), n_batches=3)
    assert len(sums) == 2 and np.isfinite(sums[0]) and not np.isfinite(sums[1])
    assert recording.done.count(("update", 0)) == 1
    after = recording.parameters
    assert np.isfinite(after).all() and not np.array_equal(before, after)


def test_the_plan_of_an_unmerged_loss_goes_back_through_the_output(make_trainer: Any) -> None:
    plan = make_trainer(sizes=(2, 2), output="tanh", loss="squared_error").plan
    assert not plan.loss_is_merged and plan.output == ()
    assert operations(plan.forward) == [("gather", 0), ("weighted_sum", 0), ("activation", 0)]
    assert operations(plan.backward)[:2] == [("loss", 0), ("activation_slope", 0)]


def test_row_blocks_cover_every_row_once(recording: Recording) -> None:
    for n_rows in (1, 255, 256, 257, 1000):
        rows = [row for start, stop in recording.row_blocks(n_rows) for row in range(start, stop)]
        assert rows == list(range(n_rows))


def test_predict_writes_every_row(make_trainer: Any) -> None:
    x = np.random.default_rng(0).normal(size=(600, 4))  # three blocks
    trainer: fastmlp.Trainer = make_trainer()
    row_by_row = np.concatenate([trainer.predict_proba(row[None]) for row in x])
    np.testing.assert_allclose(trainer.predict_proba(x), row_by_row, rtol=1e-13)


@pytest.mark.parametrize("backend", ["python", "numpy"])
def test_dropout_ends_with_an_interrupted_call(
    backend: str, make_trainer: Any, make_problem: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = make_problem(n_rows=8)
    trainer = make_trainer(sizes=(4, 5, 3), backend=backend, dropout=0.5)
    before = trainer.predict_proba(x)

    def interrupt(layer: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer._bound._engine, "weight_gradient", interrupt)
        assert trainer.fit(x, y).stop_reason == "interrupted"
    np.testing.assert_array_equal(trainer.predict_proba(x), before)
