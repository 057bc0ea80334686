"""What the tests of the estimators share: data, and scikit-learn's own estimators beside ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.neural_network
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.preprocessing import scale

import fastmlp

Data = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="session")
def iris() -> Data:
    x, y = load_iris(return_X_y=True)
    return scale(x), y


@pytest.fixture(scope="session")
def cancer() -> Data:
    x, y = load_breast_cancer(return_X_y=True)
    return scale(x), y


@pytest.fixture(scope="session")
def diabetes() -> Data:
    x, y = load_diabetes(return_X_y=True)
    return scale(x), scale(y)


@pytest.fixture(scope="session")
def problems(iris: Data, cancer: Data, diabetes: Data) -> dict[str, tuple[str, Data]]:
    """Return the name of the estimator and the data of each kind of problem."""
    x, y = diabetes
    several = np.column_stack([y, np.abs(y), -y])
    return {
        "multiclass": ("MLPClassifier", iris),
        "binary": ("MLPClassifier", cancer),
        "multilabel": ("MLPClassifier", (x, (several > 0.3).astype(int))),
        "regression": ("MLPRegressor", diabetes),
        "several outputs": ("MLPRegressor", (x, several)),
    }


KINDS = ("multiclass", "binary", "multilabel", "regression", "several outputs")


@pytest.fixture(params=KINDS)
def problem(request: pytest.FixtureRequest, problems: Any) -> tuple[type, type, Data]:
    """Return our class, scikit-learn's, and data, for each kind of problem."""
    name, data = problems[request.param]
    return getattr(fastmlp, name), getattr(sklearn.neural_network, name), data
