"""The learning-rate range test: its rates, its suggestion, and a trainer that is left as it was."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastmlp import SGD, MissingExtraError, Network, Trainer, learning_rate_range_test
from fastmlp.range_test import RangeTest, _smooth


def test_the_trainer_is_left_as_it_was(
    backend_name: str, make_trainer: Any, make_problem: Any, state_of: Any
) -> None:
    x, y = make_problem(40)
    trainer = make_trainer(backend_name, optimizer="adam")
    trainer.fit(x, y)
    before, optimizer = state_of(trainer), trainer.optimizer
    found = learning_rate_range_test(trainer, x, y, n_batches=23)
    assert state_of(trainer) == before and trainer.optimizer is optimizer
    assert found.rates[0] == pytest.approx(1e-6)
    assert len(found.rates) == len(found.losses) == len(found.smoothed) <= 23


def test_rates_grow_evenly_and_losses_are_those_of_training(
    make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(20)  # three batches an epoch: the test goes over several epochs
    trainer = make_trainer()
    found = learning_rate_range_test(trainer, x, y, lowest=1e-3, highest=0.1, n_batches=10)
    wanted = np.geomspace(1e-3, 0.1, 10)
    np.testing.assert_allclose(found.rates, wanted, rtol=1e-12)

    by_hand = make_trainer()
    by_hand.optimizer = SGD(lambda epoch: float(wanted[min(round(3 * epoch), 9)]))
    losses: list[float] = []
    for _ in range(4):
        by_hand.fit(x, y)
        losses += by_hand.history.batch_losses
    np.testing.assert_allclose(found.losses, losses[:10], rtol=1e-12)


def quadratic() -> tuple[Trainer, np.ndarray, np.ndarray]:
    """Return least squares whose curvature is 4: beyond a rate of 0.5 it diverges.

    The noise counts: without it a fit now and then is exact, and from slopes of 0 nothing diverges.
    """
    network = Network([1, 1], output="identity", seed=0)
    trainer = Trainer(network, batch_size=16, backend="numpy", seed=0)
    trainer.network.parameters[...] = [0.0, 0.0]
    x = np.where(np.arange(160) % 2 == 0, 2.0, -2.0)[:, None]
    noise = np.random.default_rng(0).normal(0.0, 0.1, x.shape)
    return trainer, x, 10.0 * x + noise


def test_the_suggestion_lies_below_the_rate_that_diverges() -> None:
    trainer, x, y = quadratic()
    found = learning_rate_range_test(trainer, x, y, lowest=1e-5, highest=1e4, n_batches=150)
    assert len(found.losses) < 150  # it blew up and ended
    assert 0.001 < found.suggestion < 0.5
    assert found.smoothed[-1] > found.smoothed.min()
    assert found.suggestion == pytest.approx(found.rates[np.argmin(found.smoothed)] / 10)


def test_smoothing_keeps_constants_and_the_length() -> None:
    np.testing.assert_allclose(_smooth(np.full(7, 3.0), width=2.0), 3.0, rtol=1e-14)
    spike = _smooth(np.eye(9)[4], width=1.0)
    assert spike.argmax() == 4 and spike[3] == pytest.approx(spike[5])


def test_a_divergence_ends_it_quietly() -> None:
    trainer, x, y = quadratic()
    found = learning_rate_range_test(trainer, x, y, lowest=1e-2, highest=1e9, n_batches=12)
    assert np.isfinite(found.losses).all() and found.suggestion <= 0.5


def test_sample_weights_count(make_trainer: Any, make_problem: Any) -> None:
    x, y = make_problem(40)
    weights = np.arange(40.0)
    plain, weighed = (
        learning_rate_range_test(make_trainer(), x, y, n_batches=10, sample_weight=each)
        for each in (None, weights)
    )
    assert not np.array_equal(plain.losses, weighed.losses)


def test_bad_arguments(make_trainer: Any, make_problem: Any) -> None:
    x, y = make_problem()
    for arguments, error, text in (
        ({"n_batches": 9}, ValueError, "n_batches must be an integer >= 10"),
        ({"lowest": 0.0}, ValueError, "lowest must be"),
        ({"highest": 1e-9}, ValueError, "highest must be"),
        ({"y": y[:3]}, ValueError, "y must have one target per row"),
        ({"trainer": "x"}, TypeError, "trainer must be a Trainer; got str"),
    ):
        with pytest.raises(error, match=text):
            learning_rate_range_test(**{"trainer": make_trainer(), "X": x, "y": y, **arguments})
    trainer, x, y = quadratic()
    with pytest.raises(ValueError, match="lowest must be a rate that the network can be trained"):
        learning_rate_range_test(trainer, x * 1e15, y * 1e15, lowest=1e8, highest=1e9)


def example() -> RangeTest:
    rates = np.geomspace(1e-3, 1.0, 4)
    return RangeTest(rates, np.array([1.0, 0.9, 0.5, 3.0]), np.array([1.0, 0.95, 0.7, 1.5]), 0.1)


def test_the_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = example().plot(tmp_path / "range.svg")
    axes = figure.axes[0]
    assert axes.get_xscale() == "log" and len(axes.lines) == 3
    assert "<svg" in (tmp_path / "range.svg").read_text(encoding="utf-8")


def test_the_plot_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"range test needs .*'matplotlib'.*'\.\[report\]'"):
        example().plot()
