"""Prediction in int8: what a layer is then, and the NumPy reference of its engines.

With w the weights in int8, q the inputs in uint8, and the inputs' zero point (the step that stands
for 0), a layer computes

    sum = (q - zero_point) @ w                         exact, in int32
    z = formulas.dequantized(sum, factors, biases)     float32
    a = f(z)                                           float32

and hands ``formulas.quantized(a, ...)`` on, by the steps of the next layer; the last one hands on
a. So each backend and each instruction set gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import formulas
from .contract import Array
from .numpy_backend import compile_formulas

LARGEST_STEP, LARGEST_WEIGHT = 255, 127
MOST_INPUTS = (2**31 - 1) // (2 * LARGEST_STEP * LARGEST_WEIGHT)
"""A layer of more could overflow int32: its sums, and what the zero point takes off them."""

ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Int8Layer:
    """One layer of a quantized network.

    Attributes
    ----------
    weights : ndarray, shape (fan_in, fan_out), int8
        From -127 to 127.
    factors : ndarray, shape (fan_out,), float32
        What 1 of a sum stands for: a step of the inputs times a step of the output's weights.
    biases : ndarray, shape (fan_out,), float32
    activation : str
    step : float
        How large a step of the inputs is, before the network's `input_scale` for its inputs.
    zero_point : int
        Which of the steps 0 to 255 stands for 0.
    """

    weights: Array
    factors: Array
    biases: Array
    activation: str
    step: float
    zero_point: int

    @property
    def steps_per_unit(self) -> float:
        """What the inputs are multiplied by, a float32."""
        return float(np.float32(1.0 / self.step))

    @property
    def start(self) -> Array:
        """What the sum over q alone has to start from, (fan_out,) int32."""
        return -self.zero_point * self.weights.sum(axis=0, dtype=np.int32)

    @property
    def n_bytes(self) -> int:
        """How much memory the layer takes: weights, factors and biases."""
        return int(self.weights.nbytes + self.factors.nbytes + self.biases.nbytes)


class Int8Reference:
    """Predicts with NumPy; what every engine for int8 does, bit by bit.

    Parameters
    ----------
    layers : sequence of Int8Layer
    """

    def __init__(self, layers: Sequence[Int8Layer]) -> None:
        self.layers = list(layers)
        self.formulas = compile_formulas("float32")
        # Products of integers up to 2^53 are exact in float64, and there BLAS multiplies them.
        self.weights = [layer.weights.astype(np.float64) for layer in self.layers]

    def predict(self, x: Array, out: Array) -> bool:
        """Write the outputs for all rows of `x` to `out` (rows, n_outputs), float32.

        `x` is (rows, n_inputs) of float32, float64 or uint8. Returns whether all of it is finite in
        float32; what is not counts as the lowest step or the highest one.
        """
        finite = True
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(x), ROWS_AT_ONCE):
                rows = slice(start, start + ROWS_AT_ONCE)
                a = x[rows].astype(np.float32)
                finite = finite and bool(np.isfinite(a).all())
                for layer, weights in zip(self.layers, self.weights, strict=True):
                    a = self.activation(layer, self.weighted_sum(layer, weights, a))
                out[rows] = a
        return finite

    def weighted_sum(self, layer: Int8Layer, weights: Array, a: Array) -> Array:
        """Return z (rows, fan_out) of the layer's inputs (rows, fan_in), float32."""
        steps = self.formulas["quantized"](
            a, np.float32(layer.steps_per_unit), np.float32(layer.zero_point)
        )
        sums = (steps.astype(np.float64) - layer.zero_point) @ weights
        # Through int32: a sum is rounded to float32 only once either way, but -0 is none.
        sums = sums.astype(np.int32).astype(np.float32)
        return self.formulas["dequantized"](sums, layer.factors, layer.biases)

    def activation(self, layer: Int8Layer, z: Array) -> Array:
        """Return f(z); a softmax sums up in the order of the outputs, as the compiled ones do."""
        if layer.activation != "softmax":
            return self.formulas[formulas.ACTIVATIONS[layer.activation].value.__name__](z)
        exponentials = self.formulas["exp"](z - z.max(axis=1, keepdims=True))
        totals = np.add.accumulate(exponentials, axis=1, dtype=np.float32)[:, -1:]
        return exponentials / totals
