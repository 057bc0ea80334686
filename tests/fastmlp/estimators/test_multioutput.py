"""Several columns of classes in one network: `MLPClassifier` on multiclass-multioutput targets."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.class_weight import compute_sample_weight

from fastmlp import CustomLoss, MLPClassifier, Network, Trainer
from fastmlp.estimators.label_columns import columns_of, has_class_columns, table_of

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.usefixtures("tables_as_they_were"),
]

Data = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def flowers(iris: Data) -> Data:
    """Return iris with three columns: the species, whether it is long, and a constant."""
    x, species = iris
    names = np.array(["setosa", "versicolor", "virginica"])[species]
    size = np.where(x[:, 2] > 0.0, "long", "short")
    return x, np.column_stack([names, size, np.full(len(x), "plant")])


def quick(**settings: Any) -> MLPClassifier:
    defaults = {"hidden_layer_sizes": (16,), "max_iter": 60, "learning_rate_init": 0.01}
    return MLPClassifier(**{**defaults, "random_state": 0, **settings})


def parameters(model: MLPClassifier) -> np.ndarray:
    return model.trainer_.network.parameters.copy()


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_it_learns_all_columns_at_once(solver: str, flowers: Data) -> None:
    x, y = flowers
    model = quick(solver=solver, learning_rate_init=0.05).fit(x, y)
    assert [each.tolist() for each in model.classes_] == [
        ["setosa", "versicolor", "virginica"],
        ["long", "short"],
        ["plant"],
    ]
    assert model.n_outputs_ == 6 and model.out_activation_ == "softmax"
    assert model.trainer_.network.group_sizes == (3, 2, 1)
    predicted = model.predict(x)
    assert predicted.shape == y.shape and predicted.dtype.kind == "U"
    assert (predicted == y).mean(axis=0).min() > 0.9


def test_probabilities_are_a_list_as_those_of_a_forest(flowers: Data) -> None:
    x, y = flowers
    model, forest = quick().fit(x, y), RandomForestClassifier(5, random_state=0).fit(x, y)
    found, wanted = model.predict_proba(x), forest.predict_proba(x)
    assert isinstance(found, list)
    assert [each.shape for each in found] == [each.shape for each in wanted]
    for column, (p, log_p) in enumerate(zip(found, model.predict_log_proba(x), strict=True)):
        np.testing.assert_allclose(p.sum(axis=1), 1.0)
        np.testing.assert_allclose(np.exp(log_p), p)
        best = model.classes_[column][p.argmax(axis=1)]
        assert np.array_equal(best, model.predict(x)[:, column])


def test_it_is_the_trainers_network(flowers: Data) -> None:
    # The same parameters in a network of one's own, with class numbers, give the same loss.
    x, y = flowers
    model = quick(alpha=0.0).initialize(x, y)
    network = Network([4, 16, 6], group_sizes=(3, 2, 1), dtype="float64")
    network.parameters = model.trainer_.network.parameters
    numbers = np.stack([np.unique(column, return_inverse=True)[1] for column in y.T], axis=1)
    by_hand = Trainer(network, precision="float64").evaluate(x, numbers)
    p = model.predict_proba(x)
    own = [np.log(p[j][np.arange(150), numbers[:, j]]) for j in range(3)]
    assert by_hand.loss == pytest.approx(-np.sum(own, axis=0).mean())
    assert by_hand.accuracy == pytest.approx(model.score(x, y))


def test_the_score_is_the_share_of_rows_right_in_all_columns(flowers: Data) -> None:
    x, y = flowers
    model = quick(max_iter=5).fit(x, y)
    right = (model.predict(x) == y).all(axis=1)
    assert 0.1 < right.mean() < 1.0
    assert model.score(x, y) == pytest.approx(right.mean())
    weights = np.random.default_rng(0).random(150)
    assert model.score(x, y, weights) == pytest.approx(np.average(right, weights=weights))
    search = GridSearchCV(quick(max_iter=5), {"alpha": [0.0, 0.1]}, cv=3).fit(x, y)
    assert search.score(x, y) == pytest.approx(
        (search.best_estimator_.predict(x) == y).all(axis=1).mean()
    )
    assert cross_val_score(clone(model), x, y, cv=3).shape == (3,)


@pytest.mark.parametrize("class_weight", ["balanced", "by class"])
def test_class_weights_multiply_over_the_columns(class_weight: str, flowers: Data) -> None:
    x, y = flowers
    rows = np.random.default_rng(0).random(150)
    given: Any = class_weight
    if class_weight == "by class":
        given = [{"setosa": 3.0}, {"long": 0.5, "short": 2.0}, {"plant": 1.5}]
    expected = compute_sample_weight(given, y)
    found = quick(class_weight=given, max_iter=3).fit(x, y, rows)
    by_rows = quick(max_iter=3).fit(x, y, rows * expected)
    np.testing.assert_allclose(parameters(found), parameters(by_rows), rtol=1e-9)
    assert not np.allclose(parameters(found), parameters(quick(max_iter=3).fit(x, y, rows)))


def test_early_stopping_and_validation_data(flowers: Data) -> None:
    x, y = flowers
    model = quick(early_stopping=True, max_iter=300, n_iter_no_change=20).fit(x, y)
    assert model.n_iter_ < 300 and model.score(x, y) > 0.8
    assert model.best_validation_score_ == max(model.validation_scores_) > 0.8
    own = quick(max_iter=4).fit(x[::2], y[::2], X_val=x[1::2], y_val=y[1::2])
    assert own.validation_scores_[-1] == pytest.approx(own.score(x[1::2], y[1::2]))
    with pytest.raises(ValueError, match=r"y_val\[:, 1\] has classes that y has not: \['huge'\]"):
        quick().fit(x, y, X_val=x, y_val=np.where(y == "long", "huge", y).astype(object))


def test_partial_fit_is_fit(flowers: Data) -> None:
    x, y = flowers
    classes = [np.unique(column) for column in y.T]
    model = quick()
    for _ in range(4):
        model.partial_fit(x, y, classes=classes)
    np.testing.assert_array_equal(parameters(model), parameters(quick(max_iter=4, tol=0).fit(x, y)))
    model.partial_fit(x[:10], y[:10])  # classes that are missing, and need not be named again
    with pytest.raises(ValueError, match="not the same as on last call to partial_fit"):
        model.partial_fit(x, y, classes=[*classes[:2], ["plant", "stone"]])
    with pytest.raises(ValueError, match=r"`y\[:, 0\]` has classes not in .*\['rose'\]"):
        model.partial_fit(x, np.where(y == "setosa", "rose", y))


def test_partial_fit_needs_the_classes_of_each_column(flowers: Data) -> None:
    x, y = flowers
    model = quick()
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(x, y)
    for classes in (np.unique(y), [["setosa"], ["long"]]):
        with pytest.raises(ValueError, match="one for each of the 3 columns of y"):
            model.partial_fit(x, y, classes=classes)
        assert not hasattr(model, "classes_")
    with pytest.raises(ValueError, match=r"of a dense y.*shape \(150,\)"):
        model.partial_fit(x, y[:, 0], classes=[["setosa"], ["long"]])
    model.partial_fit(x, y, classes=[np.unique(column) for column in y.T])


def test_classes_per_column_make_zeros_and_ones_multioutput(iris: Data) -> None:
    x, y = iris[0], np.column_stack([iris[1] > 0, iris[1] > 1]).astype(int)
    model = quick().partial_fit(x, y, classes=[[0, 1], [0, 1]])
    assert [each.shape for each in model.predict_proba(x)] == [(150, 2), (150, 2)]
    assert quick().fit(x, y).predict_proba(x).shape == (150, 2)  # multilabel


def test_two_numbers_that_are_not_zero_and_one_are_classes(iris: Data) -> None:
    x, y = iris[0], np.column_stack([iris[1] > 0, iris[1] > 1]) * 2 - 1
    model = quick(max_iter=100).fit(x, y)
    assert [each.tolist() for each in model.classes_] == [[-1, 1], [-1, 1]]
    assert (model.predict(x) == y).mean() > 0.9


def test_warm_start_goes_on(flowers: Data) -> None:
    x, y = flowers
    twice = quick(warm_start=True, max_iter=3, tol=0).fit(x, y).fit(x, y)
    np.testing.assert_array_equal(parameters(twice), parameters(quick(max_iter=6, tol=0).fit(x, y)))
    with pytest.raises(ValueError, match=r"`y\[:, 1\]` has the same classes as in the previous"):
        twice.fit(x, np.where(y == "short", "long", y))
    with pytest.raises(ValueError, match=r"y must have 3 columns of classes.*\(150, 2\)"):
        twice.fit(x, y[:, :2])
    assert quick(warm_start=False).fit(x, y).fit(x, y[:, :2]).n_outputs_ == 5


def test_numbers_beside_strings_in_a_table(iris: Data, flowers: Data) -> None:
    x, y = flowers
    table = pd.DataFrame({"number": iris[1], "size": y[:, 1]})
    model = quick(max_iter=150).fit(x, table)
    assert [each.dtype.kind for each in model.classes_] == ["i", "U"]
    predicted = model.predict(x)
    assert predicted.dtype == object and isinstance(predicted[0, 0], int)
    assert model.score(x, table) == (predicted == table.to_numpy()).all(axis=1).mean() > 0.9


def test_it_can_be_pickled(flowers: Data) -> None:
    x, y = flowers
    model = quick(max_iter=3).fit(x, y)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict(x), model.predict(x))
    assert again.score(x, y) == model.score(x, y)


@pytest.mark.parametrize("backend", ["python", "numpy", "numba", "cython"])
def test_every_backend(backend: str, flowers: Data) -> None:
    x, y = flowers
    found, wanted = (quick(max_iter=2, backend=b).fit(x, y) for b in (backend, "numpy"))
    assert found.trainer_.backend_name == backend
    np.testing.assert_allclose(parameters(found), parameters(wanted), rtol=1e-9)


def test_losses(flowers: Data) -> None:
    x, y = flowers
    assert quick(loss="focal").fit(x, y).score(x, y) > 0.8
    for loss in ("hinge", CustomLoss(of_values, of_values_slope)):
        with pytest.raises(ValueError, match=r"several columns of classes and so .*'softmax'"):
            quick(loss=loss).fit(x, y)


def of_values(z: float, y: float) -> float:
    return z - y


def of_values_slope(z: float, y: float) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("y", "text"),
    [
        (np.array([[0.5, 1.5]] * 150), "must have classes in each.*'continuous-multioutput'"),
        (np.array([["a", 1], ["b", "c"]] * 75, object), r"y\[:, 1\] must have .*int and str"),
        (np.array([["a", (1,)]] * 150, object), r"y\[:, 1\] must have .*got tuple"),
        (np.array([["a", 0.5]] * 150, object), "Unknown label type: continuous"),
        (sparse.csr_matrix(np.array([[2, 1], [0, 3], [1, 1]] * 50)), "classes in each"),
    ],
    ids=["values", "mixed", "tuples", "a column of values", "sparse"],
)
def test_what_is_refused(y: Any, text: str, iris: Data) -> None:
    with pytest.raises(ValueError, match=text):
        quick().fit(iris[0], y)


def test_a_dict_of_weights_is_refused_and_bad_scores(flowers: Data) -> None:
    x, y = flowers
    with pytest.raises(ValueError, match="class_weight should be a list of dicts"):
        quick(class_weight={"long": 2.0}).fit(x, y)
    model = quick(max_iter=1).fit(x, y)
    with pytest.raises(ValueError, match="y must have 3 columns"):
        model.score(x, y[:, 0])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.score(x[:5], y)


def test_columns() -> None:
    mixed = np.array([[1, "a"], [2, "b"]], object)
    assert [column.dtype.kind for column in columns_of(mixed)] == ["i", "U"]
    assert table_of(columns_of(mixed)).tolist() == mixed.tolist()
    assert table_of([np.array([1]), np.array([2])]).dtype.kind == "i"
    for y in ([0, 1], [[0, 1], [1, 1]], [[1], [2]], [[0.5, 1.0]], [[0, 1], [1]]):
        assert not has_class_columns(y)
    for y in ([[0, 2], [1, 1]], [["a", "b"]], mixed):
        assert has_class_columns(y)
