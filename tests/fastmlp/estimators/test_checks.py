"""scikit-learn's own checks of estimators, without an exception."""

from __future__ import annotations

from typing import Any

import pytest
import sklearn.utils
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmlp import MLPClassifier, MLPRegressor

CHECKS = parametrize_with_checks(
    [
        MLPClassifier(),
        MLPRegressor(),
        MLPRegressor(hidden_layer_sizes=(10,), solver="lbfgs"),
    ]
).mark


@pytest.mark.filterwarnings("ignore::Warning")  # the checks provoke them
# Older versions of scikit-learn make a generator, which pytest no longer likes.
@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
def test_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def test_what_the_tags_say() -> None:
    get_tags = getattr(sklearn.utils, "get_tags", None)
    if get_tags is None:
        pytest.skip("scikit-learn has other tags before 1.6")
    tags = get_tags(MLPClassifier())
    assert tags.classifier_tags.multi_label and tags.target_tags.multi_output
    assert tags.input_tags.sparse
    for settings, types in (
        ({}, ["float64", "float32"]),
        ({"precision": "float32"}, ["float32"]),
        ({"precision": "bfloat16"}, ["float32"]),
        ({"solver": "lbfgs"}, ["float64"]),
        ({"precision": "unknown"}, []),
    ):
        model = MLPRegressor(**settings)
        assert get_tags(model).transformer_tags.preserves_dtype == types
