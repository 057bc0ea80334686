"""`MLPClassifier` and `MLPRegressor`: scikit-learn's estimators, trained by `fastmlp.Trainer`.

The only part of the library that needs scikit-learn, and loaded only when it is used.
"""

from __future__ import annotations

from importlib.util import find_spec

from ..errors import MissingExtraError

if find_spec("sklearn") is None:
    raise MissingExtraError(
        "scikit-learn", "sklearn", "fastmlp.MLPClassifier (and fastmlp.MLPRegressor)"
    )

from .classifier import MLPClassifier as MLPClassifier
from .regressor import MLPRegressor as MLPRegressor
