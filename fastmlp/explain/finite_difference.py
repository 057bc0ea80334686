"""Measure every derivative of the loss instead of deriving it: the central finite difference.

Always by the `python` backend in float64, whatever runs the rest.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.formulas import ACTIVATIONS
from ..losses import Loss
from ..network import Network
from ..trainer import Trainer

STEP = 6e-6
"""About the cube root of float64's precision: the best a central difference can do."""

TOLERANCES = {"float64": 1e-5, "float32": 1e-3}
"""The largest relative difference that counts as rounding, per precision of the gradient."""


class FiniteDifference:
    """Measures dL/dp = (L(p + h) - L(p - h)) / (2 h) for the parameters of a network.

    Parameters
    ----------
    network : Network
        Not changed.
    x : ndarray, shape (1, n_inputs)
    y : ndarray
        Targets as `Trainer.gradients` takes them.
    loss : Loss or str
    """

    def __init__(
        self, network: Network, x: NDArray[Any], y: NDArray[Any], loss: Loss | str
    ) -> None:
        self.network = copy.deepcopy(network)
        self.trainer = Trainer(
            self.network, loss=loss, backend="python", precision="float64", n_threads=1
        )
        self.x, self.y = x, y

    def loss_at(self, index: int, value: float) -> float:
        """Return the loss with the parameter at the flat `index` set to `value`."""
        kept = self.network.parameters[index]
        self.network.parameters[index] = value
        try:
            return self.trainer.evaluate(self.x, self.y).loss
        finally:
            self.network.parameters[index] = kept

    def slope(self, index: int, step: float = STEP) -> float:
        """Return the derivative of the loss by the parameter at the flat `index`."""
        value = float(self.network.parameters[index])
        return (self.loss_at(index, value + step) - self.loss_at(index, value - step)) / (2 * step)

    def all_slopes(self, layer_inputs: list[NDArray[Any]]) -> NDArray[np.float64]:
        """Return the derivative by every parameter, (n_parameters,).

        `layer_inputs` holds what each layer takes, (fan_in,): the larger the input that a weight
        multiplies, the smaller its step, so that every z moves by about the same.
        """
        steps = np.full(self.network.n_parameters, STEP)
        for (weights, _), inputs, (_, fan_out) in zip(
            self.network.slices, layer_inputs, self.network.shapes, strict=True
        ):
            steps[weights] /= np.repeat(np.maximum(1.0, np.abs(inputs)), fan_out)
        return np.array([self.slope(index, step) for index, step in enumerate(steps)])


def relative_differences(
    gradient: NDArray[Any], measured: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return |gradient - measured| over the larger of the two, (n_parameters,).

    What is divided by is at least 1e-3, and at least a thousandth of the largest derivative:
    below that a measured zero is only rounding.
    """
    size = np.maximum(np.abs(gradient), np.abs(measured))
    floor = max(1e-3, 1e-3 * float(size.max()))
    return np.asarray(np.abs(gradient - measured) / np.maximum(size, floor), np.float64)


def has_kink_at_zero(activation: str) -> bool:
    """Whether the slope of an activation jumps at z = 0, as relu's does."""
    if activation not in ACTIVATIONS:
        return False
    formula, near = ACTIVATIONS[activation], 1e-9
    left, right = (
        formula.derivative(z if formula.derivative_input == "z" else formula.value(z))
        for z in (-near, near)
    )
    return abs(left - right) > 1e-3
