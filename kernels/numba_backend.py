"""The `numba` backend: loops compiled for this CPU on first use.

Nothing is compiled when this is imported. `numba_source` makes the modules that are compiled out of
the templates; `numba_memory` lays out what they work on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from . import formulas
from .contract import Array, Backend, Engine, Gradients, Plan, SparseMatrix
from .numba_amx_check import tile_products
from .numba_cache import has_compiled
from .numba_cpu import Cpu, multiplies_pairs, numba_target, select_cpu, weaker_caps
from .numba_memory import (
    OrthogonalMemory,
    Panels,
    Parameters,
    Workspace,
    address_of,
    aligned_zeros,
    bits_of,
    functions_of,
    groups_of_outputs,
    round_up,
    set_words,
)
from .numba_names import (
    CALL_WORDS,
    DIRECTION_SCALE,
    LOSS_BLOCK,
    N_DONE,
    NORMALIZE,
    NORMALIZE_SLOPES,
    NOT_FINITE,
    PACKED_BYTES,
    PREDICTED_ROWS,
)
from .numba_source import (
    lanes_of,
    load_activation,
    load_batches,
    load_bfloat16,
    load_dropout,
    load_limits,
    load_loss,
    load_normalization,
    load_optimizer,
    load_orthogonal,
    load_products,
    load_sparse,
    start_compiling,
)
from .numba_team import MAX_THREADS, give_way_address, team
from .thread_choice import ThreadChoice

if not has_compiled():
    numba_target()  # a broken one is found out now, and a cap that it can no longer obey

FEW_ROWS = 128
"""So many rows are predicted from the flat vector: packing would take longer."""

VALUES_PER_MEETING = 60_000
"""With fewer multiply-adds per thread and meeting, a meeting costs more than a thread brings."""

WAKE_UP = 400
"""Waking up a sleeping thread costs as much as so many meetings."""

usable_cpu = cache(select_cpu)


class NumbaEngine(Engine):
    """Runs a plan in compiled calls of many batches each."""

    def __init__(
        self, plan: Plan, parameters: Array, state: Array, statistics: Array, cpu: Cpu
    ) -> None:
        super().__init__(plan, parameters, state, statistics)
        precision = plan.dtype
        arrays = {"parameters": parameters, "state": state, "statistics": statistics}
        for name, array in arrays.items():
            if not array.flags.c_contiguous or array.dtype != precision:
                raise ValueError(f"{name} must be contiguous {precision}; got {array.dtype}")
        self.n_threads = backend.usable_threads(plan.n_threads)
        self.cpu = cpu
        loss_of = (plan.loss, plan.targets_are_labels, precision, cpu)
        start_compiling(*loss_of, self.n_threads)
        products = load_products(precision, cpu)
        activations = [
            load_activation(each.activation, precision, cpu) for each in plan.layers[:-1]
        ]
        loss = load_loss(*loss_of)
        optimizer = load_optimizer(plan.optimizer, precision, cpu)
        self.panels = Panels(precision, lanes_of(precision, cpu))
        functions = {
            "LOSS_ROWS": loss.loss_rows.address,
            "UPDATE": optimizer.update.address,
            "GIVE_WAY": give_way_address(),
        }
        tiles = tile_products(cpu)[0] if plan.precision == "bfloat16" else None
        if plan.precision == "bfloat16":
            rounded = tiles or load_bfloat16(cpu)
            functions["LAYER_SUM"] = rounded.bfloat16_sum.address
            functions["LAYER_GRADIENT"] = rounded.bfloat16_gradient.address
        if any(plan.dropout):
            functions["DROP"] = load_dropout(precision, cpu).drop.address
        if plan.adjusts_gradient:
            functions["ADJUST"] = load_limits(precision, cpu).adjust.address
        if plan.needs_whole_gradient:
            functions["UPDATE_WHOLE"] = load_limits(precision, cpu).update_whole.address
        self.batches = load_batches(precision, cpu)  # last: it takes longest to compile
        self.memory = Parameters(
            *(plan, parameters, state, statistics),
            *(self.panels, (products, self.batches), functions, activations),
            tiles,
        )
        self.load_normalization()
        if plan.matrix_layers:
            self.load_matrices()
        if not plan.loss_is_merged:
            self.load_output()
        self.workspace: Workspace | None = None  # for training
        self.thread_choice = ThreadChoice(1)
        # For predictions: memory per thread, its call's address, and the common call.
        self.predicting: list[Workspace] = []
        self.calls = self.together = np.zeros(0, np.int64)
        self.order = np.zeros(0, np.int64)

    def load_output(self) -> Any:
        """Return the module of the last activation; training with a merged loss does without it."""
        module = load_activation(self.plan.layers[-1].activation, self.plan.dtype, self.cpu)
        self.memory.set_activation(-1, module)
        return module

    def load_normalization(self) -> None:
        """Name the functions of the layers that are normalised."""
        for layer in self.plan.layers:
            if layer.normalization is not None:
                module = load_normalization(layer.normalization, self.plan.dtype, self.cpu)
                words = self.memory.layers[layer.index]
                words[NORMALIZE] = module.normalize.address
                words[NORMALIZE_SLOPES] = module.normalize_slopes.address
                if layer.normalization == "batch":
                    self.memory.set(
                        UPDATE_RUNNING=module.update_running.address,
                        LOAD_RUNNING=module.load_running.address,
                    )

    def load_matrices(self) -> None:
        """Make the memory and the functions of the weights that are updated as matrices."""
        plan, size = self.plan, self.panels.size
        optimizer = formulas.OPTIMIZERS[plan.optimizer]
        assert optimizer.matrix is not None
        _, of_direction, of_step = optimizer.coefficient_slices
        steps = {"DIRECTION": optimizer.matrix.direction, "MATRIX_STEP": optimizer.matrix.step}
        functions = {
            word: load_optimizer(step.update.__name__, plan.dtype, self.cpu).update.address
            for word, step in steps.items()
        }
        functions["FIND_DIRECTION"] = load_orthogonal(plan.dtype, self.cpu).find_direction.address
        functions["DIRECTION_COEFFICIENTS"] = of_direction.start * size
        functions["MATRIX_COEFFICIENTS"] = of_step.start * size
        matrices = [plan.layers[index] for index in plan.matrix_layers]
        shapes = [(layer.fan_in, layer.fan_out) for layer in matrices]
        for layer, shape in zip(matrices, shapes, strict=True):
            scale = optimizer.matrix.scale(*shape)
            self.memory.layers[layer.index, DIRECTION_SCALE] = bits_of(scale)
        self.orthogonal = OrthogonalMemory(self.panels, shapes, functions)
        self.memory.set(ORTHOGONAL=address_of(self.orthogonal.words))

    def bind(self, workspace: Workspace, x: Array | SparseMatrix) -> None:
        """Let a call of a workspace read `x` by the functions that fit it."""
        if isinstance(x, SparseMatrix):
            kernels = load_sparse(self.plan.dtype, self.cpu)
            workspace.set(**self.memory.sparse_words(kernels))

    def threads_for(self, n_values: int, n_meetings: int) -> int:
        """Return how many threads pay for so many multiply-adds with so many meetings."""
        return min(self.n_threads, 1 + n_values // (VALUES_PER_MEETING * n_meetings))

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
        if len(order) == 0:
            return []
        n_rows = min(self.plan.batch_size, len(order))
        if self.workspace is None or self.workspace.n_rows < n_rows:
            # Forward and back are three products, and the threads meet twice per layer.
            n_values = 3 * n_rows * self.plan.n_parameters
            n_threads = self.threads_for(n_values, 2 * len(self.plan.layers))
            self.workspace = Workspace(self.plan, self.memory, n_threads, n_rows)
            self.thread_choice = ThreadChoice(n_threads)
        coefficients = np.ascontiguousarray(coefficients, np.float64)
        keys = None if dropout_keys is None else np.ascontiguousarray(dropout_keys, np.int64)
        self.workspace.set(
            BATCH_SIZE=self.plan.batch_size,
            COEFFICIENTS=address_of(coefficients),
            DROPOUT_KEYS=address_of(keys),
            IS_PACKED=self.is_packed,
            STAYS_PACKED=stays_packed,
        )
        n_threads, start = self.thread_choice.choose(), time.perf_counter()
        others = (coefficients, keys)
        losses = self.run(self.workspace, n_threads, x, targets, sample_weight, order, *others)
        self.is_packed = stays_packed
        self.thread_choice.learn(n_threads, time.perf_counter() - start, len(order))
        return losses

    def unpack(self) -> None:
        if not self.is_packed or self.workspace is None:
            return
        workspace = self.workspace
        workspace.set(N_ROWS=0, IS_PACKED=True, STAYS_PACKED=False)  # no batch is trained
        team.run(self.batches.train.ctypes, workspace.call, workspace.n_threads, (self, workspace))
        self.is_packed = False

    def run(
        self,
        workspace: Workspace,
        n_threads: int,
        x: Array,
        targets: Array,
        sample_weight: Array | None,
        order: Array,
        *others: Array | None,
    ) -> list[float]:
        """Run batches on a team of threads; return the loss sums."""
        loss_sums = np.zeros(-(-len(order) // self.plan.batch_size))
        order, targets = np.ascontiguousarray(order, np.int64), np.ascontiguousarray(targets)
        if sample_weight is not None:
            sample_weight = np.ascontiguousarray(sample_weight)
        self.bind(workspace, x)
        workspace.describe(x, targets, sample_weight, order, len(order), loss_sums, None)
        workspace.set(N_DONE=0)
        held = (self, workspace, x, targets, sample_weight, order, loss_sums, others)
        team.run(self.batches.train.ctypes, workspace.call, n_threads, held)
        found: list[float] = loss_sums[: workspace.call[N_DONE]].tolist()
        return found

    def gradients(self, x: Array, targets: Array, sample_weight: Array | None) -> Gradients:
        plan, n_rows = self.plan, len(x)
        threads = self.threads_for(3 * n_rows * plan.n_parameters, WAKE_UP)
        workspace = Workspace(plan, self.memory, threads, n_rows, keeps_everything=True)
        packed = aligned_zeros(int(workspace.call[PACKED_BYTES]))
        gradient = np.empty_like(self.parameters)
        workspace.set(
            BATCH_SIZE=n_rows,
            KEEPS_EVERYTHING=True,
            UPDATE=0,
            UPDATE_WHOLE=0,
            ADJUST=0,
            UPDATE_RUNNING=0,
            IS_GRADIENT_DESCENT=False,
            N_STATES=0,
            N_COEFFICIENTS=0,
            GRADIENT=address_of(packed),
            RESULT=address_of(packed),
            FLAT_RESULT=address_of(gradient),
        )
        (loss_sum,) = self.run(
            workspace, threads, x, targets, sample_weight, np.arange(n_rows), packed, gradient
        )
        last = plan.layers[-1]
        if plan.loss_is_merged:  # training needs no output
            n_panels = self.panels.count(last.fan_out)
            self.load_output().activate.ctypes(
                *map(address_of, (workspace.activated[-1], workspace.a[-1])),
                *(workspace.stride, n_rows * self.panels.lanes, n_panels),
                address_of(self.memory.groups),
            )

        def matrices(memories: list[Array]) -> list[Array]:
            pairs = zip(memories, plan.layers, strict=True)
            return [
                self.panels.matrix(each, workspace.stride, n_rows, layer.fan_out)
                for each, layer in pairs
            ]

        total = float(n_rows if sample_weight is None else sample_weight.sum(dtype=np.float64))
        return Gradients(
            loss_sum / total if total > 0.0 else 0.0,
            [gradient[each.weights].reshape(each.fan_in, -1) for each in plan.layers],
            [gradient[each.biases] for each in plan.layers],
            matrices(workspace.z),
            matrices(workspace.a),
            matrices(workspace.dz),
            [gradient[each.gamma] for each in plan.layers],
        )

    def predict(self, x: Array, out: Array) -> bool:
        self.run_rows(x, None, None, out)
        return bool(self.together[NOT_FINITE] == 0)

    def evaluate(self, x: Array, targets: Array, sample_weight: Array | None, out: Array) -> float:
        return self.run_rows(x, targets, sample_weight, out)

    def run_rows(
        self, x: Array, targets: Array | None, sample_weight: Array | None, out: Array
    ) -> float:
        """Predict all rows, by blocks; return the sum of the losses if there are targets."""
        plan, n_rows = self.plan, len(x)
        n_blocks = -(-n_rows // PREDICTED_ROWS)
        threads = self.threads_for(n_rows * plan.n_parameters, WAKE_UP)
        n_threads = max(1, min(n_blocks, threads))
        self.prepare_to_predict(n_threads, n_rows)
        in_place = out.flags.c_contiguous and out.dtype == plan.dtype
        found = out if in_place else np.empty(out.shape, plan.dtype)
        losses = None
        if targets is not None:
            losses, targets = np.zeros(n_blocks), np.ascontiguousarray(targets)
        if sample_weight is not None:
            sample_weight = np.ascontiguousarray(sample_weight)
        for workspace in self.predicting[:n_threads]:
            workspace.read(flat=n_rows <= FEW_ROWS)
            workspace.set(NOT_FINITE=0)
            self.bind(workspace, x)
            workspace.describe(x, targets, sample_weight, self.order, n_rows, losses, found)
        self.together[NOT_FINITE] = 0
        held = (self, x, targets, sample_weight, losses, found)
        team.run(self.batches.predict.ctypes, self.together, n_threads, held)
        if not in_place:
            out[...] = found
        return 0.0 if losses is None else sum(losses.tolist())

    def prepare_to_predict(self, n_threads: int, n_rows: int) -> None:
        """Make what is missing: a workspace per thread, and numbers of rows."""
        if len(self.order) < n_rows:
            self.order = np.arange(n_rows)
        if len(self.predicting) < n_threads:
            self.load_output()
            self.predicting += [
                Workspace(self.plan, self.memory, 1, PREDICTED_ROWS, has_slopes=False)
                for _ in range(n_threads - len(self.predicting))
            ]
            self.calls = np.array([address_of(each.call) for each in self.predicting])
            self.together = self.predicting[0].call.copy()
            set_words(self.together, {"CALLS": address_of(self.calls)})


class NumbaBackend(Backend):
    """The registry's entry."""

    name = "numba"
    precisions = ("float32", "float64", "bfloat16")
    reads_sparse = True

    @property
    def isa(self) -> str:
        """The CPU that is compiled for and its vector instructions."""
        cpu = usable_cpu()
        return f"{cpu.name}, {cpu.isa}"

    @property
    def weaker_caps(self) -> tuple[str, ...]:
        return weaker_caps(usable_cpu())

    @property
    def bfloat16_isa(self) -> str:
        cpu = usable_cpu()
        if tile_products(cpu)[0] is not None:
            return "amx"
        return "avx512_bf16" if multiplies_pairs(cpu) else ""

    @property
    def bfloat16_note(self) -> str:
        return tile_products(usable_cpu())[1]

    def usable_threads(self, n_threads: int) -> int:
        # What a user of Numba sets to limit it holds here too, though these are not its threads.
        limit = os.environ.get("NUMBA_NUM_THREADS", "")
        return min(n_threads, int(limit) if limit.isdecimal() and int(limit) else MAX_THREADS)

    def compile(self, plan: Plan, parameters: Array, state: Array, statistics: Array) -> Engine:
        return NumbaEngine(plan, parameters, state, statistics, usable_cpu())

    def matmul(self, a: Array, b: Array) -> Array:
        precision, cpu = a.dtype.name, usable_cpu()
        panels = Panels(precision, lanes_of(precision, cpu))
        a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
        (rows, inner), columns = a.shape, b.shape[1]
        out = np.zeros((rows, columns), precision)
        if out.size == 0 or inner == 0:
            return out
        products, size = load_products(precision, cpu), panels.size
        b_stride, b_step = panels.vector, columns * size
        if columns % panels.lanes:  # a row of b is not whole vectors
            b, b_stride, b_step = panels.of(b), inner * panels.vector, panels.vector
        stride = panels.stride(rows)
        a_panels = aligned_zeros(panels.count(inner) * stride)
        out_panels = aligned_zeros(panels.count(columns) * stride)
        words = np.zeros(CALL_WORDS, np.int64)
        set_words(words, functions_of(products, load_batches(precision, cpu)))
        products.multiply_rows.ctypes(
            address_of(words),
            *(address_of(a), address_of(b), b_stride, b_step, address_of(out)),
            *(address_of(a_panels), address_of(out_panels), 0, rows, inner, columns, stride),
        )
        return out

    def activation(self, name: str, z: Array) -> Array:
        z = np.ascontiguousarray(z)
        a = np.empty_like(z)
        activate = load_activation(name, z.dtype.name, usable_cpu()).activate
        activate.ctypes(address_of(z), address_of(a), 0, z.size, 1, z.size)
        return a

    def activation_derivative(self, name: str, z: Array, a: Array) -> Array:
        slope = np.ones(z.shape, z.dtype)
        derived_from = z if formulas.ACTIVATIONS[name].derivative_input == "z" else a
        derived_from = np.ascontiguousarray(derived_from)
        differentiate = load_activation(name, z.dtype.name, usable_cpu()).differentiate
        differentiate.ctypes(address_of(derived_from), address_of(slope), 0, z.size, 1)
        return slope

    def loss(
        self, name: str, z: Array, targets: Array, parameters: Sequence[Sequence[float]] = ()
    ) -> tuple[Array, Array]:
        precision, cpu = z.dtype.name, usable_cpu()
        panels = Panels(precision, lanes_of(precision, cpu))
        n_rows, n_columns = z.shape
        padded = np.zeros((round_up(n_rows, LOSS_BLOCK), n_columns), z.dtype)
        padded[:n_rows], stride = z, len(padded) * panels.vector
        targets, order = np.ascontiguousarray(targets, z.dtype), np.arange(n_rows)
        losses, taken, own = (
            np.empty(n_rows, z.dtype),
            panels.of(padded),
            np.array(parameters, z.dtype),
        )
        slopes, block_losses = aligned_zeros(taken.size), np.empty(n_rows // LOSS_BLOCK + 1)
        groups = groups_of_outputs([n_columns])
        load_loss(name, False, precision, cpu).loss_rows.ctypes(
            *(address_of(taken), stride, n_rows, address_of(groups)),
            *(address_of(targets), 0, address_of(own), address_of(order), bits_of(1.0)),
            *map(address_of, (slopes, block_losses, losses)),
        )
        return losses, panels.matrix(slopes, stride, n_rows, n_columns)

    def update(
        self, name: str, w: Array, g: Array, state: Array, coefficients: Sequence[float]
    ) -> None:
        numbers = np.array(coefficients, w.dtype)
        update = load_optimizer(name, w.dtype.name, usable_cpu()).update
        update.ctypes(*map(address_of, (w, g, state)), w.nbytes, address_of(numbers), w.size)

    def orthogonalized(self, matrix: Array) -> Array:
        precision, cpu = matrix.dtype.name, usable_cpu()
        panels, (rows, columns) = Panels(precision, lanes_of(precision, cpu)), matrix.shape
        own, stride = OrthogonalMemory(panels, [matrix.shape], {}), panels.stride(rows)
        call = np.zeros(CALL_WORDS, np.int64)
        functions = functions_of(load_products(precision, cpu), load_batches(precision, cpu))
        set_words(call, {"N_THREADS": 1, **functions})
        out, given = aligned_zeros(panels.count(columns) * stride), panels.of(matrix)
        of_start, n_bytes = panels.count(columns), rows * panels.vector
        start = own.memory[: of_start * stride].reshape(of_start, stride)
        start[:, :n_bytes] = given.reshape(of_start, n_bytes)
        load_orthogonal(precision, cpu).orthogonalize_alone.ctypes(
            *(address_of(call), address_of(own.words), stride, rows, columns, address_of(out), 0)
        )
        return panels.matrix(out, stride, rows, columns)


backend = NumbaBackend()
