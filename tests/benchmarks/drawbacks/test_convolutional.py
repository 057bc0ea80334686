"""Convolution, pooling and the CNN: against plain loops and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastmlp.benchmarks.drawbacks.convolutional import (
    Convolution,
    GlobalMaxPool,
    MaxPool,
    one_convolution,
    patches_of,
    small_cnn,
)
from fastmlp.benchmarks.drawbacks.model import Activation, Dense, Layer, Model
from fastmlp.optimizers import Adam

GradientGap = Callable[[Model, Any, Any], float]


def images(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape)


def test_convolution_equals_plain_loops() -> None:
    x = images(2, 5, 6, 3)
    layer = Convolution(3, 4, 2)
    Model([layer], "squared_error", seed=0, dtype="float64")
    layer.parameters["b"][...] = [1.0, 2.0, 3.0, 4.0]
    kernel = layer.parameters["w"].reshape(2, 2, 3, 4)
    y = layer.forward(x)
    assert y.shape == (2, 4, 5, 4)
    for row in range(4):
        for column in range(5):
            patch = x[:, row : row + 2, column : column + 2]
            expected = np.einsum("nijc,ijco->no", patch, kernel) + layer.parameters["b"]
            np.testing.assert_allclose(y[:, row, column], expected)


@pytest.mark.parametrize("channels", [1, 2])
def test_patches_of_views(channels: int) -> None:
    # A last axis of one channel may have any stride; patches must not depend on it.
    whole = images(3, 6, 6, channels + 1)
    view = whole[..., :channels]
    np.testing.assert_array_equal(patches_of(view, 3), patches_of(view.copy(), 3))
    added = np.ascontiguousarray(whole[..., 0])[..., None]
    patches = patches_of(added, 3).reshape(3, 4, 4, 3, 3)
    np.testing.assert_array_equal(patches[1, 2, 3], added[1, 2:5, 3:6, 0])


def test_max_pool() -> None:
    x = np.arange(2 * 5 * 4 * 1, dtype=float).reshape(2, 5, 4, 1)
    layer = MaxPool(2)
    np.testing.assert_array_equal(layer.forward(x)[0, :, :, 0], [[5, 7], [13, 15]])
    dx = layer.backward(np.ones((2, 2, 2, 1)), needs_dx=True)
    assert dx.sum() == 8
    np.testing.assert_array_equal(dx[0, :, :, 0].nonzero(), ([1, 1, 3, 3], [1, 3, 1, 3]))


def test_equal_values_of_a_window_get_the_derivative_once() -> None:
    for layer in (MaxPool(2), GlobalMaxPool()):
        layer.forward(np.ones((1, 2, 2, 1)))
        shape = (1, 1, 1, 1) if isinstance(layer, MaxPool) else (1, 1)
        assert layer.backward(np.ones(shape), needs_dx=True).sum() == 1


def model_of(*layers: Layer) -> Model:
    return Model(layers, "categorical_cross_entropy", seed=2, dtype="float64")


# One model per layer type, and the CNNs as they are used.
MODELS: dict[str, Callable[[], Model]] = {
    "convolution": lambda: model_of(Convolution(2, 3, 3), Dense(6 * 5 * 3, 3)),
    "two convolutions": lambda: model_of(
        Convolution(2, 3, 3), Activation("tanh"), Convolution(3, 2, 2), Dense(5 * 4 * 2, 3)
    ),
    "max pool": lambda: model_of(Convolution(2, 3, 2), MaxPool(2), Dense(3 * 3 * 3, 3)),
    "global max pool": lambda: model_of(Convolution(2, 3, 2), GlobalMaxPool(), Dense(3, 3)),
    "cnn, global": lambda: small_cnn(
        (8, 7, 2), 3, channels=(2, 3), kernels=(2, 2), hidden=None, seed=0, dtype="float64"
    ),
    "cnn, hidden layer": lambda: small_cnn(
        (8, 7, 2), 3, channels=(2, 3), kernels=(2, 2), hidden=4, seed=0, dtype="float64"
    ),
}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_gradient(gradient_gap: GradientGap, name: str) -> None:
    x = images(4, 8, 7, 2)
    assert gradient_gap(MODELS[name](), x, np.eye(3)[[0, 1, 2, 1]]) < 1e-6


def test_a_convolution_moves_with_its_input() -> None:
    x = np.zeros((1, 12, 12, 1))
    x[0, 3:6, 3:6, 0] = images(3, 3)
    layer = Convolution(1, 2, 3)
    Model([layer], "squared_error", seed=0, dtype="float64")
    y, moved = layer.forward(x), layer.forward(np.roll(x, (2, 1), axis=(1, 2)))
    np.testing.assert_allclose(np.roll(y, (2, 1), axis=(1, 2)), moved, atol=1e-15)


def test_the_cnn_learns_where_a_bar_points() -> None:
    random = np.random.default_rng(0)
    x = 0.1 * random.normal(size=(300, 10, 10, 1)).astype(np.float32)
    y = np.arange(300) % 2
    for row, (down, right) in enumerate(random.integers(0, 6, (300, 2))):
        bar = (slice(down, down + 4), right) if y[row] else (down, slice(right, right + 4))
        x[row, bar[0], bar[1], 0] += 1.0
    model = small_cnn((10, 10, 1), 2, channels=(8, 8), kernels=(3, 3), hidden=None, seed=0)
    targets = np.eye(2, dtype=np.float32)[y]
    model.fit([(x[:240], targets[:240])], epochs=20, batch_size=16, optimizer=Adam(0.01))
    assert (model.outputs(x[240:]).argmax(axis=1) == y[240:]).mean() > 0.9


def test_one_convolution_has_as_many_parameters_for_any_image() -> None:
    counts = {one_convolution((side, side, 1), 10, 8, seed=0).n_parameters for side in (28, 224)}
    assert counts == {8 * 25 + 8 + 8 * 10 + 10}
