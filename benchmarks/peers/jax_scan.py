"""JAX: a whole epoch in one `lax.scan`, compiled, the data on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..problem import Problem, Rows
from .peer import Model, Peer, flat

Parameters = list[tuple[Any, Any]]
"""Weights (fan_in, fan_out) and biases (fan_out,) of each layer."""

ACTIVATIONS = {
    "relu": "relu", "sigmoid": "sigmoid", "tanh": "tanh", "identity": "identity", "gelu": "gelu",
    "silu": "silu",
}  # fmt: skip


class JaxModel(Model):
    """The network as a function of its parameters."""

    def __init__(self, problem: Problem, rows: Rows) -> None:
        super().__init__(problem, rows)
        import jax

        self.jax = jax
        self.activation: Callable[[Any], Any] = getattr(jax.nn, ACTIVATIONS[problem.activation])
        self.x_device, self.y_device = jax.device_put(self.x), jax.device_put(self.y)
        self.forward = jax.jit(self.probabilities)
        # The parameters that come in are not needed again: they are changed in place.
        self.epoch = jax.jit(self.scan_epoch, donate_argnums=0)
        self.reset()

    def logits(self, parameters: Parameters, x: Any) -> Any:
        """Return the last layer's z (rows, n_outputs)."""
        for w, b in parameters[:-1]:
            x = self.activation(x @ w + b)
        w, b = parameters[-1]
        return x @ w + b

    def probabilities(self, parameters: Parameters, x: Any) -> Any:
        """Return the outputs (rows, n_outputs)."""
        z = self.logits(parameters, x)
        return self.jax.nn.sigmoid(z) if self.is_binary else self.jax.nn.softmax(z)

    def mean_loss(self, parameters: Parameters, x: Any, y: Any) -> Any:
        """Return the mean loss of a batch."""
        z = self.logits(parameters, x)
        if self.is_binary:
            return (self.jax.nn.softplus(z[:, 0]) - y * z[:, 0]).mean()
        log_p = self.jax.nn.log_softmax(z)
        return -self.jax.numpy.take_along_axis(log_p, y[:, None], axis=1).mean()

    def step(self, parameters: Parameters, rows: Any, x: Any, y: Any) -> Parameters:
        """Return the parameters after the batch of these rows (batch,)."""
        gradients = self.jax.grad(self.mean_loss)(parameters, x[rows], y[rows])
        rate = self.problem.learning_rate
        return self.jax.tree.map(lambda p, g: p - rate * g, parameters, gradients)  # type: ignore[no-any-return]

    def scan_epoch(self, parameters: Parameters, order: Any, x: Any, y: Any) -> Parameters:
        """Return the parameters after all rows in this order."""
        batch = min(self.problem.batch_size, len(order))
        n_whole = len(order) // batch * batch
        batches = order[:n_whole].reshape(-1, batch)
        parameters, _ = self.jax.lax.scan(
            lambda state, rows: (self.step(state, rows, x, y), None), parameters, batches
        )
        if n_whole < len(order):
            parameters = self.step(parameters, order[n_whole:], x, y)
        return parameters

    def load(self, weights: Sequence[NDArray[Any]], biases: Sequence[NDArray[Any]]) -> None:
        # A copy: JAX may otherwise work on the memory of the arrays that it is given.
        put = self.jax.numpy.array
        self.state = [(put(w), put(b)) for w, b in zip(weights, biases, strict=True)]

    def train(self, order: NDArray[np.int64]) -> None:
        self.state = self.epoch(self.state, order, self.x_device, self.y_device)
        self.jax.block_until_ready(self.state)

    def warm_up(self, n_rows: int) -> None:
        self.train(np.arange(n_rows))  # it compiles for the number of batches
        self.reset()

    def predict(self, x: NDArray[np.float32]) -> NDArray[Any]:
        return np.asarray(self.forward(self.state, x))

    def parameters(self) -> NDArray[Any]:
        return flat([np.asarray(w) for w, _ in self.state], [np.asarray(b) for _, b in self.state])


class JaxScan(Peer):
    """JAX, an epoch per call."""

    name = "jax_scan"
    option = "jax"
    title = "JAX, epoch in one scan"
    packages = ("jax",)
    distributions = ("jax",)

    def environment(self, n_threads: int) -> dict[str, str]:
        # XLA sizes its pool by the CPUs it sees, or by this variable.
        return {"JAX_PLATFORMS": "cpu", "NPROC": str(n_threads)}

    def refuses_training(self, problem: Problem) -> str:
        known = problem.activation in ACTIVATIONS
        return "" if known else f"no function is listed for {problem.activation}"

    def model(self, problem: Problem, rows: Rows, n_threads: int) -> Model:
        return JaxModel(problem, rows)
