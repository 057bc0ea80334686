"""Validation data, held out of X or the user's own; their score; early stopping."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import train_test_split

from fastmlp import Callback, EarlyStopping, MLPClassifier, MLPRegressor, ReduceOnPlateau

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RANDOM = np.random.default_rng(0)
X_AGAIN = RANDOM.standard_normal((60, 4))
Y_AGAIN = np.array(list("abc"))[np.digitize(X_AGAIN[:, 0], [-0.5, 0.5])]


def test_early_stopping_keeps_the_best(cancer: Any) -> None:
    x, y = cancer
    seen: list[np.ndarray] = []
    epochs = Callback()
    epochs.on_epoch_end = lambda trainer: seen.append(trainer.network.parameters.copy())  # type: ignore[method-assign]
    settings = {"early_stopping": True, "learning_rate_init": 0.05, "n_iter_no_change": 5}
    model = MLPClassifier(callbacks=epochs, random_state=0, **settings).fit(x, y)
    best = int(np.argmax(model.validation_scores_))
    assert best < len(seen) - 1  # the last is not the best: something had to be put back
    np.testing.assert_array_equal(model._trainer.network.parameters, seen[best])
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == model.n_iter_


def test_held_out_rows_are_stratified() -> None:
    y = np.repeat([0, 1, 2], [200, 60, 40])
    x = np.arange(300.0)[:, None] / 300
    held: list[np.ndarray] = []

    def scorer(model: Any, X: Any, y: Any) -> float:
        held.append(y)
        return 0.0

    MLPClassifier(early_stopping=True, scoring=scorer, n_iter_no_change=1).fit(x, y)
    assert np.bincount(held[0]).tolist() == [20, 6, 4]


def test_a_class_of_one_row_is_not_stratified() -> None:
    y = np.repeat([0, 1, 2], [30, 30, 1])
    model = MLPClassifier(early_stopping=True, max_iter=2).fit(np.zeros((61, 2)), y)
    assert len(model.validation_scores_) == 2


@pytest.mark.parametrize(
    ("estimator", "fraction", "text"),
    [
        (MLPRegressor, 0.1, "set is too small.*of 9 rows holds out 1, and at least 2 are needed$"),
        (MLPClassifier, 0.1, "set is too small.*holds out 1, and at least 3 are needed, one of"),
        (MLPClassifier, 0.2, "set is too small.*holds out 2, and at least 3 are needed, one of"),
        (MLPRegressor, 0.0, "set is too small.*holds out 0, and at least 2 are needed$"),
        (MLPClassifier, 0.7, "Too few rows are left.*leaves 2; training needs at least 3, one of"),
        (MLPRegressor, 0.99, "Too few rows are left.*leaves 0; training needs at least 1$"),
    ],
)
def test_too_small_a_validation_set(estimator: Any, fraction: float, text: str, iris: Any) -> None:
    x, y = iris[0][:9], np.arange(9) % 3
    with pytest.raises(ValueError, match=text):
        estimator(early_stopping=True, validation_fraction=fraction).fit(x, y)


def test_partial_fit_holds_nothing_out(iris: Any) -> None:
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        MLPClassifier(early_stopping=True).partial_fit(*iris, classes=[0, 1, 2])


@pytest.mark.parametrize("early_stopping", [False, True])
def test_validation_data_of_ones_own(early_stopping: bool, cancer: Any) -> None:
    x, y = cancer
    names = np.array(["benign", "malignant"])
    model = MLPClassifier(early_stopping=early_stopping, max_iter=5, random_state=0)
    model.fit(x[:300], names[y[:300]], X_val=x[300:], y_val=names[y[300:]].tolist())
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == 5
    assert model.t_ == 5 * 300  # nothing is held out of X
    if not early_stopping:
        assert model.score(x[300:], names[y[300:]]) == pytest.approx(model.validation_scores_[-1])
    model.fit(x[:300], names[y[:300]])
    assert (model.validation_scores_ is None) == (not early_stopping)


def test_validation_data_count_by_their_weights(cancer: Any) -> None:
    x, y = cancer
    weights = (np.arange(len(y)) < 400).astype(float)
    model = MLPClassifier(max_iter=2, random_state=0)
    model.fit(x, y, X_val=x, y_val=y, sample_weight_val=weights)
    assert model.validation_scores_[-1] == pytest.approx(model.score(x[:400], y[:400]))


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ({"X_val": np.zeros((2, 4))}, "X_val and y_val must be given together"),
        ({"y_val": [0, 1]}, "X_val and y_val must be given together"),
        ({"X_val": np.zeros((2, 3)), "y_val": [0, 1]}, "X has 3 features"),
        ({"X_val": np.zeros((2, 4)), "y_val": [0, 7]}, r"y_val has classes that y has not: \[7\]"),
        ({"X_val": np.zeros((2, 4)), "y_val": [0]}, "one target per row"),
    ],
)
def test_validation_data_are_checked(validation: dict[str, Any], message: str, iris: Any) -> None:
    with pytest.raises(ValueError, match=message):
        MLPClassifier().fit(*iris, **validation)


@pytest.mark.parametrize("scoring", ["f1_macro", make_scorer(f1_score, average="macro")])
def test_the_score_by_name_or_scorer(scoring: Any, iris: Any) -> None:
    x, y = iris
    model = MLPClassifier(max_iter=4, scoring=scoring, random_state=0)
    model.fit(x, y, X_val=x[::2], y_val=y[::2])
    expected = f1_score(y[::2], model.predict(x[::2]), average="macro")
    assert model.validation_scores_[-1] == pytest.approx(expected)


@pytest.mark.parametrize("scoring", [None, "accuracy", "loss"])
def test_held_out_rows_count_by_their_weights(scoring: Any, cancer: Any) -> None:
    x, y = cancer
    weights = np.random.default_rng(0).random(len(y)) ** 4
    settings = {"early_stopping": True, "scoring": scoring, "max_iter": 2, "random_state": 0}
    model = MLPClassifier(**settings).fit(x, y, weights)
    split = {"test_size": 0.1, "random_state": np.random.RandomState(0), "stratify": y}
    MLPClassifier(random_state=split["random_state"]).initialize(x, y)  # draws come before it
    chosen = train_test_split(np.arange(len(y)), **split)[1]
    best = max(model.validation_scores_)
    if scoring == "loss":
        found = model.trainer_.evaluate(x[chosen], y[chosen], weights[chosen]).loss
        assert best == pytest.approx(-found)
    else:
        assert best == pytest.approx(model.score(x[chosen], y[chosen], weights[chosen]))
        assert best != pytest.approx(model.score(x[chosen], y[chosen]), abs=1e-4)


def test_the_validation_loss_as_the_score(iris: Any) -> None:
    model = MLPClassifier(max_iter=4, scoring="loss", early_stopping=True).fit(*iris)
    assert model.validation_scores_ == [-loss for loss in model.validation_loss_curve_]


def test_an_unknown_score(iris: Any) -> None:
    with pytest.raises(ValueError, match="accuracyy"):
        MLPClassifier(early_stopping=True, scoring="accuracyy").fit(*iris)


def test_a_scorer_that_takes_no_weights_gets_none() -> None:
    model = MLPClassifier(
        (8,), max_iter=3, early_stopping=True, class_weight="balanced", random_state=0,
        scoring=lambda estimator, x, y: estimator.score(x, y),
    ).fit(X_AGAIN, Y_AGAIN)  # fmt: skip
    assert len(model.validation_scores_) == 3


def test_a_warm_fit_that_is_never_better_leaves_the_best_parameters() -> None:
    validation = {"X_val": X_AGAIN[:30], "y_val": Y_AGAIN[:30]}
    model = MLPClassifier(
        (8,), max_iter=60, learning_rate_init=0.1, random_state=0, early_stopping=True,
        warm_start=True, n_iter_no_change=99, tol=0.0,
    ).fit(X_AGAIN, Y_AGAIN, **validation)  # fmt: skip
    best = model.best_validation_score_
    model.set_params(learning_rate_init=20.0, max_iter=3).fit(X_AGAIN, Y_AGAIN, **validation)
    assert max(model.validation_scores_[-3:]) < best
    assert model.score(X_AGAIN[:30], Y_AGAIN[:30]) == model.best_validation_score_ == best


class ScoresSeen(Callback):
    """Notes what callbacks are told of the validation score."""

    def __init__(self) -> None:
        self.scores: list[float] = []
        self.name = ""

    def on_epoch_end(self, trainer: Any) -> None:
        self.scores.append(trainer.history.validation_score[-1])
        self.name = trainer.score_name


def test_callbacks_watch_the_score_that_was_asked_for(
    iris: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = iris
    validation = {"X_val": x[::2], "y_val": y[::2]}
    seen = ScoresSeen()
    stopping = EarlyStopping(patience=3, monitor="validation_score")
    scoring = make_scorer(lambda y, p: 0.25)  # never better
    model = MLPClassifier(scoring=scoring, callbacks=[seen, stopping], max_iter=20, tol=0.0)
    model.fit(x, y, **validation)
    assert model.n_iter_ == 4 and seen.scores == [0.25] * 4 and seen.name == "score"
    model.set_params(scoring="f1_macro", max_iter=2, progress=True).fit(x, y, **validation)
    assert seen.name == "f1_macro" and "f1_macro" in capsys.readouterr().err
    pickle.loads(pickle.dumps(model))  # the scorer is not kept
    model.set_params(scoring=None, progress=False).fit(x, y, **validation)
    assert seen.name == "accuracy"
    plateau = ReduceOnPlateau(patience=1, monitor="validation_score")
    slowed = MLPClassifier(scoring=scoring, callbacks=plateau, max_iter=4).fit(x, y, **validation)
    assert slowed._optimizer.learning_rate < 1e-5


def test_warm_fits_hold_the_same_rows_out(cancer: Any) -> None:
    seen: list[Any] = []

    def scoring(model: Any, x: Any, y: Any) -> float:
        seen.append((x, y))
        return float(model.score(x, y))

    settings = {"early_stopping": True, "scoring": scoring, "max_iter": 1, "warm_start": True}
    model = MLPClassifier(random_state=0, **settings)
    for _ in range(3):
        model.fit(*cancer)
    assert len(seen) == 3 + 2  # and what a warm fit begins with
    for x, y in seen[1:]:
        np.testing.assert_array_equal(x, seen[0][0])
        np.testing.assert_array_equal(y, seen[0][1])
    model.set_params(warm_start=False, random_state=1).fit(*cancer)
    assert not np.array_equal(seen[-1][0], seen[0][0])


@pytest.mark.parametrize("make", [pd.DataFrame, lambda x: pl.DataFrame(x, schema=list("abcd"))])
def test_a_scorer_gets_rows_of_the_table_that_was_given(make: Any, iris: Any) -> None:
    table = make(iris[0])
    if isinstance(table, pd.DataFrame):
        table.columns = list("abcd")

    def scoring(model: Any, x: Any, y: Any) -> float:
        assert type(x) is type(table) and list(x.columns) == list("abcd") and len(x) == len(y)
        return float(model.score(x, y))

    model = MLPClassifier(early_stopping=True, scoring=scoring, max_iter=2, random_state=0)
    assert len(model.fit(table, iris[1]).validation_scores_) == 2


def test_validation_targets_as_tables_have_them(diabetes: Any) -> None:
    x, y = diabetes
    model, other = (
        MLPRegressor(max_iter=2, random_state=0).fit(x, y, X_val=x[::3], y_val=each)
        for each in (y[::3].astype(object), y[::3])
    )
    assert model.validation_scores_ == other.validation_scores_
    with pytest.raises(ValueError, match="y_val contains NaN"):
        MLPRegressor().fit(x, y, X_val=x, y_val=np.full(len(y), np.nan))


def test_a_warm_fit_may_go_by_another_score(iris: Any) -> None:
    settings = {"warm_start": True, "early_stopping": True, "learning_rate_init": 0.01}
    model = MLPClassifier((5,), max_iter=30, random_state=0, **settings).fit(*iris)
    before = model.trainer_.network.learned
    model.set_params(scoring="loss").fit(*iris)
    assert model.best_validation_score_ == max(model.validation_scores_[30:]) < 0.0
    assert not np.array_equal(model.trainer_.network.learned, before)


def test_a_warm_fit_may_go_by_other_rows(iris: Any) -> None:
    x, y = iris
    settings = {"warm_start": True, "early_stopping": True, "learning_rate_init": 0.01}
    model = MLPClassifier((5,), max_iter=20, random_state=0, **settings)
    model.fit(x, y, X_val=x[:30], y_val=y[:30])  # one class: soon all right
    assert model.best_validation_score_ == 1.0
    model.set_params(max_iter=100).fit(x, y, X_val=x, y_val=y)
    assert model.best_validation_score_ == model.score(x, y) > 0.8
    for weights in model.coefs_:
        weights[...] = 0.0
    model.set_params(max_iter=1).fit(x, y, X_val=x, y_val=y)
    assert model.best_validation_score_ == model.score(x, y) < 0.8


def test_the_loss_as_the_score_of_several_outputs(diabetes: Any) -> None:
    x, y = diabetes
    model = MLPRegressor(scoring="loss", early_stopping=True, max_iter=3, random_state=0)
    model.fit(x, np.c_[y, -y, 2.0 * y])
    assert model.validation_scores_ == [-loss for loss in model.validation_loss_curve_]


def test_the_best_score_of_ones_own_data_without_early_stopping(iris: Any) -> None:
    x, y = iris
    model = MLPClassifier(max_iter=4, random_state=0).fit(x, y, X_val=x[::2], y_val=y[::2])
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.best_loss_ == min(model.loss_curve_)


class ArrayLike:
    """What `np.asarray` takes, and nothing more."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape


@pytest.mark.parametrize("make", [ArrayLike, memoryview, list, pd.Series, pl.Series])
def test_held_out_targets_of_any_kind(make: Any, diabetes: Any) -> None:
    x, y = diabetes
    settings = {"early_stopping": True, "max_iter": 2, "random_state": 0, "scoring": "r2"}
    expected = MLPRegressor(**settings).fit(x, y).validation_scores_
    assert MLPRegressor(**settings).fit(x, make(y)).validation_scores_ == pytest.approx(expected)


def test_a_scorer_gets_targets_as_they_were_given(iris: Any) -> None:
    def scoring(model: Any, x: Any, y: Any) -> float:
        assert type(y) is pd.Series and y.dtype == "category"
        return float(model.score(x, y))

    y = pd.Series(np.array(list("abc"))[iris[1]], dtype="category")
    model = MLPClassifier(early_stopping=True, scoring=scoring, max_iter=2, random_state=0)
    assert len(model.fit(iris[0], y).validation_scores_) == 2


def test_a_metric_is_no_scorer(iris: Any) -> None:
    with pytest.raises(ValueError, match="looks like it is a metric function"):
        MLPClassifier(early_stopping=True, scoring=f1_score).fit(*iris)
    with pytest.raises(ValueError, match="accuracyy"):  # though nothing is validated
        MLPClassifier(scoring="accuracyy").fit(*iris)


def test_weights_of_no_validation_data(iris: Any) -> None:
    with pytest.raises(ValueError, match="together; got sample_weight_val alone"):
        MLPClassifier().fit(*iris, sample_weight_val=np.ones(150))


def test_rows_that_were_held_out_are_trained_on_later(cancer: Any) -> None:
    model = MLPClassifier((5,), early_stopping=True, max_iter=2, random_state=0).fit(*cancer)
    before = model.t_
    model.set_params(early_stopping=False).partial_fit(*cancer)
    assert model.t_ - before == len(cancer[1])
