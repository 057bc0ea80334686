"""A gradient checker for models of any layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastmlp.benchmarks.drawbacks.model import Model


@pytest.fixture
def gradient_gap() -> Callable[[Model, Any, Any], float]:
    """Return a function: how far a model's gradient is from central differences of its loss.

    Relative to the largest derivative. The parameters are drawn anew, so that no bias is zero.
    """

    def gap(model: Model, x: Any, targets: Any, h: float = 1e-6) -> float:
        assert model.dtype == "float64"
        parameters = model.parameters
        parameters += 0.1 * np.random.default_rng(11).normal(size=parameters.shape)
        model.loss_and_gradient(x, targets)
        analytic = model.gradient.copy()
        numeric = np.empty_like(parameters)
        for i, value in enumerate(parameters.tolist()):
            parameters[i] = value + h
            above = model.loss_and_gradient(x, targets)
            parameters[i] = value - h
            below = model.loss_and_gradient(x, targets)
            parameters[i] = value
            numeric[i] = (above - below) / (2 * h)
        assert np.abs(numeric).max() > 1e-3  # there is something to compare
        return float(np.abs(analytic - numeric).max() / np.abs(numeric).max())

    return gap
