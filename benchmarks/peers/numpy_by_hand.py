"""NumPy written by hand: float32, every result into memory that is kept, no copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..problem import Problem, Rows
from .peer import Model, Peer, flat

Array = NDArray[Any]


class _Buffers:
    """What a batch of `n_rows` rows is computed in."""

    def __init__(self, sizes: tuple[int, ...], n_rows: int) -> None:
        self.n_rows = n_rows
        self.a = [np.empty((n_rows, width), np.float32) for width in sizes]  # input, then layers
        self.dz = [np.empty((n_rows, width), np.float32) for width in sizes[1:]]
        self.slope = [np.empty((n_rows, width), np.float32) for width in sizes[1:-1]]
        self.column = np.empty((n_rows, 1), np.float32)
        self.targets = np.empty(n_rows, np.int64)
        self.numbers = np.arange(n_rows)


class NumpyModel(Model):
    """The network as lists of arrays; the loss itself is not needed to learn."""

    def __init__(self, problem: Problem, rows: Rows) -> None:
        super().__init__(problem, rows)
        self.buffers: dict[int, _Buffers] = {}
        self.reset()

    def load(self, weights: Sequence[Array], biases: Sequence[Array]) -> None:
        self.w = [w.astype(np.float32) for w in weights]
        self.b = [b.astype(np.float32) for b in biases]
        self.dw = [np.empty_like(w) for w in self.w]
        self.db = [np.empty_like(b) for b in self.b]

    def buffers_for(self, n_rows: int) -> _Buffers:
        """Return the memory for a batch."""
        if n_rows not in self.buffers:
            self.buffers[n_rows] = _Buffers(self.problem.sizes, n_rows)
        return self.buffers[n_rows]

    def train(self, order: NDArray[np.int64]) -> None:
        batch_size = self.problem.batch_size
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            buffers = self.buffers_for(len(rows))
            np.take(self.x, rows, axis=0, out=buffers.a[0], mode="clip")
            np.take(self.y, rows, out=buffers.targets, mode="clip")
            self.forward(buffers)
            self.backward(buffers)

    def forward(self, buffers: _Buffers) -> None:
        """Fill every a (rows, fan_out); the last one holds probabilities."""
        last = len(self.w) - 1
        for layer, (w, b) in enumerate(zip(self.w, self.b, strict=True)):
            a = buffers.a[layer + 1]
            np.matmul(buffers.a[layer], w, out=a)
            a += b
            if layer < last and self.problem.activation == "relu":
                np.maximum(a, 0.0, out=a)
            elif layer < last or self.is_binary:
                _sigmoid(a)
            else:
                _softmax(a, buffers.column)

    def backward(self, buffers: _Buffers) -> None:
        """Go back layer by layer: dw, db, then the layer before; then change the weights."""
        last = len(self.w) - 1
        dz = buffers.dz[last]
        np.copyto(dz, buffers.a[-1])
        dz[buffers.numbers, 0 if self.is_binary else buffers.targets] -= (
            buffers.targets if self.is_binary else 1.0
        )
        # The mean's factor and the learning rate go in once, where there is least to multiply.
        dz *= self.problem.learning_rate / buffers.n_rows
        for layer in range(last, -1, -1):
            a, dz = buffers.a[layer], buffers.dz[layer]
            np.matmul(a.T, dz, out=self.dw[layer])
            np.sum(dz, axis=0, out=self.db[layer])
            if layer > 0:
                da = buffers.dz[layer - 1]
                np.matmul(dz, self.w[layer].T, out=da)
                slope = buffers.slope[layer - 1]
                if self.problem.activation == "relu":
                    np.greater(a, 0.0, out=slope)
                else:
                    np.subtract(1.0, a, out=slope)
                    slope *= a
                da *= slope
            self.w[layer] -= self.dw[layer]
            self.b[layer] -= self.db[layer]

    def predict(self, x: NDArray[np.float32]) -> Array:
        a: Array = x
        for layer, (w, b) in enumerate(zip(self.w, self.b, strict=True)):
            a = a @ w
            a += b
            if layer < len(self.w) - 1 and self.problem.activation == "relu":
                np.maximum(a, 0.0, out=a)
            elif layer < len(self.w) - 1 or self.is_binary:
                _sigmoid(a)
            else:
                _softmax(a, np.empty((len(a), 1), np.float32))
        return a

    def parameters(self) -> Array:
        return flat(self.w, self.b)


def _sigmoid(z: Array) -> None:
    np.negative(z, out=z)
    np.clip(z, None, 80.0, out=z)  # beyond, exp overflows and the sigmoid is 0 all the same
    np.exp(z, out=z)
    z += 1.0
    np.reciprocal(z, out=z)


def _softmax(z: Array, column: Array) -> None:
    np.max(z, axis=1, keepdims=True, out=column)
    z -= column
    np.exp(z, out=z)
    np.sum(z, axis=1, keepdims=True, out=column)
    z /= column


class NumpyByHand(Peer):
    """What somebody who knows NumPy writes."""

    name = "numpy_by_hand"
    option = "numpy"
    title = "NumPy by hand"
    packages = ("numpy",)
    distributions = ("numpy",)

    def refuses_training(self, problem: Problem) -> str:
        known = ("relu", "sigmoid")
        return "" if problem.activation in known else f"{problem.activation} is not written"

    def model(self, problem: Problem, rows: Rows, n_threads: int) -> Model:
        return NumpyModel(problem, rows)
