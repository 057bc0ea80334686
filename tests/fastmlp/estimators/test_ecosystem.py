"""Around an estimator: copies, pickles, joblib, pipelines, searches, ensembles, displays."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.stats import uniform
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingRegressor, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 (it enables the next)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_validate,
)
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp
from fastmlp import SGD, AdamW, Dropout, MLPClassifier, MLPRegressor, OneCycle, Regularization

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def quick(**settings: Any) -> MLPClassifier:
    return MLPClassifier((6,), **{"max_iter": 5, "random_state": 0, **settings})


# ---------------------------------------------------------------------------------------------
# Copies


def test_clone_keeps_the_objects_settings() -> None:
    model = quick(optimizer=AdamW(0.01), regularization=Regularization(l1=0.1))
    copy = clone(model)
    assert copy.get_params() == model.get_params() and not hasattr(copy, "coefs_")
    assert "AdamW(learning_rate=0.01" in repr(copy) and "l1=0.1" in repr(copy)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("how", ["pickle", "joblib"])
def test_a_pickle_goes_on_as_the_model_would(
    solver: str, how: str, tmp_path: Path, problem: Any
) -> None:
    ours, _, (x, y) = problem
    model = ours(hidden_layer_sizes=(6,), max_iter=4, random_state=0, solver=solver).fit(x, y)
    if how == "pickle":
        loaded = pickle.loads(pickle.dumps(model))
    else:
        joblib.dump(model, tmp_path / "model.joblib", compress=3)
        loaded = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    if solver == "adam":
        np.testing.assert_array_equal(
            loaded.partial_fit(x, y).coefs_[0], model.partial_fit(x, y).coefs_[0]
        )
        assert loaded.loss_curve_ == model.loss_curve_


@pytest.mark.parametrize("learning_rate", ["constant", "invscaling", "adaptive"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_the_trainer_is_saved_and_loaded(
    solver: str, learning_rate: str, tmp_path: Path, iris: Any
) -> None:
    x, y = iris
    model = quick(solver=solver, learning_rate=learning_rate).fit(x, y)
    fastmlp.save(model.trainer_, tmp_path / "model")
    loaded = fastmlp.load(tmp_path / "model")
    assert loaded.optimizer == model.trainer_.optimizer
    assert np.array_equal(loaded.predict_proba(x), model.predict_proba(x))


def test_parameters_are_views_that_may_be_assigned_to(iris: Any) -> None:
    x, y = iris
    model = quick().fit(x, y)
    model.intercepts_[-1][...] = [0.0, 100.0, 0.0]
    assert set(model.predict(x)) == {1}
    model.intercepts_[-1] = [100.0, 0.0, 0.0]
    assert set(model.predict(x)) == {0}
    model.intercepts_ = [np.zeros(6), np.array([0.0, 0.0, 100.0])]
    assert set(model.predict(x)) == {2}
    model.coefs_ = [np.ones_like(each) for each in model.coefs_]
    assert model.coefs_[0].min() == model.coefs_[1].max() == 1.0
    assert isinstance(model.coefs_, list) and len(model.coefs_) == 2
    np.testing.assert_array_equal(model._trainer.network.weights[0], model.coefs_[0])
    with pytest.raises(ValueError, match=r"expected arrays of the shapes \[\(4, 6\), \(6, 3\)\]"):
        model.coefs_ = [np.zeros((4, 6))]
    with pytest.raises(ValueError, match=r"expected arrays of the shapes \[\(4, 6\)\]; got"):
        model.coefs_[0] = np.zeros((6, 4))
    model.coefs_[:] = [np.zeros((4, 6)), np.zeros((6, 3))]
    assert not model.coefs_[0].any()


# ---------------------------------------------------------------------------------------------
# Other processes


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_fitting_in_several_workers(backend: str, iris: Any) -> None:
    with joblib.parallel_config(backend=backend, n_jobs=2):
        found = cross_validate(quick(), *iris, cv=3, return_estimator=True)
    alone = cross_validate(quick(), *iris, cv=3, return_estimator=True)
    for ours, expected in zip(found["estimator"], alone["estimator"], strict=True):
        np.testing.assert_array_equal(ours.coefs_[0], expected.coefs_[0])


def fitted_coefs(model: MLPClassifier, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return model.fit(x, y).coefs_[0]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fitting_after_a_fork(cancer: Any) -> None:
    x, y = np.tile(cancer[0], (8, 1)), np.tile(cancer[1], 8)
    model = MLPClassifier((200,), max_iter=2, random_state=0, batch_size=512)
    expected = fitted_coefs(model, x, y)  # the threads of this process are running by now
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for found in pool.starmap(fitted_coefs, [(model, x, y)] * 2):
            np.testing.assert_array_equal(found, expected)


# ---------------------------------------------------------------------------------------------
# Searches and compositions


def test_grid_search_over_numbers_and_objects(iris: Any) -> None:
    grid = {
        "mlpclassifier__optimizer": [SGD(0.0), AdamW(0.02)],
        "mlpclassifier__alpha": [1e-4, 1e-3],
    }
    pipeline = make_pipeline(StandardScaler(), quick(max_iter=30))
    search = GridSearchCV(pipeline, grid, cv=3).fit(*iris)
    assert search.best_params_["mlpclassifier__optimizer"] == AdamW(0.02)
    assert search.best_score_ > 0.9


def test_a_search_over_settings_of_objects(iris: Any) -> None:
    model = quick(optimizer=AdamW(OneCycle(0.01, epochs=5)), dropout=0.1)
    settings = {"optimizer__learning_rate__peak": uniform(0.01, 0.1), "optimizer__beta_1": [0.5]}
    search = RandomizedSearchCV(model, settings, n_iter=3, cv=2, random_state=0).fit(*iris)
    best = search.best_estimator_
    assert (
        best.optimizer.learning_rate.peak == search.best_params_["optimizer__learning_rate__peak"]
    )
    assert best.optimizer.beta_1 == 0.5 and best.trainer_.optimizer == best.optimizer
    assert model.optimizer == AdamW(OneCycle(0.01, epochs=5))  # what was given is not changed
    assert model.get_params()["optimizer__beta_2"] == 0.999
    assert not [name for name in model.get_params(deep=False) if "__" in name]


def test_settings_of_objects_are_set_by_name() -> None:
    model = quick(optimizer="adamw", dropout=0.1, regularization=Regularization(l1=0.5))
    model.set_params(optimizer__learning_rate=0.2, dropout__input=0.3, regularization__l2=0.1)
    assert model.optimizer == AdamW(0.2) and model.dropout == Dropout(0.1, input=0.3)
    assert model.regularization == Regularization(l1=0.5, l2=0.1)
    model.set_params(optimizer=SGD(0.1), optimizer__momentum=0.5)
    assert model.optimizer == SGD(0.1, momentum=0.5) and clone(model).optimizer == model.optimizer
    assert "optimizer" in model._repr_html_()
    for wrong in ("optimizer__beta_1", "optimizer__learning_rate__peak", "solver__rate", "a__b"):
        with pytest.raises(ValueError, match=f"Invalid parameter '{wrong}' for estimator MLPC"):
            model.set_params(**{wrong: 0.1})
    with pytest.raises(ValueError, match="optimizer is None, and it has no settings"):
        quick().set_params(optimizer__learning_rate=0.1)
    with pytest.raises(ValueError, match="learning_rate must be"):
        model.set_params(optimizer__learning_rate=-1.0)


def test_halving_search_with_epochs_as_the_resource(iris: Any) -> None:
    search = HalvingRandomSearchCV(
        quick(),
        {"learning_rate_init": [1e-5, 1e-3, 1e-2, 3e-2]},
        resource="max_iter",
        max_resources=40,
        min_resources=10,
        factor=2,
        cv=3,
        random_state=0,
    ).fit(*iris)
    assert search.n_resources_ == [10, 20, 40]
    assert search.best_params_["learning_rate_init"] > 1e-3


def test_predictions_by_cross_validation(iris: Any) -> None:
    proba = cross_val_predict(quick(max_iter=40), *iris, cv=3, method="predict_proba")
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)


def test_ensembles(iris: Any, diabetes: Any) -> None:
    x, y = iris
    settings = {"max_iter": 100, "learning_rate_init": 0.02}
    voting = VotingClassifier(
        [("mlp", quick(**settings)), ("logistic", LogisticRegression())], voting="soft"
    )
    assert voting.fit(x, y).score(x, y) > 0.9
    assert CalibratedClassifierCV(quick(**settings), cv=3).fit(x, y).score(x, y) > 0.9
    several = MultiOutputClassifier(quick(**settings)).fit(x, np.column_stack([y, y > 0]))
    assert several.predict(x).shape == (150, 2)
    stacking = StackingRegressor(
        [("mlp", MLPRegressor(hidden_layer_sizes=(6,), max_iter=50)), ("ridge", Ridge())]
    )
    assert stacking.fit(*diabetes).score(*diabetes) > 0.3


def test_metadata_routing_of_weights(iris: Any) -> None:
    x, y = iris
    weights = np.random.default_rng(0).random(len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        model = quick().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, model).fit(x, y, sample_weight=weights)
    expected = quick().fit(StandardScaler().fit_transform(x), y, weights)
    np.testing.assert_array_equal(pipeline[-1].coefs_[0], expected.coefs_[0])


@pytest.mark.skipif(
    tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 6),
    reason="this scikit-learn transforms no validation data",
)
def test_metadata_routing_of_validation_data_through_a_scaler(iris: Any) -> None:
    x, y = iris[0] * 100.0, iris[1]
    with sklearn.config_context(enable_metadata_routing=True):
        model = quick().set_fit_request(X_val=True, y_val=True)
        steps = [("scale", StandardScaler()), ("model", model)]
        pipeline = Pipeline(steps, transform_input=["X_val"]).fit(x, y, X_val=x, y_val=y)
    scores = pipeline[-1].validation_scores_
    assert len(scores) == 5 and scores[-1] == pipeline.score(x, y)


# ---------------------------------------------------------------------------------------------
# Hidden activations


def test_transform_gives_what_hidden_layers_hand_on(iris: Any) -> None:
    x, y = iris
    model = MLPClassifier((7, 3), "tanh", max_iter=3).fit(x, y)
    first = np.tanh(x @ model.coefs_[0] + model.intercepts_[0])
    second = np.tanh(first @ model.coefs_[1] + model.intercepts_[1])
    for layer, expected in ((0, first), (1, second), (-1, second), (-2, first)):
        np.testing.assert_allclose(model.transform(x, layer=layer), expected, rtol=1e-10)
    np.testing.assert_allclose(model.transform(x), second, rtol=1e-10)
    assert model.get_feature_names_out().tolist() == [f"mlpclassifier{i}" for i in range(3)]
    with pytest.raises(ValueError, match="layer must be an integer from -2 to 1; got 2"):
        model.transform(x, layer=2)
    with pytest.raises(ValueError, match="the network has no hidden layer"):
        MLPClassifier((), max_iter=2).fit(x, y).transform(x)


def test_a_hidden_layer_in_the_middle_of_a_pipeline(iris: Any) -> None:
    pipeline = make_pipeline(quick(max_iter=100, learning_rate_init=0.02), LogisticRegression())
    assert pipeline.fit(*iris).score(*iris) > 0.9


def test_set_output_is_about_transform_alone(iris: Any) -> None:
    model = quick().fit(*iris).set_output(transform="pandas")
    assert model.transform(iris[0]).columns.tolist() == [f"mlpclassifier{i}" for i in range(6)]
    assert isinstance(model.predict(iris[0]), np.ndarray)


@pytest.mark.parametrize("table", ["pandas", "polars"])
def test_set_output_names_the_columns_of_any_layer(table: str, iris: Any) -> None:
    model = MLPClassifier((7, 3), max_iter=2).fit(*iris)
    plain = [model.transform(iris[0], layer) for layer in (0, 1)]
    model.set_output(transform=table)
    for layer, wanted in enumerate(plain):
        found = model.transform(iris[0], layer)
        assert list(found.columns) == [f"mlpclassifier{i}" for i in range(wanted.shape[1])]
        np.testing.assert_array_equal(found.to_numpy(), wanted)
    assert list(found.columns) == model.get_feature_names_out().tolist()
    frame = pd.DataFrame(iris[0], index=np.arange(150) * 2)
    if table == "pandas":
        assert model.fit(frame, iris[1]).transform(frame).index.equals(frame.index)
    with sklearn.config_context(transform_output=table):
        assert list(clone(model).fit_transform(*iris).columns) == list(found.columns)


def test_the_page_of_a_notebook(iris: Any) -> None:
    html = quick().fit(*iris)._repr_html_()
    assert "MLPClassifier" in html and "max_iter" in html
