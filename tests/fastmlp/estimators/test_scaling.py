"""scale_inputs: the same model as with scikit-learn's scaler in front, and X is not copied."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.estimators import scaling

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SCALERS = {"standard": StandardScaler, "minmax": MinMaxScaler, "robust": RobustScaler}


@pytest.fixture
def raw(cancer: Any) -> tuple[np.ndarray, np.ndarray]:
    factors = 10.0 ** np.arange(cancer[0].shape[1])[::-1]
    return cancer[0] * np.clip(factors, 1e-3, 1e6) + 17.0, cancer[1]


@pytest.mark.parametrize("kind", SCALERS)
@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
def test_it_is_the_scaler_in_front(
    kind: str, settings: dict[str, Any], raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "ROWS_PER_STEP", 100)
    x, y = raw
    model = MLPClassifier(scale_inputs=kind, max_iter=5, random_state=0, **settings).fit(x, y)
    plain = MLPClassifier(max_iter=5, random_state=0, **settings)
    if "early_stopping" in settings:  # the scaler in front sees all rows, and so does ours
        expected = plain.fit(SCALERS[kind]().fit_transform(x), y)
        probabilities = expected.predict_proba(SCALERS[kind]().fit_transform(x))
    else:
        expected = make_pipeline(SCALERS[kind](), plain).fit(x, y)
        probabilities = expected.predict_proba(x)
    np.testing.assert_allclose(model.predict_proba(x), probabilities, rtol=1e-5, atol=1e-9)
    unscaled = MLPClassifier(max_iter=5, random_state=0, **settings)
    assert not np.allclose(unscaled.fit(x / 1e6, y).predict_proba(x / 1e6), probabilities)


@pytest.mark.parametrize("kind", ["standard", "robust"])
def test_sparse_features_keep_their_zeros(kind: str, raw: Any) -> None:
    x = np.where(np.abs(raw[0] - 17.0) > 1.0, raw[0], 0.0)
    settings = {"scale_inputs": kind, "max_iter": 3, "random_state": 0}
    model = MLPClassifier(**settings).fit(sparse.csr_matrix(x), raw[1])
    centred = {"standard": {"with_mean": False}, "robust": {"with_centering": False}}[kind]
    scaler = SCALERS[kind](**centred).fit(sparse.csr_matrix(x))
    expected = MLPClassifier(max_iter=3, random_state=0).fit(scaler.transform(x), raw[1])
    np.testing.assert_allclose(
        model.predict_proba(x), expected.predict_proba(scaler.transform(x)), rtol=1e-6
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("kind", SCALERS)
def test_scaling_is_what_the_scaler_does(kind: str, dtype: type) -> None:
    x = np.random.default_rng(0).integers(0, 200, (50, 4)).astype(dtype)
    x[:, 2] = 7  # a constant column
    center, scale = scaling.center_and_scale(kind, x)
    expected = SCALERS[kind]().fit_transform(x.astype(np.float64))
    tolerance = 1e-5 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose((x - center) * scale, expected, atol=tolerance)


def test_minmax_of_sparse_features_is_refused(raw: Any) -> None:
    with pytest.raises(ValueError, match="scale_inputs='minmax' needs a dense X"):
        MLPClassifier(scale_inputs="minmax").fit(sparse.csr_matrix(raw[0]), raw[1])


def test_an_unknown_scaling(raw: Any) -> None:
    with pytest.raises(ValueError, match="'scale_inputs' parameter of MLPClassifier must be"):
        MLPClassifier(scale_inputs="normal").fit(*raw)


def test_what_the_first_call_saw_stays(raw: Any) -> None:
    x, y = raw
    model = MLPClassifier(scale_inputs="standard", random_state=0)
    model.partial_fit(x[:300], y[:300], classes=[0, 1]).partial_fit(x[300:], y[300:])
    np.testing.assert_allclose(model.trainer_.network.input_center, x[:300].mean(axis=0))


def test_float64_features_far_from_zero_keep_their_digits_in_float32() -> None:
    random = np.random.default_rng(0)
    small = random.normal(size=(200, 3))
    y = (small[:, 0] > 0).astype(int)
    settings: dict[str, Any] = {
        "scale_inputs": "standard",
        "precision": "float32",
        "random_state": 0,
    }
    far = MLPClassifier(max_iter=5, **settings).fit(1e9 + small, y)
    near = MLPClassifier(max_iter=5, **settings).fit(small, y)
    np.testing.assert_allclose(far.predict_proba(1e9 + small), near.predict_proba(small), atol=1e-4)


def test_sparse_features_to_predict_of_a_network_with_a_center(raw: Any) -> None:
    model = MLPClassifier(scale_inputs="standard", max_iter=1).fit(*raw)
    with pytest.raises(ValueError, match="X must be dense"):
        model.predict(sparse.csr_matrix(raw[0]))


@pytest.mark.parametrize("kind", ["standard", "minmax", "robust"])
def test_uint8_features_are_scaled_without_a_copy(kind: str) -> None:
    x = np.random.default_rng(0).integers(0, 255, (60_000, 200)).astype(np.uint8)
    model = MLPRegressor(hidden_layer_sizes=(4,), scale_inputs=kind, max_iter=1)
    tracemalloc.start()
    model.fit(x, x[:, 0] / 255.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60_000 * 200 * 8 * 0.6  # whole, scaled, it would be 96 MB
