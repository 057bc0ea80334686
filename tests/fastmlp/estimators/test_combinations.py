"""An estimator with everything at once: copied, pickled, sent to other processes, gone on with."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import fastmlp
from fastmlp import Clipping, Dropout, MLPClassifier, MLPRegressor, Muon, Quantile, Regularization

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.parametrize("normalization", ["batch", "layer", None]),
]


def combined(estimator: Any, normalization: str | None, **changes: Any) -> Any:
    settings = {
        "hidden_layer_sizes": (12, 10),
        "activation": ["silu", "tanh"],
        "optimizer": Muon(weight_decay=0.01),
        "dropout": Dropout(hidden=(0.1, 0.0), input=0.05),
        "regularization": Regularization(l1=0.1, l2=0.1, max_norm=2.0, divided_by_rows=True),
        "clipping": Clipping(norm=1.0),
        "scale_inputs": "standard",
        "normalization": normalization,
        "batch_size": 40,
        "max_iter": 4,
        "tol": 0.0,
        "random_state": 0,
    }
    return estimator(**{**settings, **changes})


def learned(model: Any) -> np.ndarray:
    found: np.ndarray = model.trainer_.network.learned
    return found


@pytest.fixture
def columns(iris: Any) -> Any:
    x, y = iris
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    return x, np.column_stack([names, np.where(y > 1, "yes", "no")])


def test_copies_go_on_as_the_model_would(normalization: Any, columns: Any, tmp_path: Path) -> None:
    x, y = columns
    classes = [["setosa", "versicolor", "virginica"], ["no", "yes"]]
    model = combined(MLPClassifier, normalization).partial_fit(x, y, classes=classes)
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    joblib.dump(model, tmp_path / "model.joblib")
    copies.append(joblib.load(tmp_path / "model.joblib"))
    model.partial_fit(x, y)
    for each in copies:
        np.testing.assert_array_equal(learned(each.partial_fit(x, y)), learned(model))
    fitted = clone(model).set_params(max_iter=2).fit(x, y)
    np.testing.assert_array_equal(learned(fitted), learned(model))
    halves = clone(model).set_params(max_iter=1, warm_start=True).fit(x, y).fit(x, y)
    np.testing.assert_array_equal(learned(halves), learned(model))


def test_its_trainer_is_saved_and_loaded(normalization: Any, columns: Any, tmp_path: Path) -> None:
    x, y = columns
    model = combined(MLPClassifier, normalization, class_weight="balanced").fit(x, y)
    fastmlp.save(model.trainer_, tmp_path / "model")
    outputs = fastmlp.load(tmp_path / "model").predict_proba(x)
    np.testing.assert_array_equal(outputs, np.hstack(model.predict_proba(x)))


def test_a_search_in_several_processes(normalization: Any, columns: Any) -> None:
    grid = {"optimizer": [Muon(), "adamw"], "dropout": [0.0, Dropout(0.1)]}
    models = [combined(MLPClassifier, normalization, early_stopping=True) for _ in range(2)]
    searches = [
        GridSearchCV(model, grid, n_jobs=n_jobs, cv=2).fit(*columns)
        for model, n_jobs in zip(models, (1, 2), strict=True)
    ]
    scores = [search.cv_results_["mean_test_score"] for search in searches]
    np.testing.assert_array_equal(*scores)


def test_sparse_rows_and_quantiles_in_every_backend(backend_name: str, normalization: Any) -> None:
    x = sparse.random(60, 50, density=0.1, format="csr", random_state=0)
    total = x.toarray().sum(axis=1)
    y = np.column_stack([total, -total])
    settings = {"loss": Quantile((0.1, 0.5, 0.9)), "max_iter": 2}
    found, wanted = (
        combined(MLPRegressor, normalization, backend=each, **settings).fit(x, y)
        for each in (backend_name, "numpy")
    )
    assert found.trainer_.backend_name == backend_name
    np.testing.assert_allclose(learned(found), learned(wanted), rtol=1e-9, atol=1e-12)
    quantiles = found.predict_quantiles(x)
    assert quantiles.shape == (60, 2, 3) and (np.diff(quantiles, axis=2) >= 0.0).all()
    np.testing.assert_allclose(found.transform(x, 0), wanted.transform(x, 0), rtol=1e-9, atol=1e-12)
