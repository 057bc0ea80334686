"""The plain loop over a plan's steps, which the `python` and the `numpy` backend share.

A subclass supplies one method per operation (see `contract.Operation`), each taking the layer.
What an engine does to a batch is exactly what these methods say, in the order of the plan's
steps; faster engines fuse them but compute the same.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

from .contract import Array, Engine, Gradients, Layer, Step


class StepEngine(Engine):
    """Runs batches step by step; holds the batch in `x`, `targets`, `weights` and lists per layer.

    `row_factors` are what each row's loss counts for: 1 / rows, or its share of the weights.
    """

    loss_sum: float

    def run(self, steps: Sequence[Step]) -> None:
        """Do the steps in order."""
        for step in steps:
            getattr(self, step.operation)(self.plan.layers[step.layer])

    def train(
        self,
        x: Array,
        targets: Array,
        sample_weight: Array | None,
        order: Array,
        coefficients: Array,
    ) -> Sequence[float]:
        losses: list[float] = []
        batch_size = self.plan.batch_size
        self.load_parameters()
        for batch, coefficient_row in enumerate(coefficients.tolist()):
            rows = order[batch * batch_size : (batch + 1) * batch_size]
            self.bind(x, targets, sample_weight, rows)
            self.coefficients = coefficient_row
            self.run(self.plan.forward)
            self.run(self.plan.backward[:1])  # the loss
            losses.append(self.loss_sum)
            if not math.isfinite(self.loss_sum):
                break
            self.run(self.plan.backward[1:])
            self.run(self.plan.update)
        self.store_parameters()
        return losses

    def gradients(self, x: Array, targets: Array, sample_weight: Array | None) -> Gradients:
        self.load_parameters()
        self.bind(x, targets, sample_weight, range(len(x)))
        self.run(self.plan.forward + self.plan.output + self.plan.backward)
        return self.collect_gradients()

    def predict(self, x: Array, out: Array) -> None:
        self.load_parameters()
        for start, stop in self.row_blocks(len(x)):
            self.bind(x, None, None, range(start, stop))
            self.run(self.plan.forward + self.plan.output)
            self.write_output(out, start, stop)

    def evaluate(self, x: Array, targets: Array, sample_weight: Array | None, out: Array) -> float:
        self.load_parameters()
        total = 0.0
        for start, stop in self.row_blocks(len(x)):
            self.bind(x, targets, sample_weight, range(start, stop))
            self.run(self.plan.forward)
            self.run(self.plan.backward[:1])  # the loss
            total += self.loss_sum
            self.run(self.plan.output)
            self.write_output(out, start, stop)
        return total

    def row_blocks(self, n_rows: int) -> list[tuple[int, int]]:
        """Cut the rows into blocks that keep the buffers small."""
        block = max(self.plan.batch_size, 256)
        return [(start, min(start + block, n_rows)) for start in range(0, n_rows, block)]

    @abstractmethod
    def load_parameters(self) -> None:
        """Read the flat parameter and state vectors before a call."""

    @abstractmethod
    def store_parameters(self) -> None:
        """Make the flat vectors true again after a call."""

    @abstractmethod
    def bind(
        self, x: Array, targets: Array | None, sample_weight: Array | None, rows: Sequence[int]
    ) -> None:
        """Take the targets, weights and row numbers of the next batch."""

    @abstractmethod
    def collect_gradients(self) -> Gradients:
        """Return copies of everything that the last batch computed."""

    @abstractmethod
    def write_output(self, out: Array, start: int, stop: int) -> None:
        """Write the output activation of the last batch to ``out[start:stop]``."""

    @abstractmethod
    def gather(self, layer: Layer) -> None:
        """Copy the batch's rows of x, scaled, into the input buffer (rows, n_inputs)."""

    @abstractmethod
    def weighted_sum(self, layer: Layer) -> None:
        """Compute z = a_in @ w + b."""

    @abstractmethod
    def activation(self, layer: Layer) -> None:
        """Compute a = f(z)."""

    @abstractmethod
    def loss(self, layer: Layer) -> None:
        """Set loss_sum and the slope: dz if the loss is merged with the output, else da."""

    @abstractmethod
    def activation_slope(self, layer: Layer) -> None:
        """Compute dz = da * f'(z)."""

    @abstractmethod
    def weight_gradient(self, layer: Layer) -> None:
        """Compute dw = a_in.T @ dz."""

    @abstractmethod
    def bias_gradient(self, layer: Layer) -> None:
        """Compute db, the sum of dz over the rows."""

    @abstractmethod
    def input_gradient(self, layer: Layer) -> None:
        """Compute da of the layer before: dz @ w.T."""

    @abstractmethod
    def update(self, layer: Layer) -> None:
        """Change w, b and the optimizer's state of this layer."""
