"""Layers and models: gradients, memory, training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastmlp import ACTIVATIONS, SGD, Network, Trainer
from fastmlp.benchmarks.drawbacks.model import Activation, Dense, Model
from fastmlp.optimizers import Adam

GradientGap = Callable[[Model, Any, Any], float]


def dense_model(
    loss: str = "categorical_cross_entropy", dtype: str = "float64", activation: str = "tanh"
) -> Model:
    return Model([Dense(6, 5), Activation(activation), Dense(5, 3)], loss, seed=1, dtype=dtype)


@pytest.mark.parametrize("loss", ["categorical_cross_entropy", "squared_error"])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_gradient(gradient_gap: GradientGap, loss: str, activation: str) -> None:
    x = np.random.default_rng(0).normal(size=(7, 6))
    targets = np.eye(3)[np.arange(7) % 3]
    assert gradient_gap(dense_model(loss, activation=activation), x, targets) < 1e-6


def test_the_first_layer_flattens_and_gives_back_the_shape(gradient_gap: GradientGap) -> None:
    model = Model(
        [Activation("tanh"), Dense(6, 5), Dense(5, 3)], "squared_error", seed=1, dtype="float64"
    )
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    assert gradient_gap(model, x, np.ones((4, 3))) < 1e-6
    assert model.layers[1].backward(np.ones((4, 5)), needs_dx=True).shape == (4, 2, 3)


def test_all_parameters_are_views_of_one_vector() -> None:
    model = dense_model()
    assert model.n_parameters == 6 * 5 + 5 + 5 * 3 + 3
    for layer in model.layers:
        for name in layer.shapes:
            assert np.shares_memory(layer.parameters[name], model.parameters)
            assert np.shares_memory(layer.gradients[name], model.gradient)
    model.parameters[...] = 0.0
    assert not model.layers[0].parameters["w"].any()


def test_the_same_as_fastmlp() -> None:
    # Two implementations of one network: the same gradient and the same step.
    model = dense_model()
    network = Network([6, 5, 3], "tanh", dtype="float64")
    network.parameters[...] = model.parameters
    trainer = Trainer(
        network, optimizer=SGD(0.5), batch_size=8, backend="numpy", precision="float64"
    )
    random = np.random.default_rng(0)
    x, y = random.normal(size=(8, 6)), np.arange(8) % 3
    assert model.loss_and_gradient(x, np.eye(3)[y]) == pytest.approx(trainer.gradients(x, y).loss)
    trainer.fit(x, y)
    model.fit([(x, np.eye(3)[y])], epochs=1, batch_size=8, optimizer=SGD(0.5))
    np.testing.assert_allclose(model.parameters, network.parameters, rtol=1e-12)


def test_fit_learns_and_reports() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(90, 6)).astype(np.float32)
    y = x[:, :3].argmax(axis=1)
    model = dense_model(dtype="float32")
    shares: list[float] = []
    targets = np.eye(3, dtype=np.float32)[y]
    losses = model.fit(
        [(x[:50], targets[:50]), (x[50:], targets[50:])],
        epochs=60, batch_size=20, optimizer=Adam(0.02), batch_done=shares.append,
    )  # fmt: skip
    assert len(losses) == 60
    assert losses[-1] < 0.3 * losses[0]
    assert len(shares) == 60 * (3 + 2)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert (model.outputs(x).argmax(axis=1) == y).mean() > 0.9
    assert model.parameters.dtype == np.float32


def test_same_seed_same_parameters() -> None:
    x = np.random.default_rng(0).normal(size=(30, 6))
    targets = np.eye(3)[np.arange(30) % 3]
    models = [dense_model() for _ in range(2)]
    for model in models:
        model.fit([(x, targets)], epochs=2, batch_size=7, optimizer=Adam())
    np.testing.assert_array_equal(models[0].parameters, models[1].parameters)


def test_long_gradients_are_shortened() -> None:
    x = np.random.default_rng(0).normal(size=(8, 6))
    targets = 1e6 * np.ones((8, 3))
    model = dense_model("squared_error")
    before = model.parameters.copy()
    model.fit(
        [(x, targets)], epochs=1, batch_size=8, optimizer=SGD(1.0), largest_norm=0.25
    )  # fmt: skip
    assert np.linalg.norm(model.parameters - before) == pytest.approx(0.25)


def test_outputs_of_many_rows_are_those_of_few() -> None:
    x = np.random.default_rng(0).normal(size=(600, 6))
    model = dense_model()
    together = model.outputs(x)
    assert together.shape == (600, 3)
    np.testing.assert_allclose(together[255:258], model.forward(x[255:258]), rtol=1e-12)
