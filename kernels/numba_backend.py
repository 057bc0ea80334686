"""The `numba` backend: loops compiled for this CPU on first use.

Nothing is compiled when this is imported. `numba_source` makes the modules that are compiled,
`numba_kernels` holds their loops, `numba_intrinsics` the innermost one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from . import formulas
from .contract import Array, Backend, Engine, Gradients, Plan
from .numba_cpu import Cpu, select_cpu
from .numba_kernels import (
    EVALUATE,
    FLOAT32,
    FLOAT64,
    GRADIENTS,
    PREDICT,
    TRAIN,
    UINT8,
)
from .numba_source import (
    SOFTMAX,
    lanes_of,
    load_activation,
    load_batches,
    load_loss,
    load_optimizer,
)

X_TYPES = {"float32": FLOAT32, "float64": FLOAT64, "uint8": UINT8}

PREDICTED_ROWS = 256
"""Rows of a batch of predictions: so many go through a layer while its weights are in the cache."""

CACHE_LINE = 64  # bytes

usable_cpu = cache(select_cpu)


def aligned_zeros(shape: tuple[int, ...], dtype: str) -> Array:
    """Return zeros that start at a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + size].view(dtype).reshape(shape)


def round_up(n: int, multiple: int) -> int:
    """Return the smallest multiple that is at least `n`."""
    return -(-n // multiple) * multiple


def address_of(array: Array | None) -> int:
    """Return where an array starts; 0 if there is none."""
    return 0 if array is None else int(array.ctypes.data)


class Workspace:
    """The memory of one batch of up to `n_rows` rows; see `numba_kernels.run_batches`."""

    def __init__(self, plan: Plan, lanes: int, n_rows: int) -> None:
        self.strides = [round_up(layer.fan_out, lanes) for layer in plan.layers]
        # (n_rows, stride) per layer; columns from fan_out on are padding.
        shapes = [(n_rows, stride) for stride in self.strides]
        self.z = [aligned_zeros(shape, plan.precision) for shape in shapes]
        self.a = [aligned_zeros(shape, plan.precision) for shape in shapes]
        self.dz = [aligned_zeros(shape, plan.precision) for shape in shapes]
        self.n_rows = n_rows
        self.inputs = aligned_zeros((n_rows, plan.n_inputs), plan.precision)
        self.row_weights = aligned_zeros((n_rows,), plan.precision)
        self.row_factors = aligned_zeros((n_rows,), plan.precision)
        self.losses = aligned_zeros((n_rows,), plan.precision)
        padded_weights = [
            max(
                layer.fan_in * round_up(layer.fan_out, lanes),
                layer.fan_out * round_up(layer.fan_in, lanes),
            )
            for layer in plan.layers
        ]
        self.scratch = aligned_zeros((max(padded_weights),), plan.precision)


class NumbaEngine(Engine):
    """Runs a plan in compiled calls of many batches each."""

    def __init__(self, plan: Plan, parameters: Array, state: Array, cpu: Cpu) -> None:
        super().__init__(plan, parameters, state)
        precision = plan.precision
        for name, array in (("parameters", parameters), ("state", state)):
            if not array.flags.c_contiguous or array.dtype != precision:
                raise ValueError(f"{name} must be contiguous {precision}; got {array.dtype}")
        self.kernels = load_batches(precision, cpu)
        self.activations = [
            load_activation(layer.activation, precision, cpu) for layer in plan.layers
        ]
        self.loss = load_loss(plan.loss, plan.targets_are_labels, precision, cpu)
        self.loss_parameters = np.array(plan.loss_parameters, precision)
        self.optimizer = load_optimizer(plan.optimizer, precision, cpu)
        self.lanes = lanes_of(precision, cpu)
        self.real = np.dtype(precision).type
        self.gradient = aligned_zeros((plan.n_parameters,), precision)
        self.workspace = self.make_workspace(1)

    def make_workspace(self, n_rows: int) -> Workspace:
        """Return memory for batches of up to `n_rows`."""
        return Workspace(self.plan, self.lanes, n_rows)

    def workspace_for(self, n_rows: int) -> Workspace:
        """Return the engine's own memory, made larger if it is for fewer rows."""
        if self.workspace.n_rows < n_rows:
            self.workspace = self.make_workspace(n_rows)
        return self.workspace

    def layout(self, workspace: Workspace) -> Array:
        """Return sizes and addresses per layer, in the order of the constants FAN_IN and so on."""
        rows = []
        for layer, kernels in zip(self.plan.layers, self.activations, strict=True):
            z, a = workspace.z[layer.index], workspace.a[layer.index]
            differentiate, derived_from = 0, a
            if layer.activation != SOFTMAX:  # its way back is the loss's
                differentiate = kernels.differentiate.address
                if formulas.ACTIVATIONS[layer.activation].derivative_input == "z":
                    derived_from = z
            arrays = (
                self.parameters[layer.weights],
                self.parameters[layer.biases],
                self.gradient[layer.weights],
                self.gradient[layer.biases],
                z,
                a,
                workspace.dz[layer.index],
            )
            rows.append(
                (
                    layer.fan_in,
                    layer.fan_out,
                    workspace.strides[layer.index],
                    *map(address_of, arrays),
                    kernels.activate.address,
                    differentiate,
                    address_of(derived_from),
                )
            )
        return np.array(rows, np.int64)

    def run(
        self,
        mode: int,
        workspace: Workspace,
        batch_size: int,
        x: Array,
        targets: Array | None,
        sample_weight: Array | None,
        order: Array,
        *,
        coefficients: Array | None = None,
        out: Array | None = None,
    ) -> list[float]:
        """Call the compiled loop; return the loss sum of each batch that was run."""
        loss_sums = np.zeros(-(-len(order) // batch_size))
        # Named here, so that they live until the call returns: it knows their addresses only.
        order = np.ascontiguousarray(order, np.int64)
        targets = None if targets is None else np.ascontiguousarray(targets)
        sample_weight = None if sample_weight is None else np.ascontiguousarray(sample_weight)
        n_done = self.kernels.run_batches(
            mode,
            self.layout(workspace),
            self.plan.loss_is_merged,
            batch_size,
            len(order),
            address_of(order),
            address_of(x),
            *x.strides,
            X_TYPES[x.dtype.name],
            self.real(self.plan.input_scale),
            address_of(targets),
            address_of(sample_weight),
            self.loss.loss_rows.address,
            address_of(self.loss_parameters),
            self.optimizer.update.address,
            address_of(coefficients),
            self.plan.n_coefficients,
            address_of(self.parameters),
            address_of(self.gradient),
            address_of(self.state),
            self.plan.n_parameters,
            address_of(workspace.inputs),
            address_of(workspace.row_weights),
            address_of(workspace.row_factors),
            address_of(workspace.losses),
            address_of(workspace.scratch),
            address_of(out),
            address_of(loss_sums),
        )
        found: list[float] = loss_sums[:n_done].tolist()
        return found

    def train(
        self,
        x: Array,
        targets: Array,
        sample_weight: Array | None,
        order: Array,
        coefficients: Array,
        dropout_keys: Array | None = None,
    ) -> Sequence[float]:
        batch_size = max(1, min(self.plan.batch_size, len(order)))
        return self.run(
            TRAIN,
            self.workspace_for(batch_size),
            batch_size,
            x,
            targets,
            sample_weight,
            order,
            coefficients=np.ascontiguousarray(coefficients, np.float64),
        )

    def gradients(self, x: Array, targets: Array, sample_weight: Array | None) -> Gradients:
        workspace, order = self.make_workspace(len(x)), np.arange(len(x))
        (loss_sum,) = self.run(GRADIENTS, workspace, len(x), x, targets, sample_weight, order)
        total = float(workspace.row_weights.sum(dtype=np.float64))
        layers = self.plan.layers

        def without_padding(arrays: list[Array]) -> list[Array]:
            pairs = zip(arrays, layers, strict=True)
            return [array[:, : layer.fan_out].copy() for array, layer in pairs]

        return Gradients(
            loss_sum / total if total > 0.0 else 0.0,
            [self.gradient[each.weights].reshape(each.fan_in, -1).copy() for each in layers],
            [self.gradient[each.biases].copy() for each in layers],
            without_padding(workspace.z),
            without_padding(workspace.a),
            without_padding(workspace.dz),
        )

    def predict(self, x: Array, out: Array) -> bool:
        self.run_rows(PREDICT, x, None, None, out)
        scale = self.real(self.plan.input_scale)
        blocks = range(0, len(x), PREDICTED_ROWS)
        return x.dtype == np.uint8 or all(
            np.isfinite(scale * x[i : i + PREDICTED_ROWS].astype(self.real)).all() for i in blocks
        )

    def evaluate(self, x: Array, targets: Array, sample_weight: Array | None, out: Array) -> float:
        return self.run_rows(EVALUATE, x, targets, sample_weight, out)

    def run_rows(
        self, mode: int, x: Array, targets: Array | None, sample_weight: Array | None, out: Array
    ) -> float:
        """Go through all rows; return the sum of the losses."""
        batch_size = max(1, min(PREDICTED_ROWS, len(x)))
        order, found = np.arange(len(x)), np.empty(out.shape, self.plan.precision)
        workspace = self.workspace_for(batch_size)
        losses = self.run(mode, workspace, batch_size, x, targets, sample_weight, order, out=found)
        out[...] = found
        return sum(losses)


class NumbaBackend(Backend):
    """The registry's entry."""

    name = "numba"

    @property
    def isa(self) -> str:
        """The CPU that is compiled for and its vector instructions."""
        cpu = usable_cpu()
        return f"{cpu.name}, {cpu.isa}"

    def usable_threads(self, n_threads: int) -> int:
        return 1

    def compile(self, plan: Plan, parameters: Array, state: Array) -> Engine:
        if any(plan.dropout) or plan.adjusts_gradient or plan.needs_whole_gradient:
            raise NotImplementedError(
                "the numba backend has no dropout, penalties and clipping yet; take another backend"
            )
        return NumbaEngine(plan, parameters, state, usable_cpu())

    def matmul(self, a: Array, b: Array) -> Array:
        precision, cpu = a.dtype.name, usable_cpu()
        a = np.ascontiguousarray(a)
        (n_rows, depth), n_columns = a.shape, b.shape[1]
        stride = round_up(n_columns, lanes_of(precision, cpu))
        b_padded = aligned_zeros((depth, stride), precision)
        b_padded[:, :n_columns] = b
        product = aligned_zeros((n_rows, stride), precision)
        load_batches(precision, cpu).add_product(
            address_of(a),
            *a.strides,
            address_of(b_padded),
            address_of(product),
            n_rows,
            depth,
            stride,
        )
        return np.ascontiguousarray(product[:, :n_columns])

    def activation(self, name: str, z: Array) -> Array:
        z = np.ascontiguousarray(z)
        a = np.empty_like(z)
        activate = load_activation(name, z.dtype.name, usable_cpu()).activate
        n_columns = z.shape[-1]
        activate.ctypes(address_of(z), address_of(a), z.size // n_columns, n_columns, n_columns)
        return a

    def activation_derivative(self, name: str, z: Array, a: Array) -> Array:
        slope = np.ones(z.shape, z.dtype)
        derived_from = z if formulas.ACTIVATIONS[name].derivative_input == "z" else a
        derived_from = np.ascontiguousarray(derived_from)
        differentiate = load_activation(name, z.dtype.name, usable_cpu()).differentiate
        differentiate.ctypes(address_of(derived_from), address_of(slope), z.size)
        return slope

    def loss(
        self, name: str, z: Array, targets: Array, parameters: Sequence[Sequence[float]] = ()
    ) -> tuple[Array, Array]:
        numbers = np.array(parameters, z.dtype)
        z, targets = np.ascontiguousarray(z), np.ascontiguousarray(targets, z.dtype)
        (n_rows, n_columns), ones = z.shape, np.ones(len(z), z.dtype)
        losses, slopes, order = np.empty(n_rows, z.dtype), np.empty_like(z), np.arange(n_rows)
        load_loss(name, False, z.dtype.name, usable_cpu()).loss_rows.ctypes(
            *map(address_of, (z, targets, order, ones, numbers)),
            *(n_rows, n_columns, n_columns),
            *map(address_of, (losses, slopes)),
        )
        return losses, slopes

    def update(
        self, name: str, w: Array, g: Array, state: Array, coefficients: Sequence[float]
    ) -> None:
        numbers = np.array(coefficients, np.float64)
        update = load_optimizer(name, w.dtype.name, usable_cpu()).update
        update.ctypes(*map(address_of, (w, g, state, numbers)), w.size)


backend = NumbaBackend()
