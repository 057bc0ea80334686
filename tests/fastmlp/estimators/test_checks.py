"""scikit-learn's own checks of estimators, without an exception."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmlp import MLPClassifier, MLPRegressor


@pytest.mark.filterwarnings("ignore::Warning")  # the checks provoke them
@parametrize_with_checks([MLPClassifier(), MLPRegressor()])
def test_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)
