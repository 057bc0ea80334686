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
    `coefficients` are the optimizer's of the batch, `adjustments` those of the adjusted gradient.
    """

    loss_sum: float
    coefficients: list[float]
    adjustments: list[float]
    dropout_keys: list[int] | None = None
    """Of the batch, per layer; None if this is not training: then nothing is dropped."""
    predicts: bool = False
    """Whether batches are normalised by the running statistics."""

    def run(self, steps: Sequence[Step]) -> None:
        """Do the steps in order."""
        for step in steps:
            if self.dropout_keys is not None or not step.operation.startswith("dropout"):
                getattr(self, step.operation)(self.plan.layers[step.layer])

    def train(
        self,
        x: Array,
        targets: Array,
        sample_weight: Array | None,
        order: Array,
        coefficients: Array,
        dropout_keys: Array | None = None,
        *,
        stays_packed: bool = False,
        is_part: bool = False,
    ) -> Sequence[float]:
        losses: list[float] = []
        batch_size, n_coefficients = self.plan.batch_size, self.plan.n_coefficients
        self.load_parameters()
        self.predicts = False
        try:
            for batch, coefficient_row in enumerate(coefficients.tolist()):
                rows = order[batch * batch_size : (batch + 1) * batch_size]
                self.bind(x, targets, sample_weight, rows)
                self.coefficients = coefficient_row[:n_coefficients]
                self.adjustments = coefficient_row[n_coefficients:]
                if dropout_keys is not None:
                    self.dropout_keys = dropout_keys[batch].tolist()
                self.run(self.plan.forward)
                self.run(self.plan.backward[:1])  # the loss
                losses.append(self.loss_sum)
                if not math.isfinite(self.loss_sum):
                    break
                self.run(self.plan.backward[1:])
                self.run(self.plan.update)
        finally:  # after Ctrl-C too: what is predicted then is not training
            self.dropout_keys = None
        self.store_parameters()
        return losses

    def gradients(self, x: Array, targets: Array, sample_weight: Array | None) -> Gradients:
        self.load_parameters()
        self.predicts = False
        self.bind(x, targets, sample_weight, range(len(x)))
        self.run(self.plan.forward + self.plan.output + self.plan.backward)
        return self.collect_gradients()

    def predict(self, x: Array, out: Array) -> bool:
        self.load_parameters()
        self.predicts, finite = True, True
        for start, stop in self.row_blocks(len(x)):
            self.bind(x, None, None, range(start, stop))
            self.run(self.plan.forward + self.plan.output)
            finite = finite and self.inputs_are_finite()
            self.write_output(out, start, stop)
        return finite

    def evaluate(self, x: Array, targets: Array, sample_weight: Array | None, out: Array) -> float:
        self.load_parameters()
        self.predicts, total = True, 0.0
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
    def inputs_are_finite(self) -> bool:
        """Return whether all gathered inputs are."""

    @abstractmethod
    def write_output(self, out: Array, start: int, stop: int) -> None:
        """Write the output activation of the last batch to ``out[start:stop]``."""

    @abstractmethod
    def gather(self, layer: Layer) -> None:
        """Copy the batch's rows of x, scaled, into the input buffer (rows, n_inputs)."""

    @abstractmethod
    def dropout(self, layer: Layer) -> None:
        """Leave out some of the layer's inputs and scale the others."""

    @abstractmethod
    def weighted_sum(self, layer: Layer) -> None:
        """Compute z = a_in @ w + b; without b if z is to be normalised."""

    @abstractmethod
    def normalization(self, layer: Layer) -> None:
        """Compute what the activation takes, instead of z: gamma * normalised z + beta."""

    @abstractmethod
    def activation(self, layer: Layer) -> None:
        """Compute a = f(z), or f of what `normalization` made of it."""

    @abstractmethod
    def loss(self, layer: Layer) -> None:
        """Set loss_sum and the slope: dz if the loss is merged with the output, else da."""

    @abstractmethod
    def activation_slope(self, layer: Layer) -> None:
        """Compute dz = da * f'(z), the slope of what the activation took."""

    @abstractmethod
    def normalization_slope(self, layer: Layer) -> None:
        """Compute db (of beta) and dgamma, and turn dz, of what f took, into that of z."""

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
    def dropout_slope(self, layer: Layer) -> None:
        """Make da of the layer before that of its activation before `dropout`."""

    @abstractmethod
    def adjust_gradient(self, layer: Layer) -> None:
        """Add the penalty's gradient to dw, and limit dw, db and dgamma."""

    @abstractmethod
    def clip_norm(self, layer: Layer) -> None:
        """Scale the gradient of all layers to at most the plan's norm (the layer says nothing)."""

    @abstractmethod
    def update(self, layer: Layer) -> None:
        """Change w, b, gamma and the optimizer's state of this layer."""

    @abstractmethod
    def update_matrix(self, layer: Layer) -> None:
        """Change w as a matrix (see ``formulas.MatrixUpdate``), b and gamma as `update` does."""

    @abstractmethod
    def limit_norm(self, layer: Layer) -> None:
        """Scale each column of w to at most the plan's norm."""

    @abstractmethod
    def running_statistics(self, layer: Layer) -> None:
        """Bring the running means and variances up to date, if the batch has more than one row."""
