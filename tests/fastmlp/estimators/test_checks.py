"""scikit-learn's own checks of estimators, without an exception."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmlp import MLPClassifier, MLPRegressor

CHECKS = parametrize_with_checks([MLPClassifier(), MLPRegressor()]).mark


@pytest.mark.filterwarnings("ignore::Warning")  # the checks provoke them
# Older versions of scikit-learn make a generator, which pytest no longer likes.
@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
def test_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)
