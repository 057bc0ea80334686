"""What the comparison subjects share: layers over one flat parameter vector, and their training.

The product of fastmlp is the multilayer perceptron. The networks here exist to be compared with
it, and use NumPy alone. Formulas (activations, losses, updates) are those of fastmlp itself, taken
from its numpy backend; memory is laid out as in `fastmlp.Network`: one vector, with views.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fastmlp.backend import get_backend
from fastmlp.initializers import INITIALIZERS
from fastmlp.kernels.contract import Array, Backend
from fastmlp.optimizers import Optimizer

Shape = tuple[int, ...]
BatchDone = Callable[[float], None]
"""Takes the share of the training that is done (0 to 1); called after each batch."""

ROWS_PER_PASS = 256
"""Rows that are evaluated at once: more would not be faster and need more memory."""


class Layer(ABC):
    """One step of a model; its first axis is always the rows.

    `shapes` names its parameters. The model hands it views of its flat vectors, `parameters` and
    `gradients`, by the same names.
    """

    shapes: dict[str, Shape]

    def __init__(self) -> None:
        self.shapes = {}
        self.parameters: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}
        self.kernels: Backend = get_backend("numpy")

    @abstractmethod
    def initialize(self, random: np.random.Generator) -> None:
        """Write initial values into `parameters`, which are zero."""

    @abstractmethod
    def forward(self, x: Array) -> Array:
        """Return the layer's output, and keep what `backward` needs."""

    @abstractmethod
    def backward(self, dy: Array, needs_dx: bool) -> Array:
        """Write dL/d(parameters) into `gradients`; return dL/dx (anything, if not `needs_dx`)."""


class Dense(Layer):
    """y = x @ w + b over flattened rows: the layer that a multilayer perceptron is made of."""

    def __init__(self, fan_in: int, fan_out: int, init: str = "glorot") -> None:
        super().__init__()
        self.shapes = {"w": (fan_in, fan_out), "b": (fan_out,)}
        self.init = init

    def initialize(self, random: np.random.Generator) -> None:
        self.parameters["w"][...] = INITIALIZERS[self.init](random, *self.shapes["w"])

    def forward(self, x: Array) -> Array:
        self.x_shape = x.shape
        self.x = x.reshape(len(x), -1)  # (rows, fan_in)
        return self.x @ self.parameters["w"] + self.parameters["b"]

    def backward(self, dy: Array, needs_dx: bool) -> Array:
        np.matmul(self.x.T, dy, out=self.gradients["w"])
        np.sum(dy, axis=0, out=self.gradients["b"])
        return (dy @ self.parameters["w"].T).reshape(self.x_shape) if needs_dx else dy


class Activation(Layer):
    """a = f(z), element by element, for any activation of fastmlp."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def initialize(self, random: np.random.Generator) -> None:
        """Nothing to do: there are no parameters."""

    def forward(self, x: Array) -> Array:
        self.z = x
        self.a = self.kernels.activation(self.name, x)
        return self.a

    def backward(self, dy: Array, needs_dx: bool) -> Array:
        return dy * self.kernels.activation_derivative(self.name, self.z, self.a)


class Model:
    """Layers one after the other, trained by minibatch gradient descent.

    Parameters
    ----------
    layers : sequence of Layer
        The last one's output is (rows, outputs).
    loss : {"categorical_cross_entropy", "squared_error"}
        A loss of fastmlp, of the last layer's output.
    seed : int
        Of the initial weights and of the order of the rows.
    dtype : {"float32", "float64"}, default "float32"

    Attributes
    ----------
    parameters, gradient : ndarray, shape (n_parameters,)
        Flat; the layers hold views of them.
    """

    def __init__(
        self, layers: Sequence[Layer], loss: str, seed: int, dtype: str = "float32"
    ) -> None:
        self.layers = list(layers)
        self.loss_name = loss
        self.dtype = dtype
        self.random = np.random.default_rng(seed)
        self.kernels: Backend = get_backend("numpy")
        sizes = [int(np.prod(s)) for layer in self.layers for s in layer.shapes.values()]
        self.parameters: NDArray[np.floating] = np.zeros(sum(sizes), dtype)
        self.gradient: NDArray[np.floating] = np.zeros(sum(sizes), dtype)
        start = 0
        for layer in self.layers:
            for name, shape in layer.shapes.items():
                part = slice(start, start + int(np.prod(shape)))
                layer.parameters[name] = self.parameters[part].reshape(shape)
                layer.gradients[name] = self.gradient[part].reshape(shape)
                start = part.stop
            layer.initialize(self.random)

    @property
    def n_parameters(self) -> int:
        """How many weights and biases there are."""
        return len(self.parameters)

    def forward(self, x: Array) -> Array:
        """Return the outputs (rows, outputs): logits of classes, or values."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def outputs(self, x: Array) -> Array:
        """Return the outputs for any number of rows, a part of them at a time."""
        starts = range(0, len(x), ROWS_PER_PASS)
        return np.concatenate([self.forward(x[start : start + ROWS_PER_PASS]) for start in starts])

    def loss_and_gradient(self, x: Array, targets: Array) -> float:
        """Return the mean loss of the rows and write its derivative into `gradient`.

        `targets` is (rows, outputs): one-hot rows for classes.
        """
        losses, slopes = self.kernels.loss(self.loss_name, self.forward(x), targets)
        slopes = slopes / len(x)
        for index in range(len(self.layers) - 1, -1, -1):
            slopes = self.layers[index].backward(slopes, needs_dx=index > 0)
        return float(losses.mean())

    def fit(
        self,
        groups: Sequence[tuple[Array, Array]],
        *,
        epochs: int,
        batch_size: int,
        optimizer: Optimizer,
        largest_norm: float | None = None,
        batch_done: BatchDone | None = None,
    ) -> list[float]:
        """Train; return the mean loss of each epoch's batches.

        Parameters
        ----------
        groups : sequence of (x, targets)
            x is (rows, ...) and targets (rows, outputs). A batch is of one group: sequences of
            different lengths are different groups.
        epochs, batch_size : int
        optimizer : fastmlp.optimizers.Optimizer
        largest_norm : float, optional
            A longer gradient is shortened to it: gradients through many time steps can explode
            (Pascanu et al., 2013).
        batch_done : callable, optional
        """
        n_batches = sum(-(-len(x) // batch_size) for x, _ in groups)
        coefficients = optimizer.coefficients(1, epochs * n_batches).tolist()
        state = np.zeros((len(optimizer.formula.states), self.n_parameters), self.dtype)
        history, step = [], 0
        for _ in range(epochs):
            losses = []
            for group, rows in self._shuffled_batches(groups, batch_size):
                x, targets = groups[group]
                losses.append(self.loss_and_gradient(x[rows], targets[rows]))
                if largest_norm is not None:
                    norm = float(np.sqrt(np.dot(self.gradient, self.gradient)))
                    self.gradient *= min(1.0, largest_norm / max(norm, 1e-12))
                self.kernels.update(
                    optimizer.formula_name,
                    self.parameters,
                    self.gradient,
                    state,
                    coefficients[step],
                )
                step += 1
                if batch_done is not None:
                    batch_done(step / len(coefficients))
            history.append(float(np.mean(losses)))
        return history

    def _shuffled_batches(
        self, groups: Sequence[tuple[Array, Array]], batch_size: int
    ) -> list[tuple[int, Array]]:
        """Return (group, rows) of every batch of an epoch, in random order."""
        batches = []
        for group, (x, _) in enumerate(groups):
            order = self.random.permutation(len(x))
            starts = range(0, len(x), batch_size)
            batches += [(group, order[start : start + batch_size]) for start in starts]
        return [batches[index] for index in self.random.permutation(len(batches))]
