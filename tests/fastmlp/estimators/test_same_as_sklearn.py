"""The same settings and the same seed give what scikit-learn gives, to the last digits."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import sklearn.neural_network
from scipy import sparse

import fastmlp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NAMES = ("MLPClassifier", "MLPRegressor")
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {"max_iter": 20},
    "tanh, small batches": {"batch_size": 32, "activation": "tanh", "alpha": 0.1},
    "logistic": {"batch_size": 50, "activation": "logistic", "solver": "sgd"},
    "identity": {"activation": "identity", "solver": "sgd", "nesterovs_momentum": False},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "one hidden layer": {"hidden_layer_sizes": 7, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
    "plain gradient descent": {"solver": "sgd", "momentum": 0, "alpha": 0, "batch_size": 64},
    "not shuffled": {"shuffle": False, "batch_size": 40},
    "invscaling": {
        "solver": "sgd",
        "learning_rate": "invscaling",
        "learning_rate_init": 0.1,
        "power_t": 0.3,
    },
    "adaptive": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "learning_rate_init": 0.5,
        "n_iter_no_change": 2,
        "tol": 0.01,
        "max_iter": 60,
    },
    "stops by the loss": {"n_iter_no_change": 2, "tol": 0.05, "max_iter": 100},
    "alpha": {"alpha": 3.0, "batch_size": 30},
}


def largest_difference(ours: Any, theirs: Any) -> float:
    """Return the largest difference of the parameters, over the largest parameter."""
    pairs = zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True)
    differences = [float(np.abs(a - b).max()) for a, b in pairs]
    return max(differences) / max(float(np.abs(b).max()) for b in theirs.coefs_)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_settings_give_the_same_model(name: str, problem: Any) -> None:
    our_class, their_class, (x, y) = problem
    settings = {
        "hidden_layer_sizes": (12, 6),
        "max_iter": 12,
        "random_state": 3,
        **SETTINGS[name],
    }
    ours, theirs = our_class(**settings).fit(x, y), their_class(**settings).fit(x, y)
    assert largest_difference(ours, theirs) < 1e-10
    for attribute in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_"):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    # The penalty in it is that of the epoch's two ends, not of each batch.
    tolerance = 1e-12 if settings.get("alpha") == 0 else 5e-3 if name == "alpha" else 1e-4
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=tolerance)
    assert ours.best_loss_ == pytest.approx(theirs.best_loss_, rel=tolerance)
    assert ours.score(x, y) == pytest.approx(theirs.score(x, y), rel=1e-9)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-8, atol=1e-9)
    if hasattr(theirs, "predict_proba"):
        for method in ("predict_proba", "predict_log_proba"):
            with np.errstate(divide="ignore"):  # theirs warns of the logarithm of zero
                found, expected = getattr(ours, method)(x), getattr(theirs, method)(x)
            np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)


def test_parts_of_unequal_size_with_a_rate_that_falls(diabetes: Any) -> None:
    x, y = diabetes
    settings = {"solver": "sgd", "learning_rate": "invscaling", "shuffle": False}
    pair = [
        module.MLPRegressor(hidden_layer_sizes=(5,), random_state=0, power_t=0.4, **settings)
        for module in (fastmlp, sklearn.neural_network)
    ]
    for first, last in ((0, 100), (100, 110), (110, 400)):
        for model in pair:
            model.partial_fit(x[first:last], y[first:last])
    assert largest_difference(*pair) < 1e-12
    assert pair[0]._optimizer.learning_rate == pytest.approx(pair[1]._optimizer.learning_rate)


@pytest.mark.parametrize("activation", ["logistic", "tanh"])
def test_without_hidden_layers_the_activation_says_how_to_start(activation: str, iris: Any) -> None:
    pair = [
        module.MLPClassifier((), activation, max_iter=1, random_state=0).fit(*iris)
        for module in (fastmlp, sklearn.neural_network)
    ]
    assert largest_difference(*pair) < 1e-12


@pytest.mark.parametrize("tol", [0.0, 0.03])
def test_early_stopping_counts_what_is_less_than_tol_for_nothing(tol: float, cancer: Any) -> None:
    settings = {"early_stopping": True, "tol": tol, "n_iter_no_change": 3, "max_iter": 40}
    ours, theirs = (
        module.MLPClassifier((5,), random_state=0, **settings).fit(*cancer)
        for module in (fastmlp, sklearn.neural_network)
    )
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_)


def test_the_penalty_in_the_loss_is_per_weight_of_the_rows(diabetes: Any) -> None:
    x, y = diabetes
    settings = {"hidden_layer_sizes": (5,), "alpha": 20.0, "max_iter": 3, "random_state": 0}
    model = fastmlp.MLPRegressor(learning_rate_init=1e-9, batch_size=len(y), **settings)
    for weights in (None, np.full(len(y), 3.0)):
        model.fit(x, y, weights)
        total = len(y) if weights is None else weights.sum()
        penalty = 0.5 * 20.0 * sum(float((w**2).sum()) for w in model.coefs_) / total
        error = float(np.mean((model.predict(x) - y) ** 2)) / 2.0
        assert model.loss_ == pytest.approx(error + penalty, rel=1e-6)


@pytest.mark.skipif(
    "loss" not in inspect.signature(sklearn.neural_network.MLPRegressor).parameters,
    reason="this scikit-learn has no Poisson loss here",
)
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_poisson(solver: str, diabetes: Any) -> None:
    x, y = diabetes
    counts = np.random.default_rng(0).poisson(np.exp(y / 2))
    settings = {"loss": "poisson", "solver": solver, "max_iter": 10, "random_state": 0}
    ours = fastmlp.MLPRegressor(**settings).fit(x, counts)
    theirs = sklearn.neural_network.MLPRegressor(**settings).fit(x, counts)
    assert largest_difference(ours, theirs) < 1e-7
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-5)
    assert ours.out_activation_ == theirs.out_activation_ == "exp"
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-6)


def test_early_stopping_holds_out_the_same_rows(problem: Any) -> None:
    our_class, their_class, (x, y) = problem
    settings = {"early_stopping": True, "batch_size": 20, "n_iter_no_change": 3, "random_state": 1}
    ours, theirs = our_class(**settings).fit(x, y), their_class(**settings).fit(x, y)
    if y.ndim == 1 and len(np.unique(y)) == 3:  # stratified, which theirs is for two classes only
        assert ours.score(x, y) == pytest.approx(theirs.score(x, y), abs=0.1)
        return
    assert largest_difference(ours, theirs) < 1e-10
    np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-9)
    assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_)
    assert ours.best_loss_ is None and ours.n_iter_ == theirs.n_iter_


def test_lbfgs(problem: Any) -> None:
    our_class, their_class, (x, y) = problem
    settings = {"solver": "lbfgs", "max_iter": 15, "random_state": 0, "alpha": 0.5}
    ours, theirs = our_class(**settings).fit(x, y), their_class(**settings).fit(x, y)
    if y.ndim == 2 and y.dtype.kind == "f":  # their loss and their gradient do not agree then
        assert ours.score(x, y) > theirs.score(x, y) - 0.1
        return
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-6)
    assert largest_difference(ours, theirs) < 1e-6
    assert not hasattr(ours, "loss_curve_")


@pytest.mark.skipif(
    "sample_weight" not in inspect.signature(sklearn.neural_network.MLPRegressor.fit).parameters,
    reason="this scikit-learn has no sample_weight here",
)
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_sample_weight(solver: str, early_stopping: bool, cancer: Any) -> None:
    x, y = cancer
    weights = np.random.default_rng(0).random(len(y)) * 10
    settings = {
        "solver": solver,
        "early_stopping": early_stopping,
        "max_iter": 8,
        "random_state": 0,
        "alpha": 1.0,
    }
    ours = fastmlp.MLPClassifier(**settings).fit(x, y, sample_weight=weights)
    theirs = sklearn.neural_network.MLPClassifier(**settings).fit(x, y, sample_weight=weights)
    assert largest_difference(ours, theirs) < 1e-8
    if early_stopping and solver != "lbfgs":
        np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_)


@pytest.mark.parametrize("form", ["csr_matrix", "csc_matrix"])
def test_sparse_features(form: str, cancer: Any) -> None:
    x, y = np.where(np.abs(cancer[0]) > 1.0, cancer[0], 0.0), cancer[1]
    matrix = getattr(sparse, form)(x)
    ours = fastmlp.MLPClassifier(max_iter=5, random_state=0).fit(matrix, y)
    theirs = sklearn.neural_network.MLPClassifier(max_iter=5, random_state=0).fit(matrix, y)
    assert largest_difference(ours, theirs) < 1e-10
    np.testing.assert_allclose(ours.predict_proba(matrix), theirs.predict_proba(matrix), rtol=1e-8)


def test_the_first_call_of_partial_fit(problem: Any) -> None:
    our_class, their_class, (x, y) = problem
    classes = np.arange(y.shape[1]) if y.ndim == 2 else np.unique(y)
    first = {"classes": classes} if hasattr(their_class, "predict_proba") else {}
    ours = our_class(random_state=0).partial_fit(x, y, **first)
    theirs = their_class(random_state=0).partial_fit(x, y, **first)
    assert largest_difference(ours, theirs) < 1e-12
    assert ours.t_ == theirs.t_ == len(x)


def test_float32_features_make_a_float32_network(cancer: Any) -> None:
    x, y = cancer[0].astype(np.float32), cancer[1]
    ours = fastmlp.MLPClassifier(max_iter=5, random_state=0).fit(x, y)
    theirs = sklearn.neural_network.MLPClassifier(max_iter=5, random_state=0).fit(x, y)
    assert ours.coefs_[0].dtype == ours.predict_proba(x).dtype == np.float32
    assert largest_difference(ours, theirs) < 1e-4


# ---------------------------------------------------------------------------------------------
# The same parameters


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_there_with_its_default(name: str) -> None:
    ours = inspect.signature(getattr(fastmlp, name)).parameters
    theirs = inspect.signature(getattr(sklearn.neural_network, name)).parameters
    for parameter in theirs.values():
        assert ours[parameter.name].default == parameter.default, parameter.name
    positional = [each.name for each in theirs.values() if each.kind is not each.KEYWORD_ONLY]
    ours_positional = [each.name for each in ours.values() if each.kind is not each.KEYWORD_ONLY]
    if name == "MLPRegressor" and "loss" not in theirs:  # which came first with 1.7
        ours_positional.remove("loss")
    assert ours_positional[: len(positional)] == positional


BAD_VALUES: dict[str, Any] = {
    "hidden_layer_sizes": -1,
    "activation": "relo",
    "solver": "newton",
    "alpha": -1,
    "batch_size": 0,
    "learning_rate": "cosine",
    "learning_rate_init": 0,
    "power_t": -1,
    "max_iter": 0,
    "shuffle": "yes",
    "random_state": "seed",
    "tol": -1,
    "verbose": -1,
    "warm_start": "yes",
    "momentum": 1.5,
    "nesterovs_momentum": "yes",
    "early_stopping": "yes",
    "validation_fraction": 1.0,
    "beta_1": 1.0,
    "beta_2": 1.0,
    "epsilon": 0,
    "n_iter_no_change": 0,
    "max_fun": 0,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("parameter", BAD_VALUES)
def test_a_bad_value_raises_the_same_error(name: str, parameter: str, iris: Any) -> None:
    raised = []
    for module in (fastmlp, sklearn.neural_network):
        with pytest.raises(ValueError) as caught:
            getattr(module, name)(**{parameter: BAD_VALUES[parameter]}).fit(*iris)
        raised.append(caught)
    assert raised[0].type is raised[1].type
    assert parameter in str(raised[0].value) and parameter in str(raised[1].value)


@pytest.mark.parametrize("name", NAMES)
def test_momentum_of_one_is_allowed(name: str, iris: Any) -> None:
    getattr(fastmlp, name)(solver="sgd", momentum=1.0, max_iter=2).fit(*iris)


@pytest.mark.parametrize("widths", [(4, 0), [-3], 0])
def test_widths_must_be_positive(widths: Any, iris: Any) -> None:
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        fastmlp.MLPClassifier(hidden_layer_sizes=widths).fit(*iris)
