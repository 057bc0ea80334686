"""Losses by name or object: what they predict, and what they are told about."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

from fastmlp import CustomActivation, CustomLoss, MLPClassifier, MLPRegressor
from fastmlp.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Focal,
    Gamma,
    Hinge,
    Huber,
    Quantile,
    SquaredError,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.usefixtures("tables_as_they_were"),
]


@pytest.fixture(scope="module")
def line() -> tuple[np.ndarray, np.ndarray]:
    """Return y = 2 x + 3 + noise of the exponential distribution, whose quantiles are known."""
    random = np.random.default_rng(0)
    x = random.uniform(-1.0, 1.0, (4000, 1))
    return x, 2.0 * x[:, 0] + 3.0 + random.exponential(1.0, 4000)


def linear(loss: Any, **settings: Any) -> MLPRegressor:
    return MLPRegressor(loss, (), learning_rate_init=0.02, max_iter=60, random_state=0, **settings)


@pytest.mark.parametrize(
    ("loss", "offset"),
    [
        ("squared_error", 1.0),
        ("absolute_error", np.log(2.0)),
        ("quantile", np.log(2.0)),
        (Quantile(0.9), np.log(10.0)),
        (Huber(1e-3), np.log(2.0)),
        (Huber(1e3), 1.0),
    ],
)
def test_what_each_loss_predicts(loss: Any, offset: float, line: Any) -> None:
    x, y = line
    model = linear(loss).fit(x, y)
    assert model.intercepts_[0][0] == pytest.approx(3.0 + offset, abs=0.1)
    assert model.coefs_[0][0, 0] == pytest.approx(2.0, abs=0.15)
    assert model.predict(x).shape == y.shape


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_prediction_interval(solver: str, line: Any) -> None:
    x, y = line
    model = linear(Quantile((0.05, 0.5, 0.95)), solver=solver).fit(x, y)
    quantiles = model.predict_quantiles(x)
    assert quantiles.shape == (4000, 3)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    inside = (quantiles[:, 0] <= y) & (y <= quantiles[:, 2])
    assert inside.mean() == pytest.approx(0.9, abs=0.03)
    np.testing.assert_array_equal(model.predict(x), quantiles[:, 1])
    assert model.n_outputs_ == 1 and model.coefs_[0].shape == (1, 3)
    assert model.score(x, y) > 0.4


def test_quantiles_of_several_outputs_in_any_order(line: Any) -> None:
    x, y = line
    model = linear(Quantile((0.9, 0.1))).fit(x, np.column_stack([y, -y]))
    quantiles = model.predict_quantiles(x)
    assert quantiles.shape == (4000, 2, 2) and model.predict(x).shape == (4000, 2)
    assert (quantiles[..., 0] >= quantiles[..., 1]).all()  # 0.9 was named first
    np.testing.assert_allclose(quantiles[:, 0, 0], -quantiles[:, 1, 1], atol=0.2)


def test_only_quantiles_have_intervals(line: Any) -> None:
    assert not hasattr(linear("squared_error"), "predict_quantiles")
    assert hasattr(linear("quantile"), "predict_quantiles")
    assert not hasattr(linear("unknown"), "predict_quantiles")


@pytest.mark.parametrize(("loss", "lowest"), [("poisson", 0), ("gamma", 1), (Gamma(), 1)])
def test_rates(loss: Any, lowest: int, line: Any) -> None:
    x = line[0]
    y = np.random.default_rng(0).poisson(np.exp(1.0 + x[:, 0])) + lowest
    model = linear(loss).fit(x, y)
    assert model.out_activation_ == "exp" and (model.predict(x) > 0.0).all()
    if lowest == 0:
        assert model.coefs_[0][0, 0] == pytest.approx(1.0, abs=0.1)
    with pytest.raises(ValueError, match="y must"):
        linear(loss).fit(x, y - 1.0)


@pytest.mark.parametrize("output", ["sigmoid", "logistic", "exp", "softplus", "tanh"])
def test_the_output_activation(output: str, line: Any) -> None:
    x, y = line[0], 1.0 / (1.0 + np.exp(-3.0 * line[0][:, 0]))
    model = MLPRegressor(output=output, max_iter=30, random_state=0).fit(x, y)
    assert model.score(x, y) > 0.9
    expected = {"sigmoid": "logistic"}.get(output, output)
    assert model.out_activation_ == expected


@pytest.mark.parametrize("loss", ["focal", Focal(5.0), CategoricalCrossEntropy(0.2)])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_losses_of_classes(loss: Any, n_classes: int, iris: Any) -> None:
    x, y = iris[0], np.minimum(iris[1], n_classes - 1)
    settings = {"max_iter": 150, "learning_rate_init": 0.01, "random_state": 0}
    model, plain = (MLPClassifier(loss=each, **settings).fit(x, y) for each in (loss, "log_loss"))
    assert model.score(x, y) > 0.93
    probabilities = model.predict_proba(x)
    assert probabilities.shape == (150, n_classes)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    # All of these are less sure than cross-entropy is.
    assert probabilities.max(axis=1).mean() < plain.predict_proba(x).max(axis=1).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_labels_that_are_yes_or_no(smoothing: float, iris: Any) -> None:
    x, several = iris[0], np.eye(3, dtype=int)[iris[1]]
    settings = {"max_iter": 400, "learning_rate_init": 0.01, "random_state": 0}
    for y in (several, several[:, 0]):
        model = MLPClassifier(loss=BinaryCrossEntropy(smoothing), **settings).fit(x, y)
        assert model.score(x, y) > 0.93 and model.out_activation_ == "logistic"
        probabilities = model.predict_proba(x)
        sure = np.maximum(probabilities, 1.0 - probabilities).mean()
        assert sure == pytest.approx(1.0 if smoothing == 0.0 else 0.9, abs=0.03)


@pytest.mark.parametrize(
    ("make", "labels", "text"),
    [
        (CategoricalCrossEntropy, "one", r"one class .*'sigmoid'"),
        (BinaryCrossEntropy, "three", r"several classes .*'softmax': take .*CategoricalCross"),
        (CategoricalCrossEntropy, "multilabel", r"0 and 1 .*'sigmoid': take .*BinaryCross"),
        (lambda: CustomLoss(brier, brier_slope, "softmax"), "multilabel", r"output='sigmoid'"),
    ],
)
def test_a_loss_must_go_with_the_labels(make: Any, labels: str, text: str, iris: Any) -> None:
    x, numbers = iris
    y = {"one": 0 * numbers, "three": numbers, "multilabel": np.eye(3, dtype=int)[numbers]}[labels]
    with pytest.raises(ValueError, match=f"does not go with y, .*{text}"):
        MLPClassifier(loss=make()).fit(x, y)


def test_what_was_fitted_says_which_methods_there_are(iris: Any, line: Any) -> None:
    model = MLPClassifier(max_iter=3, random_state=0).fit(*iris).set_params(loss="hinge")
    assert model.predict_proba(iris[0]).shape == (150, 3)
    assert not hasattr(model, "decision_function")
    model.fit(*iris).set_params(loss="log_loss")
    assert model.decision_function(iris[0]).shape == (150, 3)
    assert not hasattr(model, "predict_proba")
    regressor = MLPRegressor(Quantile((0.1, 0.9)), max_iter=3).fit(*line)
    assert regressor.set_params(loss="huber").predict_quantiles(line[0]).shape[1] == 2


@pytest.mark.parametrize("labels", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("loss", ["hinge", Hinge()])
def test_the_hinge_loss_has_margins(labels: str, loss: Any, iris: Any) -> None:
    x, numbers = iris
    names = np.array(["a", "b", "c"])[numbers]
    y = {
        "binary": np.where(numbers == 0, "x", "y"),
        "multiclass": names,
        "multilabel": sparse.csr_matrix(np.eye(3, dtype=int)[numbers]),
    }[labels]
    settings = {"max_iter": 150, "learning_rate_init": 0.02, "early_stopping": True}
    model = MLPClassifier(loss=loss, random_state=0, n_iter_no_change=50, **settings).fit(x, y)
    assert model.score(x, y) > 0.85 and model.out_activation_ == "identity"
    assert max(model.validation_scores_) > 0.85
    margins = model.decision_function(x)
    assert margins.shape == ((150,) if labels == "binary" else (150, 3))
    if labels == "multiclass":
        np.testing.assert_array_equal(model.classes_[margins.argmax(axis=1)], model.predict(x))
    if labels == "binary":
        np.testing.assert_array_equal(np.where(margins > 0, "y", "x"), model.predict(x))
    assert not hasattr(model, "predict_proba") and not hasattr(model, "predict_log_proba")
    assert not hasattr(MLPClassifier(), "decision_function")


def test_classes_are_weighted_with_the_hinge_loss_too() -> None:
    x, y = np.zeros((100, 2)), np.array(["a"] * 80 + ["b"] * 15 + ["c"] * 5)
    for weights, answer in ((None, "a"), ({"a": 0.1, "c": 40.0}, "c")):
        model = MLPClassifier(loss="hinge", class_weight=weights, random_state=0, max_iter=500)
        assert set(model.fit(x, y).predict(x)) == {answer}


def asymmetric(z, y, dear):  # type: ignore[no-untyped-def]
    error = z - y
    return error * error if error < 0.0 else dear * (error * error)


def asymmetric_slope(z, y, dear):  # type: ignore[no-untyped-def]
    error = z - y
    return 2.0 * error if error < 0.0 else 2.0 * dear * error


def brier(log_p, y):  # type: ignore[no-untyped-def]
    return (exp(log_p) - y) * (exp(log_p) - y)  # noqa: F821 (a formula of the library's)


def brier_slope(log_p, y):  # type: ignore[no-untyped-def]
    return 2.0 * (exp(log_p) - y) * exp(log_p)  # noqa: F821


def cubed(z):  # type: ignore[no-untyped-def]
    return z * z * z


def cubed_derivative(z):  # type: ignore[no-untyped-def]
    return 3.0 * (z * z)


def test_a_loss_of_ones_own(line: Any) -> None:
    x, y = line
    constants = (0.1, 1.0, 10.0)
    losses = [CustomLoss(asymmetric, asymmetric_slope, constants={"dear": c}) for c in constants]
    offsets = [linear(loss).fit(x, y).intercepts_[0][0] for loss in losses]
    assert offsets[0] > 4.4 > offsets[1] > 3.6 > offsets[2]  # too much grows dearer
    model = pickle.loads(pickle.dumps(clone(linear(losses[0])).fit(x, y)))
    assert model.intercepts_[0][0] == offsets[0]
    assert not hasattr(model, "predict_quantiles")


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_loss_of_ones_own_for_classes(n_classes: int, iris: Any) -> None:
    x, y = iris[0], np.minimum(iris[1], n_classes - 1)
    loss = CustomLoss(brier, brier_slope, output="softmax")
    model = MLPClassifier(loss=loss, max_iter=150, learning_rate_init=0.01, random_state=0)
    assert model.fit(x, y).score(x, y) > 0.93
    one_hot = np.eye(n_classes)[y]
    expected = ((model.predict_proba(x) - one_hot) ** 2).sum(axis=1).mean()
    assert model.trainer_.evaluate(x, y).loss == pytest.approx(expected)


def test_an_activation_of_ones_own(iris: Any) -> None:
    cubic = CustomActivation(cubed, cubed_derivative)
    settings = {"max_iter": 100, "random_state": 0, "learning_rate_init": 0.01}
    one = clone(MLPClassifier((8, 4), cubic, **settings)).fit(*iris)
    each = MLPClassifier((8, 4), [cubic, cubic], **settings).fit(*iris)
    np.testing.assert_array_equal(one.coefs_[0], each.coefs_[0])
    assert one.score(*iris) > 0.8
    hidden = (iris[0] @ one.coefs_[0] + one.intercepts_[0]) ** 3
    np.testing.assert_allclose(one.transform(iris[0], layer=0), hidden, rtol=1e-9, atol=1e-12)
    x, y = iris[0], iris[0][:, 0] ** 3
    regressor = MLPRegressor(output=cubic, max_iter=200, random_state=0).fit(x, y)
    assert regressor.score(x, y) > 0.8


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (lambda: MLPClassifier(loss="squared_error"), "iris"),
        (lambda: MLPClassifier(loss=Quantile()), "iris"),
        (lambda: MLPClassifier(loss=SquaredError()), "iris"),
        (lambda: MLPRegressor("log_loss"), "diabetes"),
        (lambda: MLPRegressor(Hinge()), "diabetes"),
        (lambda: MLPRegressor(output="softmax"), "diabetes"),
    ],
)
def test_losses_of_the_other_kind_are_refused(
    make: Any, data: str, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(ValueError, match=r"The '(loss|output)' parameter of MLP.* must be"):
        make().fit(*request.getfixturevalue(data))
