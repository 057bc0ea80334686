"""scikit-learn's own callbacks are told of every epoch of fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastmlp import MLPClassifier, MLPRegressor

callback = pytest.importorskip("sklearn.callback", reason="this scikit-learn has no callbacks")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Recorder:
    """Notes every hook, and asks for the end after some epochs."""

    def __init__(self, epochs: int = 100) -> None:
        self.epochs, self.hooks, self.scores = epochs, [], []

    def setup(self, estimator: Any, context: Any) -> None:
        self.hooks.append(("setup", context.task_name))

    def teardown(self, estimator: Any, context: Any) -> None:
        self.hooks.append(("teardown", context.task_name))

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        self.hooks.append(("begin", context.task_name))

    def on_fit_task_end(
        self,
        estimator: Any,
        context: Any,
        *,
        X: Any = None,
        y: Any = None,
        fitted_estimator: Any = None,
    ) -> bool:
        self.hooks.append(("end", context.task_name))
        if fitted_estimator is not None:
            self.scores.append(fitted_estimator.score(X, y))
        return context.task_name == "epoch" and context.task_id + 1 >= self.epochs


def test_every_epoch_is_a_task(iris: Any) -> None:
    recorder = Recorder()
    model = MLPClassifier(max_iter=3, random_state=0).set_callbacks(recorder).fit(*iris)
    epoch = [("begin", "epoch"), ("end", "epoch")]
    whole = [("setup", "fit"), ("begin", "fit"), *epoch * 3, ("end", "fit"), ("teardown", "fit")]
    assert recorder.hooks == whole
    assert recorder.scores[-1] == model.score(*iris) and len(recorder.scores) == 3


def test_a_callback_may_ask_for_the_end(diabetes: Any) -> None:
    model = MLPRegressor(random_state=0).set_callbacks(Recorder(epochs=2)).fit(*diabetes)
    assert model.n_iter_ == 2


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_callbacks_are_taken_down_after_an_error(diabetes: Any) -> None:
    recorder = Recorder()
    model = MLPRegressor(solver="sgd", learning_rate_init=1e6, activation="identity")
    with pytest.raises(ValueError, match="non-finite"):
        model.set_callbacks(recorder).fit(*diabetes)
    assert recorder.hooks[-1] == ("teardown", "fit")


def test_lbfgs_is_one_task(iris: Any) -> None:
    recorder = Recorder()
    MLPClassifier(solver="lbfgs", max_iter=3).set_callbacks(recorder).fit(*iris)
    assert recorder.hooks[1:-1] == [("begin", "fit"), ("end", "fit")]


def test_the_scoring_monitor(iris: Any) -> None:
    monitor = callback.ScoringMonitor(scoring="accuracy")
    weights = np.ones(150)
    model = MLPClassifier(max_iter=4, random_state=0).set_callbacks(monitor)
    model.fit(*iris, sample_weight=weights)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(rows) == 4 and rows[-1]["accuracy"] == model.score(*iris)


class Weights(Recorder):
    """Keeps the weights of the rows that a hook is told of."""

    def on_fit_task_end(
        self,
        estimator: Any,
        context: Any,
        *,
        metadata: Any = None,
    ) -> bool:
        self.scores.append(metadata)
        return False


def test_callbacks_are_told_of_the_weights(iris: Any) -> None:
    recorder, weights = Weights(), np.linspace(0.5, 1.5, 150)
    model = MLPClassifier(max_iter=2, random_state=0).set_callbacks(recorder)
    model.fit(*iris, sample_weight=weights)
    assert len(recorder.scores) == 3  # two epochs, and the whole
    for metadata in recorder.scores:
        np.testing.assert_array_equal(metadata["sample_weight"], weights)
