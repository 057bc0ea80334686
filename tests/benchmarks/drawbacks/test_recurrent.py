"""The RNN and the LSTM: gradients through time, and tasks that they can learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastmlp.benchmarks.drawbacks.model import Activation, Dense, Layer, Model
from fastmlp.benchmarks.drawbacks.recurrent import (
    RECURRENT_LAYERS,
    LongShortTermMemory,
    recurrent_model,
    time_major,
)
from fastmlp.benchmarks.drawbacks.sequences import N_SYMBOLS, RECALL_FEATURES, recall_task
from fastmlp.optimizers import Adam

GradientGap = Callable[[Model, Any, Any], float]


@pytest.mark.parametrize("kind", sorted(RECURRENT_LAYERS))
@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("loss", ["categorical_cross_entropy", "squared_error"])
def test_gradient(gradient_gap: GradientGap, kind: str, steps: int, loss: str) -> None:
    x = np.random.default_rng(0).normal(size=(4, steps, 3))
    model = recurrent_model(kind, 3, 5, 2, loss=loss, seed=1, dtype="float64")
    assert gradient_gap(model, x, np.eye(2)[[0, 1, 1, 0]]) < 1e-6


class StepwiseDense(Layer):
    """The same product at every step; stands before a recurrent layer, and so needs its dx."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.shapes = {"w": (fan_in, fan_out)}

    def initialize(self, random: np.random.Generator) -> None:
        self.parameters["w"][...] = random.normal(size=self.shapes["w"])

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.parameters["w"]

    def backward(self, dy: Any, needs_dx: bool) -> Any:
        self.gradients["w"][...] = np.einsum("nti,nto->io", self.x, dy)
        return dy


@pytest.mark.parametrize("kind", sorted(RECURRENT_LAYERS))
def test_gradient_of_the_input(gradient_gap: GradientGap, kind: str) -> None:
    layers = [StepwiseDense(2, 3), Activation("tanh"), RECURRENT_LAYERS[kind](3, 4), Dense(4, 2)]
    model = Model(layers, "squared_error", seed=1, dtype="float64")
    x = np.random.default_rng(0).normal(size=(3, 5, 2))
    assert gradient_gap(model, x, np.ones((3, 2))) < 1e-6


def test_lstm_equals_its_definition() -> None:
    layer = LongShortTermMemory(2, 3)
    Model([layer], "squared_error", seed=0, dtype="float64")
    x = np.random.default_rng(0).normal(size=(4, 5, 2))
    h = c = np.zeros((4, 3))
    for t in range(5):
        z = x[:, t] @ layer.parameters["w"] + h @ layer.parameters["u"] + layer.parameters["b"]
        i, f, o = (1 / (1 + np.exp(-z[:, 3 * k : 3 * k + 3])) for k in range(3))
        c = f * c + i * np.tanh(z[:, 9:])
        h = o * np.tanh(c)
    np.testing.assert_allclose(layer.forward(x), h, rtol=1e-12)
    np.testing.assert_array_equal(layer.parameters["b"], [0] * 3 + [1] * 3 + [0] * 6)


def test_rnn_starts_orthogonal() -> None:
    model = recurrent_model("RNN", 2, 6, 1, loss="squared_error", seed=0, dtype="float64")
    u = model.layers[0].parameters["u"]
    np.testing.assert_allclose(u @ u.T, np.eye(6), atol=1e-12)


def test_time_major() -> None:
    x = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(time_major(x)[1], x[:, 1])
    assert time_major(x).flags.c_contiguous


@pytest.mark.parametrize("kind", sorted(RECURRENT_LAYERS))
def test_learns_a_tiny_task_of_two_lengths(kind: str) -> None:
    groups = []
    for steps in (3, 4):
        x, y = recall_task(400, steps, seed=0)
        groups.append((x, np.eye(N_SYMBOLS, dtype=np.float32)[y]))
    model = recurrent_model(
        kind, RECALL_FEATURES, 12, N_SYMBOLS, loss="categorical_cross_entropy", seed=0
    )
    model.fit(groups, epochs=15, batch_size=40, optimizer=Adam(0.02), largest_norm=1.0)
    x, y = recall_task(300, 4, seed=1)
    assert (model.outputs(x).argmax(axis=1) == y).mean() > 0.9
