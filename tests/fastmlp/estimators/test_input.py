"""What X and y may be: arrays of any kind read in place, tables, sparse matrices, labels."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy import sparse

from fastmlp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def quick(**settings: Any) -> MLPClassifier:
    return MLPClassifier((5,), **{"max_iter": 3, "random_state": 0, **settings})


# ---------------------------------------------------------------------------------------------
# Features


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_features_are_not_copied(dtype: type, early_stopping: bool) -> None:
    x = np.random.default_rng(0).integers(0, 255, (40_000, 200)).astype(dtype)
    y = x[:, 0] > 127
    model = quick(max_iter=1, early_stopping=early_stopping, precision="float32")
    tracemalloc.start()
    model.fit(x, y)
    model.predict_proba(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # What is held out is a copy, a tenth; orders, targets and outputs are small.
    assert peak < x.nbytes * (0.1 if early_stopping else 0) + 4_500_000
    assert model.coefs_[0].dtype == np.float32


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_features_are_not_copied_by_lbfgs(hidden: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 255, (40_000, 400)).astype(np.uint8)
    model = MLPRegressor(hidden_layer_sizes=hidden, solver="lbfgs", max_iter=2)
    tracemalloc.start()
    model.fit(x, x[:, 0] / 255.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 45_000_000  # as float64 it would be 128 MB


def test_lbfgs_computes_in_float64(iris: Any) -> None:
    x, y = iris
    model = quick(solver="lbfgs").fit(x.astype(np.float32), y)
    assert model.coefs_[0].dtype == np.float64 and model.trainer_.plan.precision == "float64"


def test_uint8_features_make_a_float32_network() -> None:
    x = np.random.default_rng(0).integers(0, 2, (50, 4)).astype(np.uint8)
    assert quick().fit(x, x[:, 0]).coefs_[0].dtype == np.float32


@pytest.mark.parametrize("make", [list, np.asfortranarray, lambda x: x[::1], np.float16, np.int64])
def test_other_arrays(make: Any) -> None:
    x = np.random.default_rng(0).integers(-3, 3, (50, 4)).astype(np.float64)
    expected = quick().fit(x, x[:, 0] > 0).predict_proba(x)
    np.testing.assert_array_equal(
        quick().fit(make(x), x[:, 0] > 0).predict_proba(make(x)), expected
    )


def test_a_memory_map(tmp_path: Path, cancer: Any) -> None:
    x, y = cancer
    np.save(tmp_path / "x.npy", x)
    found = quick().fit(np.load(tmp_path / "x.npy", mmap_mode="r"), y)
    np.testing.assert_array_equal(found.coefs_[0], quick().fit(x, y).coefs_[0])


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame,
        pytest.param(
            pl.DataFrame,
            marks=pytest.mark.skipif(
                tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 9),
                reason="this scikit-learn takes no names from polars",
            ),
        ),
    ],
)
def test_tables_and_their_names(table: Any, iris: Any) -> None:
    x, y = iris
    names = ["sepal length", "sepal width", "petal length", "petal width"]
    frame = table({name: x[:, i] for i, name in enumerate(names)})
    model = quick(early_stopping=True, scoring="f1_macro").fit(frame, y)
    assert model.feature_names_in_.tolist() == names
    expected = quick(early_stopping=True, scoring="f1_macro").fit(x, y)
    np.testing.assert_array_equal(model.predict_proba(frame), expected.predict_proba(x))
    other = table({name: x[:, i] for i, name in enumerate(reversed(names))})
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(other)
    with pytest.raises(ValueError, match="feature names should match"):
        quick().fit(frame, y, X_val=other, y_val=y)
    own = quick(scoring="accuracy").fit(frame, y, X_val=frame[:50], y_val=y[:50])
    assert own.validation_scores_[-1] == own.score(frame[:50], y[:50])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(x)


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
def test_sparse_features_give_the_model_of_dense_ones(
    form: Any, settings: dict[str, Any], cancer: Any
) -> None:
    x, y = np.where(np.abs(cancer[0]) > 1.0, cancer[0], 0.0), cancer[1]
    found, dense = quick(**settings).fit(form(x), y), quick(**settings).fit(x, y)
    # The sums are in another order, and a line search makes more of it.
    close = {"rtol": 1e-5 if settings.get("solver") == "lbfgs" else 1e-9, "atol": 1e-9}
    for a, b in zip(found.coefs_, dense.coefs_, strict=True):
        np.testing.assert_allclose(a, b, **close)
    np.testing.assert_allclose(found.predict_proba(form(x)), dense.predict_proba(x), **close)
    np.testing.assert_allclose(found.transform(form(x)), dense.transform(x), **close)


def test_sparse_features_are_never_dense_whole() -> None:
    random = np.random.default_rng(0)
    x = sparse.random(4000, 20_000, density=0.001, format="csr", random_state=0)
    y = random.integers(0, 2, 4000)
    tracemalloc.start()
    quick(max_iter=1).fit(x, y).predict(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4000 * 20_000 * 8 / 5  # a batch or two may be


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_must_be_finite(bad: float, iris: Any) -> None:
    x, y = iris[0].copy(), iris[1]
    x[3, 1] = bad
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        quick().fit(x, y)


# ---------------------------------------------------------------------------------------------
# Targets


@pytest.mark.parametrize("make", [list, np.array, pd.Series, pl.Series])
@pytest.mark.parametrize("names", [("no", "yes"), ("setosa", "versicolor", "virginica")])
def test_labels_of_text(make: Any, names: tuple[str, ...], iris: Any) -> None:
    x, numbers = iris
    numbers = np.minimum(numbers, len(names) - 1)
    y = make([names[number] for number in numbers])
    settings = {"early_stopping": True, "max_iter": 30, "learning_rate_init": 0.05}
    model = quick(**settings).fit(x, y)
    assert model.classes_.tolist() == list(names)
    assert set(model.predict(x)) <= set(names)
    assert model.score(x, y) > 0.6
    by_number = quick(**settings).fit(x, numbers)
    np.testing.assert_array_equal(model.predict_proba(x), by_number.predict_proba(x))


def test_labels_that_are_not_small_numbers(iris: Any) -> None:
    x, y = iris
    model = quick().fit(x, np.array([-7, 10**12, 3])[y])
    assert model.classes_.tolist() == [-7, 3, 10**12]


def test_one_class() -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    model = quick().fit(x, ["only"] * 20)
    assert model.predict(x).tolist() == ["only"] * 20


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_multilabel(form: Any, iris: Any) -> None:
    x, numbers = iris
    y = np.column_stack([numbers > 0, numbers > 1]).astype(int)
    model = quick(max_iter=100, learning_rate_init=0.01).fit(x, form(y))
    predicted = model.predict(x)
    assert sparse.issparse(predicted) == sparse.issparse(form(y))
    dense = predicted.toarray() if sparse.issparse(predicted) else predicted
    assert dense.shape == y.shape and (dense == y).mean() > 0.9
    assert model.predict_proba(x).shape == y.shape and model.out_activation_ == "logistic"


def test_values_are_not_labels(diabetes: Any) -> None:
    with pytest.raises(ValueError, match="Unknown label type"):
        quick().fit(*diabetes)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_and_types_of_predicted_values(n_outputs: int, dtype: type, diabetes: Any) -> None:
    x, y = diabetes
    targets = y if n_outputs == 1 else np.column_stack([y] * n_outputs)
    predicted = MLPRegressor(max_iter=2).fit(x.astype(dtype), targets).predict(x.astype(dtype))
    assert predicted.shape == targets.shape and predicted.dtype == dtype


def test_a_column_of_targets_is_warned_of(diabetes: Any) -> None:
    x, y = diabetes
    with pytest.warns(UserWarning, match="A column-vector y was passed"):
        assert MLPRegressor(max_iter=2).fit(x, y[:, None]).predict(x).shape == y.shape
