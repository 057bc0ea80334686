"""PyTorch in eager mode: kept batches, `index_select`, one fused step of SGD."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..problem import Problem, Rows
from .peer import Model, Peer, flat

ACTIVATIONS = {
    "relu": "ReLU", "sigmoid": "Sigmoid", "tanh": "Tanh", "identity": "Identity", "gelu": "GELU",
    "silu": "SiLU",
}  # fmt: skip


class TorchModel(Model):
    """A Sequential of Linear layers.

    Parameters
    ----------
    compiled : bool
        Compile the network and its loss with torch.compile.
    bfloat16 : bool
        Run the forward pass under autocast to bfloat16.
    """

    def __init__(
        self,
        problem: Problem,
        rows: Rows,
        n_threads: int,
        *,
        compiled: bool = False,
        bfloat16: bool = False,
    ) -> None:
        super().__init__(problem, rows)
        import torch

        self.torch = torch
        self.bfloat16 = bfloat16
        torch.set_num_threads(n_threads)
        layers: list[Any] = []
        for index, (fan_in, fan_out) in enumerate(problem.network().shapes):
            if index:
                layers.append(getattr(torch.nn, ACTIVATIONS[problem.activation])())
            layers.append(torch.nn.Linear(fan_in, fan_out))
        self.module = torch.nn.Sequential(*layers)
        self.linears = layers[::2]
        # The rows may come from a file that is mapped read-only: torch wants to own them.
        self.x_tensor = torch.from_numpy(self.x)
        targets = self.y.astype(np.float32)[:, None] if self.is_binary else self.y.copy()
        self.y_tensor = torch.from_numpy(targets)
        self.optimizer = torch.optim.SGD(
            self.module.parameters(), lr=problem.learning_rate, fused=True
        )
        self.loss: Callable[[Any, Any], Any] = self.mean_loss
        if compiled:
            self.loss = torch.compile(self.mean_loss, dynamic=False)
        self.reset()

    def autocast(self) -> Any:
        """Return the context that the forward pass runs in."""
        torch = self.torch
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16)

    def mean_loss(self, x: Any, y: Any) -> Any:
        """Return the mean loss of a batch, from logits."""
        functional = self.torch.nn.functional
        with self.autocast():
            z = self.module(x)
            if self.is_binary:
                return functional.binary_cross_entropy_with_logits(z, y)
            return functional.cross_entropy(z, y)

    def probabilities(self, x: Any) -> Any:
        """Return the outputs (rows, n_outputs)."""
        with self.autocast():
            z = self.module(x)
            return self.torch.sigmoid(z) if self.is_binary else self.torch.softmax(z, dim=1)

    def load(self, weights: Sequence[NDArray[Any]], biases: Sequence[NDArray[Any]]) -> None:
        torch = self.torch
        with torch.no_grad():
            for linear, w, b in zip(self.linears, weights, biases, strict=True):
                linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(w.T)))
                linear.bias.copy_(torch.from_numpy(b.copy()))

    def train(self, order: NDArray[np.int64]) -> None:
        torch, batch_size, optimizer = self.torch, self.problem.batch_size, self.optimizer
        rows = torch.from_numpy(order)
        x = torch.empty((min(batch_size, len(order)), self.x.shape[1]))
        for batch in rows.split(batch_size):
            if len(batch) == len(x):
                torch.index_select(self.x_tensor, 0, batch, out=x)
                taken = x
            else:
                taken = self.x_tensor.index_select(0, batch)
            optimizer.zero_grad(set_to_none=True)
            self.loss(taken, self.y_tensor.index_select(0, batch)).backward()
            optimizer.step()

    def predict(self, x: NDArray[np.float32]) -> NDArray[Any]:
        with self.torch.inference_mode():
            found: NDArray[Any] = self.probabilities(self.torch.from_numpy(x)).float().numpy()
        return found

    def parameters(self) -> NDArray[Any]:
        weights = [linear.weight.detach().numpy().T for linear in self.linears]
        return flat(weights, [linear.bias.detach().numpy() for linear in self.linears])


class TorchEager(Peer):
    """PyTorch as most people run it."""

    name = "torch_eager"
    option = "torch"
    title = "PyTorch eager"
    packages = ("torch",)
    distributions = ("torch",)

    def refuses_training(self, problem: Problem) -> str:
        known = problem.activation in ACTIVATIONS
        return "" if known else f"no module is listed for {problem.activation}"

    def model(self, problem: Problem, rows: Rows, n_threads: int) -> Model:
        return TorchModel(problem, rows, n_threads)
