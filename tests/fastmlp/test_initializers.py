"""The statistics of every initialisation, by the papers' formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastmlp.initializers import INITIALIZERS

FAN_IN, FAN_OUT = 500, 300
VARIANCES = {
    "he": 2 / FAN_IN,
    "he_uniform": 2 / FAN_IN,
    "glorot": 2 / (FAN_IN + FAN_OUT),
    "glorot_normal": 2 / (FAN_IN + FAN_OUT),
    "lecun": 1 / FAN_IN,
    "lecun_uniform": 1 / FAN_IN,
    "zeros": 0.0,
}
UNIFORM = ("he_uniform", "glorot", "lecun_uniform")


def test_the_table_is_complete() -> None:
    assert set(VARIANCES) == set(INITIALIZERS)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_mean_variance_and_shape(name: str) -> None:
    drawn = INITIALIZERS[name](np.random.default_rng(0), FAN_IN, FAN_OUT)
    variance = VARIANCES[name]
    assert drawn.shape == (FAN_IN, FAN_OUT)
    assert drawn.var() == pytest.approx(variance, rel=0.02)
    assert abs(drawn.mean()) <= 5 * math.sqrt(variance / drawn.size)
    # A uniform distribution ends at sqrt(3) deviations, a normal one does not.
    if variance:
        reaches = np.abs(drawn).max() / math.sqrt(variance)
        assert reaches <= math.sqrt(3) if name in UNIFORM else reaches > 3.5
