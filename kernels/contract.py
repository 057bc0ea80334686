"""What a backend is handed (a `Plan`) and what it hands back (an `Engine`).

Plain data and two abstract classes. The library fills in a Plan (fastmlp/plan.py checks
everything first), picks a `Backend` and asks it for an Engine. Nothing here computes.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .isa_cap import CAPS

Array = Any  # NumPy's ndarray; the reference backend gets by with the standard library

Operation = Literal[
    "gather",
    "dropout",
    "weighted_sum",
    "normalization",
    "activation",
    "loss",
    "activation_slope",
    "normalization_slope",
    "weight_gradient",
    "bias_gradient",
    "input_gradient",
    "dropout_slope",
    "adjust_gradient",
    "clip_norm",
    "update",
    "update_matrix",
    "limit_norm",
    "running_statistics",
]

Normalization = Literal["batch", "layer"]

PRECISIONS = {"float32": "float32", "float64": "float64", "bfloat16": "float32"}
"""Each precision, with the type of its parameters, gradients, states and targets."""

N_ADJUSTMENTS = 3
"""The coefficients that `formulas.adjusted_gradient` takes: l1, l2 and the limit."""


def groups_of(sizes: Sequence[int]) -> tuple[slice, ...]:
    """Return where groups of such sizes lie, one after the other."""
    ends = list(itertools.accumulate(sizes))
    return tuple(map(slice, [0, *ends[:-1]], ends))


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: z = a_in @ w + b, a = f(z), with w (fan_in, fan_out) and b (fan_out,).

    Or, with a normalisation, z = a_in @ w and a = f(gamma x + b): x is z less its mean, by the root
    of its variance, both of a unit's column in the batch or of a row; gamma is (fan_out,).

    `weights`, `biases` and `gamma` are where they lie in the flat parameter vector, one after the
    other (w row by row); `statistics` is where the running means (fan_out,) and then the running
    variances of a batch normalisation lie in the vector of statistics. Empty where there are none.
    """

    index: int
    fan_in: int
    fan_out: int
    activation: str
    weights: slice
    biases: slice
    normalization: Normalization | None
    gamma: slice
    statistics: slice

    @property
    def parameters(self) -> slice:
        """Where all of its parameters lie."""
        return slice(self.weights.start, self.gamma.stop)

    @property
    def vectors(self) -> slice:
        """Where those besides its weights lie."""
        return slice(self.biases.start, self.gamma.stop)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a batch: what is done, and for which layer."""

    operation: Operation
    layer: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A network with its loss, optimizer, batch size, precision and threads; checked.

    Attributes
    ----------
    layers : tuple of Layer
    loss : str
        A name in ``formulas.LOSSES``.
    loss_parameters : tuple of tuple of float, (n_parameters, n_outputs)
        What the loss takes after z and y, for each output.
    outputs_per_target : int
        Each target stands for so many outputs, one after the other (quantiles of the same value).
    loss_is_merged : bool
        Whether the loss takes the last layer's z (its output activation is merged in); otherwise
        it takes the last layer's a, and the way back goes through that activation.
    targets_are_labels : bool
        Targets are class numbers, int32: (rows,), or (rows, groups) of several groups; otherwise
        values (rows, n_outputs).
    group_sizes : tuple of int
        How many outputs each softmax takes, one after the other, n_outputs in all: each group is a
        softmax and a loss by itself, and class numbers count from 0 in each. One group as a rule.
    optimizer : str
        A name in ``formulas.OPTIMIZERS``.
    n_states, n_coefficients : int
        How many state vectors the optimizer keeps, how many coefficients its steps take in all.
    dropout : tuple of float
        Per layer, the share of its inputs (of the network's inputs for the first) that training
        leaves out of each row; the others are multiplied by 1 / (1 - share). 0 for none.
    adjusts_gradient : bool
        Whether the gradient goes through ``formulas.adjusted_gradient`` before the update, with
        N_ADJUSTMENTS more coefficients after the optimizer's; biases have no penalty.
    clip_norm : float
        The whole gradient, as adjusted, is scaled down to at most this Euclidean norm; or infinity.
    max_norm : float
        After each update the weights into each unit are scaled down to it; or infinity.
    batch_size : int
        Rows of a batch; the last one of an epoch may be smaller.
    precision : {"float32", "float64", "bfloat16"}
        "bfloat16": what the three products of a layer take (inputs once scaled and dropped,
        weights, slopes) is rounded to bfloat16, to nearest with ties to even; its products are
        summed up in float32, and all else is float32.
    n_threads : int
    input_center, input_scale : tuple of float
        What ``formulas.scaled_input`` takes after x when rows are gathered: one number for all
        inputs, or one per input, (n_inputs,); of both alike.
    n_parameters : int
    forward, output, backward, update : tuple of Step
        The steps of one batch in order. `forward` ends with what the loss takes; `output` makes the
        network's output of it (nothing, if the loss takes the output); `backward` starts with the
        loss; `update` takes the gradient to the new parameters. Steps of dropout are for training
        alone: elsewhere they do nothing. Predictions normalise batches by the running statistics.
    """

    layers: tuple[Layer, ...]
    loss: str
    loss_is_merged: bool
    targets_are_labels: bool
    optimizer: str
    n_states: int
    n_coefficients: int
    dropout: tuple[float, ...]
    adjusts_gradient: bool
    clip_norm: float
    max_norm: float
    batch_size: int
    precision: str
    n_threads: int
    input_center: tuple[float, ...]
    input_scale: tuple[float, ...]
    n_parameters: int
    forward: tuple[Step, ...]
    output: tuple[Step, ...]
    backward: tuple[Step, ...]
    update: tuple[Step, ...]
    loss_parameters: tuple[tuple[float, ...], ...] = ()
    outputs_per_target: int = 1
    group_sizes: tuple[int, ...] = ()

    @property
    def groups(self) -> tuple[slice, ...]:
        """Which outputs each softmax takes."""
        return groups_of(self.group_sizes)

    @property
    def dtype(self) -> str:
        """The type of the parameters, gradients, states and targets."""
        return PRECISIONS[self.precision]

    @property
    def n_inputs(self) -> int:
        """The width of the input."""
        return self.layers[0].fan_in

    @property
    def n_outputs(self) -> int:
        """The width of the output."""
        return self.layers[-1].fan_out

    @property
    def needs_whole_gradient(self) -> bool:
        """Whether the update must wait until the gradients of all layers are known."""
        return min(self.clip_norm, self.max_norm) < math.inf or bool(self.matrix_layers)

    @property
    def matrix_layers(self) -> tuple[int, ...]:
        """The layers whose weights the optimizer updates as a matrix (see `MatrixUpdate`)."""
        return tuple(step.layer for step in self.update if step.operation == "update_matrix")

    @property
    def n_statistics(self) -> int:
        """How many running means and variances there are."""
        return int(self.layers[-1].statistics.stop)


@dataclass(slots=True)
class Gradients:
    """Everything that one pass forward and back computes, for one batch of rows.

    Attributes
    ----------
    loss : float
        The (weighted) mean loss of the rows.
    dw, db : list of ndarray
        Per layer: dL/dw (fan_in, fan_out) and dL/db (fan_out,).
    z, a, dz : list of ndarray
        Per layer, (rows, fan_out): weighted sum, activation, dL/dz. `dz` is that of the mean loss.
    dgamma : list of ndarray
        Per layer, (fan_out,); empty arrays where nothing is normalised.
    """

    loss: float
    dw: list[Array]
    db: list[Array]
    z: list[Array] = field(default_factory=list)
    a: list[Array] = field(default_factory=list)
    dz: list[Array] = field(default_factory=list)
    dgamma: list[Array] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SparseMatrix:
    """Features in compressed rows (CSR), for a backend that `reads_sparse`.

    Row r has the values ``values[starts[r] : starts[r + 1]]`` in the columns of the same places.

    Attributes
    ----------
    starts : ndarray, shape (rows + 1,), int64
    columns : ndarray, shape (stored,), int32
    values : ndarray, shape (stored,), the plan's precision
    """

    starts: Array
    columns: Array
    values: Array

    def __len__(self) -> int:
        return len(self.starts) - 1


class Engine(ABC):
    """A Plan bound to memory.

    The calls are coarse: many batches each. `parameters` (n_parameters,), `state`
    (n_states, n_parameters) and `statistics` (n_statistics,) are the caller's own arrays, of the
    plan's dtype: they are changed in place and are true whenever a call returns (but see
    `unpack`). `x` is
    (rows, n_inputs) of float32, float64 or uint8, of any strides, or a `SparseMatrix` if the
    backend reads one (and the plan's inputs have no center, for zeros to stay zeros); `targets` is
    (rows,) or (rows, groups) int32, or (rows, n_outputs) of the plan's dtype; `sample_weight` is
    (rows,) of the plan's dtype, or None. The caller has checked all of it.
    """

    is_packed = False
    """Whether `unpack` has something to do."""

    def __init__(self, plan: Plan, parameters: Array, state: Array, statistics: Array) -> None:
        self.plan = plan
        self.parameters = parameters
        self.state = state
        self.statistics = statistics

    @abstractmethod
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
        """Train on the rows that `order` (int64) lists, batch after batch.

        `coefficients` (n_batches, n_coefficients) float64 holds the optimizer's numbers per batch,
        and then, if the plan adjusts the gradient, those of the adjustment. `dropout_keys`
        (n_batches, n_layers) int64 are what ``formulas.dropout_bits`` takes; needed for dropout.
        Returns the sum of the (weighted) losses of the rows of each batch, before its update. Stops
        after a batch whose loss is not finite, without updating: then fewer sums come back than
        there are batches, and the last one is not finite. With `stays_packed` the caller promises
        that nobody looks at the arrays, and nothing else is called, before the next `train` or
        `unpack`: then an engine need not write to them. `is_part` says that `x` has the rows of
        this call alone: an engine must not choose anything by them that changes bits.
        """

    def unpack(self) -> None:  # noqa: B027 (most have nothing to do)
        """Make the arrays true again, if a `train` has left them behind."""

    @abstractmethod
    def gradients(self, x: Array, targets: Array, sample_weight: Array | None) -> Gradients:
        """Return loss and gradients of all rows of `x` as one batch, with what led to them.

        A batch normalisation takes the means and variances of these rows, and leaves the running
        ones as they are.
        """

    @abstractmethod
    def predict(self, x: Array, out: Array) -> bool:
        """Write the network's outputs for all rows of `x` to `out` (rows, n_outputs).

        Here alone the caller has not looked at the values of `x`: returns whether they are all
        finite in the plan's precision, scaled.
        """

    @abstractmethod
    def evaluate(self, x: Array, targets: Array, sample_weight: Array | None, out: Array) -> float:
        """Write the outputs to `out` as `predict` does; return the (weighted) sum of the losses."""


class Backend(ABC):
    """A way to run plans; one object per backend module, named ``backend``.

    Besides `compile` it gives its kernels one by one, for tests and benchmarks. Their arrays are
    contiguous and of one precision.
    """

    name: str
    precisions: tuple[str, ...] = ("float32", "float64")
    reads_sparse = False
    """Whether its engines take a `SparseMatrix` as `x`."""

    @property
    @abstractmethod
    def isa(self) -> str:
        """The instruction set in use, in a word or two."""

    @abstractmethod
    def usable_threads(self, n_threads: int) -> int:
        """Return how many of `n_threads` this backend would use."""

    @property
    def weaker_caps(self) -> tuple[str, ...]:
        """The values of FASTMLP_MAX_ISA that leave it less than it has; weakest first."""
        return CAPS[: CAPS.index(self.isa)] if self.isa in CAPS else ()

    @property
    def bfloat16_isa(self) -> str:
        """Whose instructions multiply bfloat16; empty if float32's multiply rounded numbers."""
        return ""

    @property
    def bfloat16_note(self) -> str:
        """Why not those that the CPU says it has; empty if nothing is left aside."""
        return ""

    def float32_products(self, plan: Plan | None = None) -> str:
        """Return how float32 is multiplied, in general or by a plan; empty if by `isa` alone."""
        return ""

    @property
    def int8_isa(self) -> str:
        """Whose instructions multiply int8; empty if `compile_int8` gives the NumPy reference."""
        return ""

    def compile_int8(self, layers: Sequence[Any], n_threads: int) -> Any:
        """Return what predicts with `layers` (`quantized.Int8Layer`), as `Int8Reference` does."""
        from .quantized import Int8Reference  # imported late: the contract itself needs no NumPy

        return Int8Reference(layers)

    def refusal(self, plan: Plan) -> str:
        """Return why this backend cannot run `plan` and what to do, or an empty string."""
        return ""

    @abstractmethod
    def compile(self, plan: Plan, parameters: Array, state: Array, statistics: Array) -> Engine:
        """Bind `plan` to its memory."""

    @abstractmethod
    def matmul(self, a: Array, b: Array) -> Array:
        """Return a @ b for a (rows, inner) and b (inner, columns)."""

    @abstractmethod
    def activation(self, name: str, z: Array) -> Array:
        """Return f(z), element by element."""

    @abstractmethod
    def activation_derivative(self, name: str, z: Array, a: Array) -> Array:
        """Return f'(z); `a` is f(z)."""

    @abstractmethod
    def loss(
        self, name: str, z: Array, targets: Array, parameters: Sequence[Sequence[float]] = ()
    ) -> tuple[Array, Array]:
        """Return the losses (rows,) and dL/dz (rows, outputs) of logits and target values.

        `parameters` are the loss's own (n_parameters, outputs). Each row's loss counts fully:
        nothing is averaged.
        """

    @abstractmethod
    def update(
        self, name: str, w: Array, g: Array, state: Array, coefficients: Sequence[float]
    ) -> None:
        """Change `w` (n,) and `state` (n_states, n) in place by one step of ``formulas.STEPS``.

        `coefficients` may go on after those that the step takes.
        """

    @abstractmethod
    def orthogonalized(self, matrix: Array) -> Array:
        """Return `matrix` (rows, columns) by Newton and Schulz: see ``formulas.NEWTON_SCHULZ``.

        Its singular values are then about 1, the vectors as they were; zeros stay zeros.
        """
