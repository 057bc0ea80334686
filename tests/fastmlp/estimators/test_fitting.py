"""Fitting: going on, stopping, validating, diverging, weighting; objects instead of numbers."""

from __future__ import annotations

import _thread
import copy
import inspect
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.class_weight import compute_class_weight

import fastmlp
from fastmlp import (
    SGD,
    AdamW,
    Callback,
    Clipping,
    DivergenceError,
    Dropout,
    EarlyStopping,
    Focal,
    MLPClassifier,
    MLPRegressor,
    Muon,
    Quantile,
    ReduceOnPlateau,
    Regularization,
    StepDecay,
    WeightAveraging,
    learning_rate_range_test,
)
from fastmlp.estimators.base import FitDivergedError

ignore_the_end = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def parameters(model: Any) -> np.ndarray:
    return np.concatenate([each.ravel() for each in model.coefs_ + model.intercepts_])


class Epochs(Callback):
    """Counts epochs; optionally does something after one of them."""

    def __init__(self, action: Any = None, after: int = 0) -> None:
        self.count, self.action, self.after = 0, action, after

    def on_epoch_end(self, trainer: Any) -> None:
        self.count += 1
        if self.action is not None and self.count == self.after:
            self.action(trainer)


# ---------------------------------------------------------------------------------------------
# Going on


@ignore_the_end
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_calls_of_partial_fit_are_epochs_of_fit(solver: str, problem: Any) -> None:
    ours, _, (x, y) = problem
    settings = {
        "solver": solver,
        "random_state": 0,
        "batch_size": 30,
        "learning_rate": "invscaling",
    }
    whole = ours(max_iter=4, **settings).fit(x, y)
    model = ours(**settings)
    first = {}
    if ours is MLPClassifier:
        first["classes"] = np.arange(y.shape[1]) if y.ndim == 2 else np.unique(y)
    for _ in range(4):
        model.partial_fit(x, y, **first)
    np.testing.assert_array_equal(parameters(model), parameters(whole))
    assert model.loss_curve_ == whole.loss_curve_ and model.t_ == whole.t_
    assert (model.n_iter_, whole.n_iter_) == (1, 4)
    assert model._optimizer.learning_rate == whole._optimizer.learning_rate


def test_partial_fit_does_not_repeat_one_order(iris: Any) -> None:
    model = MLPClassifier(random_state=0)
    orders = []
    for _ in range(3):
        model.partial_fit(*iris, classes=[0, 1, 2])
        orders.append(model._order._last.tolist())
    assert orders[0] != orders[1] != orders[2] != orders[0]


@ignore_the_end
def test_warm_start_goes_on_with_the_optimizer(cancer: Any) -> None:
    x, y = cancer
    whole = MLPClassifier(max_iter=6, random_state=0, batch_size=50).fit(x, y)
    model = MLPClassifier(max_iter=2, random_state=0, batch_size=50, warm_start=True)
    for _ in range(3):
        model.fit(x, y)
    np.testing.assert_array_equal(parameters(model), parameters(whole))
    assert model.loss_curve_ == whole.loss_curve_ and model.n_iter_ == 2


@ignore_the_end
def test_without_warm_start_fit_starts_afresh(cancer: Any) -> None:
    model = MLPClassifier(max_iter=2, random_state=0)
    first, second = (parameters(model.fit(*cancer)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@ignore_the_end
@pytest.mark.parametrize(
    ("changes", "keeps_state"),
    [
        ({"learning_rate_init": 0.1}, True),
        ({"batch_size": 13}, True),
        ({"alpha": 3.0}, True),
        ({"precision": "float32"}, True),
        ({"backend": "numpy"}, True),
        ({"solver": "sgd"}, False),
        ({"solver": "lbfgs"}, False),
    ],
)
def test_settings_may_change_between_warm_starts(
    changes: dict[str, Any], keeps_state: bool, cancer: Any
) -> None:
    model = MLPClassifier(max_iter=3, random_state=0, warm_start=True).fit(*cancer)
    before, steps = parameters(model), model._trainer.n_steps
    state = model._trainer.optimizer_state.copy()
    model.set_params(max_iter=1, **changes).fit(*cancer)
    assert not np.array_equal(parameters(model), before)
    # One epoch from there, not from new parameters.
    assert np.abs(parameters(model) - before).max() < 0.9 if "lbfgs" not in changes else True
    if keeps_state:
        assert model._trainer.n_steps > steps
        found = model._trainer.optimizer_state
        assert np.corrcoef(found[1], state[1])[0, 1] > 0.5


@ignore_the_end
@pytest.mark.parametrize("optimizer", [SGD(0.05, momentum=0.9), AdamW(0.01)])
def test_another_backend_goes_on_where_the_first_stopped(optimizer: Any, cancer: Any) -> None:
    # With the optimizer's state, its steps and what dropout draws, or the parameters differ.
    settings = {"optimizer": optimizer, "dropout": 0.2, "batch_size": 50, "random_state": 0}
    whole = MLPClassifier((10,), max_iter=4, **settings).fit(*cancer)
    model = MLPClassifier((10,), max_iter=2, warm_start=True, **settings).fit(*cancer)
    model.set_params(backend="numpy").fit(*cancer)
    np.testing.assert_allclose(parameters(model), parameters(whole), rtol=1e-8, atol=1e-12)


@ignore_the_end
@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"solver": "lbfgs"}, {"solver": "adam"}),
        ({"solver": "lbfgs"}, {"solver": "sgd", "early_stopping": True}),
        ({"early_stopping": True}, {"early_stopping": False}),
        ({"early_stopping": False}, {"early_stopping": True}),
        ({"early_stopping": True}, {"solver": "lbfgs"}),
    ],
)
def test_how_it_stops_may_change_between_warm_starts(
    first: dict[str, Any], then: dict[str, Any], cancer: Any
) -> None:
    model = MLPClassifier(max_iter=3, random_state=0, warm_start=True, **first).fit(*cancer)
    model.set_params(**then).fit(*cancer)
    assert model.score(*cancer) > 0.8
    if model.solver != "lbfgs":
        assert (model.best_loss_ is not None) or model.early_stopping
        assert len(model.loss_curve_) >= 3


@ignore_the_end
@pytest.mark.parametrize(
    ("estimator", "name", "before", "after"),
    [
        (MLPClassifier, "hidden_layer_sizes", (6, 5), (6, 4)),
        (MLPClassifier, "activation", "relu", ["relu", "tanh"]),
        (MLPClassifier, "normalization", None, "layer"),
        (MLPClassifier, "scale_inputs", "standard", None),
        (MLPClassifier, "loss", "hinge", "log_loss"),
        (MLPClassifier, "loss", "log_loss", "hinge"),
        (MLPRegressor, "output", "auto", "softplus"),
        (MLPRegressor, "loss", "quantile", Quantile((0.1, 0.9))),
        (MLPRegressor, "loss", "squared_error", "poisson"),
    ],
)
def test_the_network_stays_the_same(
    estimator: Any, name: str, before: Any, after: Any, iris: Any
) -> None:
    first = {"hidden_layer_sizes": (6, 5), name: before}
    model = estimator(max_iter=2, warm_start=True, random_state=0, **first).fit(*iris)
    learned = model.trainer_.network.learned
    model.set_params(**{name: after})
    for go_on in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=f"go on with the network .* made with {name}.*; got"):
            go_on(*iris)
    np.testing.assert_array_equal(model.trainer_.network.learned, learned)
    model.set_params(warm_start=False).fit(*iris)
    # The same in other words.
    model = estimator(warm_start=True, hidden_layer_sizes=[6, 5], activation="relu").fit(*iris)
    model.set_params(hidden_layer_sizes=np.array([6, 5]), activation=("relu", "relu")).fit(*iris)


@ignore_the_end
def test_a_loss_of_the_same_network_may_take_over(iris: Any) -> None:
    model = MLPClassifier((5,), max_iter=2, warm_start=True, random_state=0).fit(*iris)
    model.set_params(loss="focal").fit(*iris)
    assert model.trainer_.loss == Focal() and model.predict_proba(iris[0]).shape == (150, 3)


def refused(model: Any, method: str, *data: Any, **more: Any) -> None:
    """Check that a call raises, and that the model is what it was before."""
    before = vars(model).copy()
    predicted = model.predict(data[0]) if "_trainer" in before else None
    with pytest.raises((ValueError, TypeError)):
        getattr(model, method)(*data, **more)
    assert vars(model) == before
    if predicted is not None:
        np.testing.assert_array_equal(model.predict(data[0]), predicted)


@ignore_the_end
def test_a_fit_that_is_refused_changes_nothing(iris: Any) -> None:
    x, y = iris
    for warm_start in (False, True):
        model = MLPClassifier((5,), max_iter=2, random_state=0, warm_start=warm_start).fit(x, y)
        refused(model, "fit", x, y, sample_weight=-np.ones(150))
        refused(model, "fit", x, y, X_val=x, y_val=y + 7)
        refused(model.set_params(callbacks=[3]), "fit", x, y)
        model.set_params(callbacks=None, dropout=Dropout(hidden=(0.1, 0.1)))
        refused(model, "fit", x, y > 0)
        refused(model, "initialize", x, y > 0)
    new = MLPClassifier((5,), dropout=Dropout(hidden=(0.1, 0.1)))
    refused(new, "fit", x, y)
    refused(new, "partial_fit", x, y, classes=[0, 1, 2])
    with pytest.raises(NotFittedError):
        new.predict(x)


@ignore_the_end
def test_an_error_after_the_first_steps_keeps_what_was_learned(iris: Any) -> None:
    def fail(trainer: Any) -> None:
        raise RuntimeError("enough")

    model = MLPClassifier((5,), max_iter=2, random_state=0).fit(*iris)
    before = parameters(model)
    model.set_params(callbacks=Epochs(fail, after=2), random_state=1)
    with pytest.raises(RuntimeError, match="enough"):
        model.fit(*iris)  # after as many steps as the first one took
    assert model.n_iter_ == 2 and not np.array_equal(parameters(model), before)


@ignore_the_end
def test_curves_of_an_earlier_fit_do_not_stay(iris: Any) -> None:
    model = MLPClassifier((5,), max_iter=2, early_stopping=True, random_state=0).fit(*iris)
    model.set_params(early_stopping=False, solver="lbfgs").fit(*iris)
    for name in ("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"):
        assert not hasattr(model, name)


def test_flat_labels_stay_flat(iris: Any) -> None:
    model = MLPClassifier((5,)).partial_fit(*iris, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"y must be flat, .*\(150, 3\)"):
        model.partial_fit(iris[0], np.eye(3, dtype=int)[iris[1]])


@pytest.mark.parametrize("sizes", [(4.5,), ("4",)])
def test_widths_are_integers(sizes: Any, iris: Any) -> None:
    with pytest.raises(ValueError, match=r"hidden_layer_sizes\[0\] must be an integer; got"):
        MLPClassifier(sizes).fit(*iris)


@ignore_the_end
def test_initialize_makes_a_model_to_go_on_with(problem: Any) -> None:
    ours, _, (x, y) = problem
    model = ours(random_state=0, warm_start=True, max_iter=2).initialize(x, y)
    assert model.n_iter_ == model.t_ == 0
    assert np.shape(model.predict(x)) == np.shape(y)
    expected = ours(random_state=0, max_iter=2).fit(x, y)
    assert not np.array_equal(parameters(model), parameters(expected))
    np.testing.assert_array_equal(parameters(model.fit(x, y)), parameters(expected))
    again = ours(random_state=0).initialize(x, y)
    assert len(np.unique(parameters(again))) == len(parameters(again))


@pytest.mark.parametrize("method", ["predict", "predict_proba", "transform", "score"])
def test_nothing_is_fitted_yet(method: str, iris: Any) -> None:
    arguments = iris if method == "score" else iris[:1]
    with pytest.raises(NotFittedError):
        getattr(MLPClassifier(), method)(*arguments)
    assert not hasattr(MLPClassifier(), "coefs_") and not hasattr(MLPClassifier(), "intercepts_")


@ignore_the_end
def test_lbfgs_leaves_no_curves_behind(iris: Any) -> None:
    model = MLPClassifier(max_iter=3).fit(*iris)
    assert not hasattr(model.set_params(solver="lbfgs").fit(*iris), "loss_curve_")


def test_lbfgs_has_no_partial_fit(iris: Any) -> None:
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")
    assert not hasattr(MLPRegressor(solver="lbfgs"), "partial_fit")
    assert hasattr(MLPClassifier(solver="lbfgs", optimizer="adam"), "partial_fit")


def test_unseen_classes(iris: Any) -> None:
    x, y = iris
    model = MLPClassifier().partial_fit(x[:100], y[:100], classes=[0, 1])
    with pytest.raises(ValueError, match=r"classes not in `self.classes_`: \[2\].*classes=\[...\]"):
        model.partial_fit(x, y)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        MLPClassifier().partial_fit(x, y)
    warm = MLPClassifier(warm_start=True, max_iter=1)
    with pytest.warns(ConvergenceWarning):
        warm.fit(x[:100], y[:100])
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same"):
        warm.fit(x, y)


def test_the_number_of_outputs_stays(diabetes: Any) -> None:
    x, y = diabetes
    model = MLPRegressor().partial_fit(x, y)
    with pytest.raises(ValueError, match="y must have 1 outputs, as in the previous call; got 2"):
        model.partial_fit(x, np.column_stack([y, y]))


# ---------------------------------------------------------------------------------------------
# Stopping


def test_all_epochs_done_is_warned_of(iris: Any) -> None:
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(3\) reached"):
        MLPClassifier(max_iter=3).fit(*iris)


def test_it_stops_where_nothing_improves(iris: Any) -> None:
    model = MLPClassifier(tol=10.0, n_iter_no_change=4, random_state=0).fit(*iris)
    assert model.n_iter_ == 6  # the first improves on infinity
    assert model._trainer.history.stop_reason.startswith("stopped: Training loss did not improve")


def test_batch_size_is_clipped(iris: Any) -> None:
    with pytest.warns(UserWarning, match="It is going to be clipped"):
        model = MLPClassifier(batch_size=1000, tol=10.0).fit(*iris)
    assert model._trainer.plan.batch_size == 150


def test_what_is_printed(iris: Any, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"early_stopping": True, "tol": 1.0, "n_iter_no_change": 1, "verbose": True}
    model = MLPClassifier(random_state=0, **settings).fit(*iris)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Iteration 1, loss = {model.loss_curve_[0]:.8f}"
    assert lines[1] == f"Validation score: {model.validation_scores_[0]:f}"
    assert lines[-1] == (
        "Validation score did not improve more than tol=1.000000 for 1 consecutive epochs. "
        "Stopping."
    )


def test_adaptive_says_what_it_does(iris: Any, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 1e-5}
    MLPClassifier(tol=10.0, n_iter_no_change=1, verbose=1, **settings).fit(*iris)
    printed = capsys.readouterr().out
    assert "Setting learning rate to 0.000002" in printed
    assert "Learning rate too small. Stopping." in printed


def test_ctrl_c_leaves_a_usable_model(iris: Any) -> None:
    epochs = Epochs(lambda trainer: _thread.interrupt_main(), after=3)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model = MLPClassifier(callbacks=epochs, max_iter=1000, tol=0.0).fit(*iris)
    assert model.n_iter_ <= 4 and model.predict(iris[0]).shape == (150,)


@ignore_the_end
def test_callbacks_and_the_progress_bar(iris: Any, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = Epochs(), Epochs(lambda trainer: trainer.stop("enough"), after=4)
    MLPClassifier(callbacks=[one, other], progress=True).fit(*iris)
    assert one.count == other.count == 4
    assert "stopped: enough: 4 epochs" in capsys.readouterr().err


def test_a_time_limit(cancer: Any) -> None:
    model = MLPClassifier(time_limit=0.2, max_iter=10**6, tol=0.0, n_iter_no_change=np.inf)
    model.fit(*cancer)
    assert model.trainer_.history.stop_reason == "stopped: the time limit of 0.2 seconds"
    assert 0.1 < sum(model.trainer_.history.seconds) < 10.0 and model.n_iter_ > 1


class StopAfter(fastmlp.Callback):
    """Stops in the middle of an epoch, as a time limit does."""

    batches_per_call = 1

    def __init__(self, n_batches: int, error: BaseException | None = None) -> None:
        self.n_batches, self.error = n_batches, error

    def on_chunk_end(self, trainer: Any, n_batches_done: int, n_batches: int) -> None:
        if n_batches_done == self.n_batches:
            trainer.stop("enough")
            if self.error is not None:
                raise self.error


@pytest.mark.parametrize("way", ["stopped", "interrupted"])
@pytest.mark.filterwarnings("ignore:Training interrupted")
def test_the_loss_of_a_first_epoch_that_is_cut_off(way: str, cancer: Any, diabetes: Any) -> None:
    error = KeyboardInterrupt() if way == "interrupted" else None
    for estimator, (x, y) in ((MLPClassifier, cancer), (MLPRegressor, diabetes)):
        settings = {"batch_size": 50, "shuffle": False, "random_state": 0, "alpha": 0.0}
        model = estimator(callbacks=StopAfter(3, error), **settings).fit(x, y)
        # The same three batches, as an epoch of their own.
        whole = estimator(max_iter=1, **settings)
        with pytest.warns(ConvergenceWarning):
            whole.fit(x[:150], y[:150])
        assert model.loss_ == pytest.approx(whole.loss_, rel=1e-12)
        assert model.n_iter_ == 0 and model.loss_curve_ == []
    with_penalty = MLPClassifier(callbacks=StopAfter(3), **{**settings, "alpha": 10.0}).fit(*cancer)
    without = MLPClassifier(callbacks=StopAfter(3), **settings).fit(*cancer)
    assert with_penalty.loss_ > without.loss_ + 0.1


def test_a_later_epoch_that_is_cut_off_leaves_the_loss(cancer: Any) -> None:
    class StopInTheSecond(StopAfter):
        def on_chunk_end(self, trainer: Any, n_batches_done: int, n_batches: int) -> None:
            if trainer.history.n_epochs == 1:
                trainer.stop("enough")

    model = MLPClassifier(callbacks=StopInTheSecond(1), random_state=0).fit(*cancer)
    assert model.n_iter_ == 1 and model.loss_ == model.loss_curve_[-1]


@ignore_the_end
def test_a_schedule_counts_the_epochs_of_all_calls(iris: Any) -> None:
    schedule = StepDecay(0.1, every=1, factor=0.5)
    whole = MLPClassifier(optimizer=SGD(schedule), max_iter=3, random_state=0).fit(*iris)
    model = MLPClassifier(optimizer=SGD(schedule), random_state=0)
    for backend in ("numpy", "auto", "auto"):  # another Trainer goes on with the count
        model.set_params(backend=backend).partial_fit(*iris, classes=[0, 1, 2])
    assert model._optimizer.learning_rate == pytest.approx(0.0125)
    np.testing.assert_allclose(parameters(model), parameters(whole), rtol=1e-9)


@ignore_the_end
def test_callbacks_of_the_library(cancer: Any) -> None:
    x, y = cancer
    averaging, plateau = WeightAveraging(), ReduceOnPlateau(factor=0.1, patience=1, min_delta=1.0)
    stopping = EarlyStopping(patience=3, monitor="validation_loss", min_delta=1.0)
    model = MLPClassifier(optimizer="adam", callbacks=[averaging, plateau, stopping])
    model.fit(x[:400], y[:400], X_val=x[400:], y_val=y[400:])
    assert model.n_iter_ == 4 and averaging.n_averaged == 4
    assert model._optimizer.learning_rate == pytest.approx(1e-6)
    np.testing.assert_allclose(model.trainer_.network.parameters, stopping.best_parameters)


@ignore_the_end
@pytest.mark.parametrize("averaging", [WeightAveraging(), WeightAveraging(decay=0.9)])
def test_averaged_weights_stay_with_early_stopping(averaging: Any, cancer: Any) -> None:
    settings = {"early_stopping": True, "n_iter_no_change": 3, "random_state": 0}
    model = MLPClassifier(callbacks=averaging, **settings).fit(*cancer)
    plain = MLPClassifier(**settings).fit(*cancer)
    np.testing.assert_array_equal(model.trainer_.network.learned, averaging.average)
    assert model.validation_scores_ == plain.validation_scores_  # training is not touched
    assert not np.array_equal(parameters(model), parameters(plain))


@ignore_the_end
def test_the_range_test_finds_a_rate_for_an_estimator(cancer: Any) -> None:
    model = MLPClassifier(optimizer=SGD(), random_state=0, batch_size=16).initialize(*cancer)
    before = parameters(model)
    found = learning_rate_range_test(model.trainer_, *cancer)
    np.testing.assert_array_equal(parameters(model), before)
    model.set_params(optimizer=SGD(found.suggestion), max_iter=20).fit(*cancer)
    assert model.score(*cancer) > 0.9


@ignore_the_end
@pytest.mark.parametrize("settings", [{}, {"solver": "sgd"}, {"optimizer": "lion"}])
def test_the_range_test_of_an_estimator(settings: dict[str, Any], cancer: Any) -> None:
    x, y = cancer[0], np.array(["benign", "malignant"])[cancer[1]]
    model = MLPClassifier(class_weight={"benign": 3.0}, random_state=0, batch_size=16, **settings)
    found = model.learning_rate_range_test(x, y, n_batches=50, highest=1.0)
    assert not hasattr(model, "classes_") and len(found.rates) <= 50 and found.rates[-1] <= 1.0
    trainer = model.initialize(x, y).trainer_
    by_hand = learning_rate_range_test(
        trainer, x, cancer[1], n_batches=50, highest=1.0, sample_weight=np.where(cancer[1], 1, 3.0)
    )
    np.testing.assert_array_equal(found.losses, by_hand.losses)
    fitted = parameters(model.fit(x, y))
    again = model.learning_rate_range_test(x, y, n_batches=50, highest=1.0)
    np.testing.assert_array_equal(again.losses, found.losses)
    np.testing.assert_array_equal(parameters(model), fitted)


def test_lbfgs_has_no_learning_rate(iris: Any) -> None:
    with pytest.raises(ValueError, match="solver='lbfgs' has no learning rate"):
        MLPClassifier(solver="lbfgs").learning_rate_range_test(*iris)


def test_callbacks_are_checked(iris: Any) -> None:
    with pytest.raises(TypeError, match="callbacks must be objects of"):
        MLPClassifier(callbacks=[3]).fit(*iris)


# ---------------------------------------------------------------------------------------------
# Divergence


def test_divergence_stops_at_once_and_keeps_the_last_finite_parameters(diabetes: Any) -> None:
    epochs = Epochs()
    settings = {"solver": "sgd", "learning_rate_init": 1e6, "activation": "identity"}
    model = MLPRegressor(callbacks=epochs, max_iter=500, **settings)
    with pytest.raises(ValueError, match="non-finite parameter weights") as e:
        model.fit(*diabetes)
    assert "a smaller learning rate" in str(e.value)
    assert isinstance(e.value, FitDivergedError) and isinstance(e.value, DivergenceError)
    assert epochs.count < 100 and np.isfinite(parameters(model)).all()


def test_divergence_with_early_stopping_keeps_the_best(diabetes: Any) -> None:
    settings = {"solver": "sgd", "learning_rate_init": 1.0, "activation": "identity"}
    model = MLPRegressor(early_stopping=True, random_state=0, **settings)
    with pytest.warns(ConvergenceWarning, match="best validation score are taken"):
        model.fit(*diabetes)
    assert np.isnan(model.validation_scores_[-1])
    assert np.isfinite(model.predict(diabetes[0])).all()


# ---------------------------------------------------------------------------------------------
# Weights of rows and classes


@ignore_the_end
@pytest.mark.parametrize("labels", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("class_weight", ["balanced", "by class"])
def test_class_weight_is_a_weight_per_row(labels: str, class_weight: Any, iris: Any) -> None:
    x, y = iris[0], np.repeat([0, 1, 2], [100, 30, 20])
    y = {"binary": np.minimum(y, 1), "multiclass": y, "multilabel": np.eye(3, dtype=int)[y]}[labels]
    rows = np.random.default_rng(0).random(150)
    if labels == "multilabel":
        given: Any = class_weight if class_weight == "balanced" else [{0: 1, 1: 5}] * 3
        columns = [
            compute_class_weight(class_weight, classes=np.array([0, 1]), y=column)[column]
            if class_weight == "balanced"
            else np.where(column, 5, 1)
            for column in y.T
        ]
        expected = np.prod(columns, axis=0)
    else:
        table = compute_class_weight("balanced", classes=np.unique(y), y=y)
        if class_weight == "by class":
            table = np.array([3.0, 1.0, 0.5])[: len(table)]
        given = class_weight if class_weight == "balanced" else dict(enumerate(table))
        expected = table[y]
    found = MLPClassifier(class_weight=given, max_iter=3, random_state=0).fit(x, y, rows)
    by_rows = MLPClassifier(max_iter=3, random_state=0).fit(x, y, rows * expected)
    np.testing.assert_allclose(parameters(found), parameters(by_rows), rtol=1e-9)


def test_class_weight_by_the_names_of_classes(iris: Any) -> None:
    # One of ten says yes, whatever the features: only a weight makes it the answer.
    x, y = np.zeros((100, 2)), np.where(np.arange(100) % 10 == 0, "yes", "no")
    for class_weight, answer in ((None, "no"), ({"yes": 20.0}, "yes")):
        model = MLPClassifier(class_weight=class_weight, random_state=0, max_iter=500)
        assert set(model.fit(x, y).predict(x)) == {answer}


def test_balanced_needs_all_rows(iris: Any) -> None:
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        MLPClassifier(class_weight="balanced").partial_fit(*iris, classes=[0, 1, 2])


# ---------------------------------------------------------------------------------------------
# Objects instead of numbers


@ignore_the_end
@pytest.mark.parametrize("optimizer", ["rmsprop", AdamW(0.01, weight_decay=0.1), SGD(0.1)])
def test_an_optimizer_takes_the_place_of_the_solver(optimizer: Any, iris: Any) -> None:
    model = MLPClassifier(optimizer=optimizer, solver="lbfgs", max_iter=3, random_state=0).fit(
        *iris
    )
    name = optimizer if isinstance(optimizer, str) else optimizer.formula_name
    assert model._trainer.plan.optimizer == name and len(model.loss_curve_) == 3


@ignore_the_end
def test_muon_takes_two_hidden_layers(iris: Any) -> None:
    optimizer = Muon(adam_learning_rate=0.02)  # 150 rows are one batch: a step per epoch
    model = MLPClassifier((8, 8), optimizer=optimizer, max_iter=60, random_state=0).fit(*iris)
    assert model.trainer_.plan.matrix_layers == (1,) and model.score(*iris) > 0.9
    with pytest.warns(UserWarning, match="all of it is trained by AdamW.*Add a hidden layer"):
        MLPClassifier((8,), optimizer="muon", max_iter=1).fit(*iris)


@ignore_the_end
def test_an_optimizer_like_the_solver_gives_the_same(iris: Any) -> None:
    by_solver = MLPClassifier(solver="sgd", max_iter=3, random_state=0).fit(*iris)
    optimizer = SGD(0.001, momentum=0.9, nesterov=True)
    by_object = MLPClassifier(optimizer=optimizer, max_iter=3, random_state=0).fit(*iris)
    np.testing.assert_array_equal(parameters(by_solver), parameters(by_object))


@ignore_the_end
def test_regularization_takes_the_place_of_alpha(iris: Any) -> None:
    by_alpha = MLPClassifier(alpha=2.0, max_iter=5, random_state=0).fit(*iris)
    penalties = Regularization(l2=2.0, divided_by_rows=True)
    by_object = MLPClassifier(alpha=7.0, regularization=penalties, max_iter=5, random_state=0)
    np.testing.assert_array_equal(parameters(by_alpha), parameters(by_object.fit(*iris)))
    l1 = Regularization(l1=20.0, divided_by_rows=True)
    sparse = MLPClassifier(regularization=l1, max_iter=300, random_state=0).fit(*iris)
    assert (
        np.mean(np.abs(sparse.coefs_[0]) < 1e-3) > 0.3 > np.mean(np.abs(by_alpha.coefs_[0]) < 1e-3)
    )


@ignore_the_end
def test_dropout_is_drawn_by_the_seed(iris: Any) -> None:
    def fitted(seed: int, dropout: Any) -> np.ndarray:
        return parameters(MLPClassifier(dropout=dropout, max_iter=3, random_state=seed).fit(*iris))

    np.testing.assert_array_equal(fitted(0, 0.5), fitted(0, 0.5))
    assert not np.array_equal(fitted(0, 0.5), fitted(0, 0.25))
    np.testing.assert_array_equal(fitted(0, 0.5), fitted(0, Dropout(hidden=0.5)))
    assert not np.array_equal(fitted(0, 0.5), fitted(0, Dropout(hidden=0.5, input=0.2)))
    with pytest.raises(ValueError, match="one per hidden layer"):
        fitted(0, Dropout(hidden=(0.5, 0.5)))


@ignore_the_end
def test_clipping_limits_the_step(iris: Any) -> None:
    start = parameters(MLPClassifier(random_state=0).initialize(*iris))
    settings = {"optimizer": SGD(1.0), "max_iter": 1, "random_state": 0}
    model = MLPClassifier(clipping=Clipping(value=1e-3), **settings).fit(*iris)
    assert np.abs(parameters(model) - start).max() <= 1e-3 + 1e-12


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"dropout": 0.5}, "dropout"),
        ({"clipping": Clipping(value=1.0)}, "clipping"),
        ({"callbacks": Callback()}, "callbacks"),
        ({"time_limit": 1.0}, "time_limit"),
        ({"regularization": Regularization(max_norm=1.0)}, "regularization.max_norm"),
    ],
)
def test_lbfgs_has_no_batches(settings: dict[str, Any], name: str, iris: Any) -> None:
    with pytest.raises(ValueError, match=f"solver='lbfgs' has no batches.*no {name}"):
        MLPClassifier(solver="lbfgs", **settings).fit(*iris)


def test_lbfgs_has_no_epochs_to_validate_after(iris: Any) -> None:
    with pytest.raises(ValueError, match="and so no X_val"):
        MLPClassifier(solver="lbfgs").fit(*iris, X_val=iris[0], y_val=iris[1])


@ignore_the_end
@pytest.mark.parametrize("activation", [*fastmlp.ACTIVATIONS, "logistic"])
def test_every_activation(activation: str, iris: Any) -> None:
    model = MLPClassifier(activation=activation, max_iter=60, learning_rate_init=0.01).fit(*iris)
    assert model.score(*iris) > 0.8


@ignore_the_end
def test_an_activation_per_layer(iris: Any) -> None:
    model = MLPClassifier((4, 3), ["tanh", "logistic"], max_iter=2).fit(*iris)
    assert model._trainer.network.activations == ("tanh", "sigmoid")
    with pytest.raises(ValueError, match="one per hidden layer"):
        MLPClassifier((4, 3), ["tanh"]).fit(*iris)
    with pytest.raises(ValueError, match=r"activation\[1\] must be .*Did you mean 'logistic'"):
        MLPClassifier((4, 3), ["tanh", "logit"]).fit(*iris)


@ignore_the_end
def test_a_list_of_one_activation_starts_like_its_name(iris: Any) -> None:
    for name in ("logistic", "tanh"):
        one, each = (
            MLPClassifier((4, 3), activation, random_state=0).initialize(*iris)
            for activation in (name, [name, name])
        )
        np.testing.assert_array_equal(parameters(one), parameters(each))
    mixed = MLPClassifier((4, 3), ["logistic", "tanh"], random_state=0).initialize(*iris)
    logistic = MLPClassifier((4, 3), "logistic", random_state=0).initialize(*iris)
    np.testing.assert_array_equal(mixed.coefs_[0], logistic.coefs_[0])
    np.testing.assert_array_equal(mixed.coefs_[2], each.coefs_[2])


def test_true_is_one_epoch_as_in_scikit_learn(iris: Any) -> None:
    with pytest.warns(ConvergenceWarning):
        assert MLPClassifier(max_iter=True, batch_size=True).fit(*iris).n_iter_ == 1


@ignore_the_end
@pytest.mark.parametrize("init", ["he", "lecun_uniform"])
def test_how_parameters_start(init: str, iris: Any) -> None:
    model, other = (MLPClassifier(init=init, random_state=s).initialize(*iris) for s in (0, 1))
    assert not model.intercepts_[0].any()
    assert not np.array_equal(model.coefs_[0], other.coefs_[0])
    again = MLPClassifier(init=init, random_state=0).initialize(*iris)
    np.testing.assert_array_equal(model.coefs_[0], again.coefs_[0])


@ignore_the_end
def test_the_backend_and_the_threads(backend_name: str, iris: Any) -> None:
    model = MLPClassifier((6,), backend=backend_name, n_threads=1, precision="float64", max_iter=3)
    model.set_params(random_state=0).fit(*iris)
    assert model._trainer.backend_name == backend_name and model._trainer.plan.n_threads == 1
    expected = MLPClassifier((6,), backend="numpy", max_iter=3, random_state=0).fit(*iris)
    np.testing.assert_allclose(parameters(model), parameters(expected), rtol=1e-9)


def test_a_copy_goes_its_own_way(iris: Any) -> None:
    model = MLPClassifier(random_state=0).partial_fit(*iris, classes=[0, 1, 2])
    other = copy.deepcopy(model)
    other.partial_fit(*iris)
    assert not np.array_equal(parameters(model), parameters(other))
    np.testing.assert_array_equal(parameters(model.partial_fit(*iris)), parameters(other))


def test_the_signature_of_fit_begins_like_that_of_scikit_learn() -> None:
    names = list(inspect.signature(MLPClassifier.fit).parameters)
    assert names[:4] == ["self", "X", "y", "sample_weight"]


@ignore_the_end
@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_normalization(normalization: str, problem: Any) -> None:
    ours, _, (x, y) = problem
    model = ours(normalization=normalization, max_iter=30, random_state=0).fit(x, y)
    network = model.trainer_.network
    assert network.normalization == normalization and len(network.gammas[0]) == 100
    assert not np.array_equal(network.gammas[0], np.ones(100))
    plain = ours(max_iter=30, random_state=0).fit(x, y)
    assert model.score(x, y) > plain.score(x, y) - 0.1
    np.testing.assert_array_equal(model.transform(x), model.trainer_.hidden(x))
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


@ignore_the_end
def test_early_stopping_restores_the_statistics_too(cancer: Any) -> None:
    model = MLPClassifier(
        normalization="batch", early_stopping=True, max_iter=40, n_iter_no_change=5,
        random_state=0, scoring="loss",
    )  # fmt: skip
    x, y = cancer
    model.fit(x[:400], y[:400], X_val=x[400:], y_val=y[400:])
    found = model.trainer_.evaluate(x[400:], model._encode(y[400:])).loss
    assert found == pytest.approx(min(model.validation_loss_curve_), rel=1e-12)


def test_lbfgs_takes_a_layer_normalisation_alone(iris: Any) -> None:
    with pytest.raises(ValueError, match=r"lbfgs.*no normalization='batch'"):
        MLPClassifier(solver="lbfgs", normalization="batch").fit(*iris)
    model = MLPClassifier(
        (64,), solver="lbfgs", normalization="layer", max_iter=500, random_state=3
    ).fit(*iris)  # where fewer units end depends on the instruction set
    assert model.score(*iris) > 0.97


@pytest.mark.parametrize("wrong", ["bach", 1, True])
def test_a_wrong_normalization(wrong: Any, iris: Any) -> None:
    with pytest.raises(InvalidParameterError, match="'normalization' parameter"):
        MLPClassifier(normalization=wrong).fit(*iris)


# ------------------------------------------------------------------------------------ once again

RANDOM = np.random.default_rng(0)
X_AGAIN = RANDOM.standard_normal((60, 4))
Y_AGAIN = np.array(list("abc"))[np.digitize(X_AGAIN[:, 0], [-0.5, 0.5])]


@ignore_the_end
def test_a_model_that_is_mapped_read_only_is_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "model.joblib"
    joblib.dump(MLPClassifier((8,), max_iter=2, random_state=0).fit(X_AGAIN, Y_AGAIN), path)
    model, same = joblib.load(path, mmap_mode="r"), joblib.load(path)
    model.partial_fit(X_AGAIN, Y_AGAIN)
    same.partial_fit(X_AGAIN, Y_AGAIN)
    np.testing.assert_array_equal(model.coefs_[0], same.coefs_[0])
    assert model.t_ == 180


@ignore_the_end
def test_an_average_of_weights_begins_anew_with_a_new_network() -> None:
    def model(callback: WeightAveraging) -> MLPClassifier:
        return MLPClassifier((8,), max_iter=5, random_state=0, callbacks=callback)

    again = model(WeightAveraging(decay=0.9)).fit(X_AGAIN, Y_AGAIN)
    first = again.coefs_[0].copy()
    np.testing.assert_array_equal(again.fit(X_AGAIN, Y_AGAIN).coefs_[0], first)
    shared = WeightAveraging()
    model(shared).fit(X_AGAIN, Y_AGAIN)
    model(shared).set_params(hidden_layer_sizes=(3,)).fit(X_AGAIN, Y_AGAIN)


@ignore_the_end
def test_a_lowered_rate_stays_lowered_in_warm_fits_and_partial_fits() -> None:
    settings = {"tol": 1.0, "n_iter_no_change": 1, "solver": "sgd", "learning_rate": "adaptive"}
    settings |= {"learning_rate_init": 0.5, "random_state": 0}
    warm = MLPClassifier((8,), max_iter=5, warm_start=True, **settings)
    warm.fit(X_AGAIN, Y_AGAIN).fit(X_AGAIN, Y_AGAIN)
    once = MLPClassifier((8,), max_iter=10, **settings).fit(X_AGAIN, Y_AGAIN)
    np.testing.assert_array_equal(warm.coefs_[0], once.coefs_[0])

    def model(**others: object) -> MLPClassifier:
        plateau = ReduceOnPlateau(patience=2, min_delta=1.0, monitor="loss")
        return MLPClassifier(
            (8,), random_state=0, optimizer=SGD(0.5), callbacks=plateau, tol=0.0, **others
        )

    bit_by_bit = model()
    for _ in range(10):
        bit_by_bit.partial_fit(X_AGAIN, Y_AGAIN, classes=list("abc"))
    whole = model(max_iter=10, n_iter_no_change=99).fit(X_AGAIN, Y_AGAIN)
    np.testing.assert_array_equal(bit_by_bit.coefs_[0], whole.coefs_[0])


@ignore_the_end
def test_class_weights_of_a_batch_without_every_class() -> None:
    is_few = Y_AGAIN != "c"
    weights = {"b": 5.0, "c": 2.0}
    model = MLPClassifier((8,), class_weight=weights, random_state=0)
    model.partial_fit(X_AGAIN[is_few], Y_AGAIN[is_few], classes=list("abc"))
    other = MLPClassifier((8,), random_state=0)
    rows = X_AGAIN[is_few], Y_AGAIN[is_few]
    each = np.where(rows[1] == "b", 5.0, 1.0)
    other.partial_fit(*rows, classes=list("abc"), sample_weight=each)
    np.testing.assert_allclose(model.coefs_[0], other.coefs_[0], rtol=1e-12)
    nothing = MLPClassifier((8,), class_weight={"a": 0.0, "b": 0.0})
    with pytest.raises(ValueError, match=r"gives every row of y the weight 0: .*Leave such rows"):
        nothing.partial_fit(X_AGAIN[is_few], Y_AGAIN[is_few], classes=list("abc"))
    with pytest.raises(ValueError, match="not in class_weight"):
        MLPClassifier((8,), class_weight={"b": 5.0, "z": 2.0}).fit(X_AGAIN, Y_AGAIN)
    columns = np.c_[Y_AGAIN, np.where(X_AGAIN[:, 1] > 0, "p", "q")]
    per_column = MLPClassifier((8,), class_weight=[{"a": 2.0}, {"p": 3.0, "q": 1.0}])
    per_column.partial_fit(X_AGAIN[~is_few], columns[~is_few], classes=[list("abc"), list("pq")])


@pytest.mark.parametrize("name", ["coefs_", "intercepts_"])
def test_there_are_no_parameters_before_a_fit(name: str) -> None:
    model = MLPClassifier()
    assert not hasattr(model, name)
    with pytest.raises(AttributeError, match=f"no attribute '{name}' before fit or initialize"):
        setattr(model, name, [])
