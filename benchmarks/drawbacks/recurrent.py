"""Recurrent networks from scratch: the plain RNN and the LSTM, by backpropagation through time.

Sequences are (rows, steps, features), of any number of steps. The same weights are used at every
step, so that the number of parameters does not depend on the length. A layer returns its state
after the last step, (rows, units).
"""

from __future__ import annotations

import numpy as np

from fastmlp.initializers import INITIALIZERS
from fastmlp.kernels.contract import Array

from .model import Dense, Layer, Model


class PlainRecurrent(Layer):
    """h_t = tanh(x_t @ w + h_(t-1) @ u + b) (Elman, 1990)."""

    def __init__(self, n_features: int, units: int) -> None:
        super().__init__()
        self.units = units
        self.shapes = {"w": (n_features, units), "u": (units, units), "b": (units,)}

    def initialize(self, random: np.random.Generator) -> None:
        self.parameters["w"][...] = INITIALIZERS["glorot"](random, *self.shapes["w"])
        # Orthogonal: at the start the state neither grows nor shrinks from step to step.
        self.parameters["u"][...] = np.linalg.qr(random.normal(size=self.shapes["u"]))[0]

    def forward(self, x: Array) -> Array:
        self.x = time_major(x)  # (steps, rows, features)
        steps, rows, _ = self.x.shape
        u = self.parameters["u"]
        z = self.x @ self.parameters["w"] + self.parameters["b"]  # (steps, rows, units)
        self.h = np.zeros((steps + 1, rows, self.units), z.dtype)  # h[t] is the state before step t
        for t in range(steps):
            z[t] += self.h[t] @ u
            self.h[t + 1] = self.kernels.activation("tanh", z[t])
        return self.h[-1]

    def backward(self, dy: Array, needs_dx: bool) -> Array:
        u = self.parameters["u"]
        dz = np.empty_like(self.h[1:])
        # 1 - a^2 of all steps at once; z is not needed for it.
        slopes = self.kernels.activation_derivative("tanh", self.h[1:], self.h[1:])
        dh = dy
        for t in range(len(dz) - 1, -1, -1):
            dz[t] = dh * slopes[t]
            dh = dz[t] @ u.T
        return _collect(self, self.x, self.h[:-1], dz, needs_dx)


class LongShortTermMemory(Layer):
    """The LSTM (Hochreiter and Schmidhuber, 1997; forget gate of Gers et al., 2000).

    With z = x_t @ w + h_(t-1) @ u + b in four parts: input, forget and output gate
    i, f, o = sigmoid(z), candidate g = tanh(z); c_t = f c_(t-1) + i g; h_t = o tanh(c_t).
    """

    def __init__(self, n_features: int, units: int) -> None:
        super().__init__()
        self.units = units
        self.shapes = {"w": (n_features, 4 * units), "u": (units, 4 * units), "b": (4 * units,)}

    def initialize(self, random: np.random.Generator) -> None:
        for name in ("w", "u"):
            self.parameters[name][...] = INITIALIZERS["glorot"](random, *self.shapes[name])
        self.parameters["b"][self.units : 2 * self.units] = 1.0  # at first, remember

    def forward(self, x: Array) -> Array:
        self.x = time_major(x)  # (steps, rows, features)
        steps, rows, _ = self.x.shape
        units, u = self.units, self.parameters["u"]
        z = self.x @ self.parameters["w"] + self.parameters["b"]  # (steps, rows, 4 units)
        # gates[t] is i, f, o, g side by side; h[t] and c[t] are the states before step t.
        self.gates = np.empty_like(z)
        self.h = np.zeros((steps + 1, rows, units), z.dtype)
        self.c = np.zeros_like(self.h)
        self.tanh_c = np.empty((steps, rows, units), z.dtype)
        for t in range(steps):
            z[t] += self.h[t] @ u
            gates = self.gates[t]
            gates[:, : 3 * units] = self.kernels.activation("sigmoid", z[t, :, : 3 * units])
            gates[:, 3 * units :] = self.kernels.activation("tanh", z[t, :, 3 * units :])
            i, f, o, g = self._split(gates)
            self.c[t + 1] = f * self.c[t] + i * g
            self.tanh_c[t] = self.kernels.activation("tanh", self.c[t + 1])
            self.h[t + 1] = o * self.tanh_c[t]
        return self.h[-1]

    def backward(self, dy: Array, needs_dx: bool) -> Array:
        units, u = self.units, self.parameters["u"]
        slopes = np.empty_like(self.gates)  # f'(z) of every gate, for all steps at once
        for name, part in (("sigmoid", slice(0, 3 * units)), ("tanh", slice(3 * units, None))):
            values = self.gates[..., part]
            slopes[..., part] = self.kernels.activation_derivative(name, values, values)
        tanh_slopes = self.kernels.activation_derivative("tanh", self.tanh_c, self.tanh_c)
        dz = np.empty_like(self.gates)
        dh, dc = dy, np.zeros_like(dy)
        for t in range(len(dz) - 1, -1, -1):
            i, f, o, g = self._split(self.gates[t])
            dc = dc + dh * o * tanh_slopes[t]
            di, df, do, dg = self._split(dz[t])
            np.multiply(dc, g, out=di)
            np.multiply(dc, self.c[t], out=df)
            np.multiply(dh, self.tanh_c[t], out=do)
            np.multiply(dc, i, out=dg)
            dz[t] *= slopes[t]
            dh = dz[t] @ u.T
            dc = dc * f
        return _collect(self, self.x, self.h[:-1], dz, needs_dx)

    def _split(self, gates: Array) -> tuple[Array, Array, Array, Array]:
        """Return views of the four parts of (rows, 4 units)."""
        i, f, o, g = (gates[:, k * self.units : (k + 1) * self.units] for k in range(4))
        return i, f, o, g


def time_major(x: Array) -> Array:
    """Return sequences (rows, steps, features) as (steps, rows, features), contiguous."""
    return np.ascontiguousarray(x.transpose(1, 0, 2))


def _collect(layer: Layer, x: Array, h: Array, dz: Array, needs_dx: bool) -> Array:
    """Sum the weights' derivatives over all steps, in one product each.

    `x` is (steps, rows, features), `h` the states before each step (steps, rows, units), `dz`
    (steps, rows, width of z).
    """
    flat = dz.reshape(-1, dz.shape[2])
    np.matmul(x.reshape(-1, x.shape[2]).T, flat, out=layer.gradients["w"])
    np.matmul(h.reshape(-1, h.shape[2]).T, flat, out=layer.gradients["u"])
    np.sum(flat, axis=0, out=layer.gradients["b"])
    return (dz @ layer.parameters["w"].T).transpose(1, 0, 2) if needs_dx else dz


RECURRENT_LAYERS: dict[str, type[PlainRecurrent] | type[LongShortTermMemory]] = {
    "RNN": PlainRecurrent,
    "LSTM": LongShortTermMemory,
}


def recurrent_model(
    kind: str,
    n_features: int,
    units: int,
    n_outputs: int,
    *,
    loss: str,
    seed: int,
    dtype: str = "float32",
) -> Model:
    """Make a recurrent layer ("RNN" or "LSTM") with a dense layer on its last state."""
    layers = [RECURRENT_LAYERS[kind](n_features, units), Dense(units, n_outputs)]
    return Model(layers, loss, seed, dtype)
