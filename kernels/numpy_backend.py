"""The `numpy` backend: always there; matrix products through NumPy's BLAS.

The formulas are the ones of formulas.py, run over whole arrays: `compile_formulas` turns the
conditional expression into `where` and binds the primitives to arrays of the plan's precision.
"""

from __future__ import annotations

import ast
import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import formulas
from .bfloat16 import rounded_array
from .contract import Array, Backend, Engine, Gradients, Layer, Plan
from .step_engine import StepEngine
from .subset import all_formulas, formula_trees


class _ConditionalToWhere(ast.NodeTransformer):
    """Replace ``x if test else y`` by ``where(test, x, y)``."""

    def visit_IfExp(self, node: ast.IfExp) -> ast.Call:
        self.generic_visit(node)
        where = ast.Name("where", ast.Load())
        return ast.copy_location(ast.Call(where, [node.test, node.body, node.orelse], []), node)


def compile_formulas(precision: str) -> dict[str, Callable[..., Any]]:
    """Return every formula by its function's name, running over arrays of `precision`."""
    # The tables may have grown by formulas of the user's.
    return _compile_formulas(precision, (*formulas.ACTIVATIONS, *formulas.LOSSES))


@functools.cache
def _compile_formulas(precision: str, names: tuple[str, ...]) -> dict[str, Callable[..., Any]]:
    real = np.dtype(precision).type
    bits = np.dtype(f"int{8 * real().itemsize}")
    mantissa, bias = np.finfo(real).nmant, np.finfo(real).maxexp - 1

    def power_of_two(n: Array) -> Array:
        return np.left_shift(np.asarray(n, dtype=bits) + bias, mantissa).view(real)

    def where(test: Array, x: Any, y: Any) -> Array:
        # Two Python numbers would make a float64 array: give the first the plan's type.
        return np.where(test, real(x) if isinstance(x, (int, float)) else x, y)

    def exponent(x: Array) -> Array:
        return (np.right_shift(np.asarray(x).view(bits), mantissa) - bias).astype(real)

    namespace: dict[str, Any] = {"sqrt": np.sqrt, "where": where}
    namespace |= {"power_of_two": power_of_two, "exponent": exponent}
    trees = formula_trees(formulas, all_formulas(formulas), precision)
    for tree in trees.values():
        _ConditionalToWhere().visit(tree)
    module = ast.fix_missing_locations(ast.Module(list(trees.values()), []))
    exec(compile(module, f"<formulas over {precision} arrays>", "exec"), namespace)
    return {name: namespace[name] for name in trees}


def softmax_and_log(z: Array, exp: Callable[[Array], Array]) -> tuple[Array, Array]:
    """Return softmax and log softmax of each row of z (rows, outputs)."""
    shifted = z - z.max(axis=1, keepdims=True)
    exponentials = exp(shifted)
    total = exponentials.sum(axis=1, keepdims=True)
    return exponentials / total, shifted - np.log(total)


class NumpyEngine(StepEngine):
    """Runs a plan on NumPy arrays; weights are views of the flat vector.

    BLAS keeps its own number of threads (OPENBLAS_NUM_THREADS, threadpoolctl), whatever the plan
    says: its bits change with that number, and those of an engine may not change with the plan's.
    """

    def __init__(self, plan: Plan, parameters: Array, state: Array, statistics: Array) -> None:
        super().__init__(plan, parameters, state, statistics)
        self.dtype = np.dtype(plan.dtype)
        self.formulas = compile_formulas(plan.dtype)
        self.gradient = np.zeros(plan.n_parameters, self.dtype)
        shapes = [(layer.fan_in, layer.fan_out) for layer in plan.layers]
        pairs = list(zip(plan.layers, shapes, strict=True))
        self.w = [parameters[layer.weights].reshape(shape) for layer, shape in pairs]
        self.b = [parameters[layer.biases] for layer in plan.layers]
        self.dw = [self.gradient[layer.weights].reshape(shape) for layer, shape in pairs]
        self.db = [self.gradient[layer.biases] for layer in plan.layers]
        self.dgamma = [self.gradient[layer.gamma] for layer in plan.layers]
        self.input_numbers = np.array([plan.input_center, plan.input_scale])  # float64
        self.scales_inputs = bool((self.input_numbers != [[0.0], [1.0]]).any())
        empty = np.empty((0, 0), self.dtype)
        self.inputs: list[Array] = [empty] * len(shapes)  # (rows, fan_in): what the layer takes
        self.kept: list[Array] = [empty] * len(shapes)  # by dropout, times its factor
        self.z: list[Array] = [empty] * len(shapes)  # (rows, fan_out) each
        self.normalized: list[Array] = [empty] * len(shapes)
        self.activated: list[Array] = [empty] * len(shapes)  # what the activation takes; or z
        self.mean: list[Array] = [empty] * len(shapes)  # (1, fan_out) of a batch or (rows, 1)
        self.variance: list[Array] = [empty] * len(shapes)
        self.factor: list[Array] = [empty] * len(shapes)
        self.a: list[Array] = [empty] * len(shapes)
        self.da: list[Array] = [empty] * len(shapes)
        self.dz: list[Array] = [empty] * len(shapes)

    def run(self, steps: Sequence[Any]) -> None:
        # Overflow on the way to a diverging loss is reported through the loss itself.
        with np.errstate(all="ignore"):
            super().run(steps)

    def load_parameters(self) -> None:
        """Nothing to do: the views are the vector."""

    def store_parameters(self) -> None:
        """Nothing to do: the views are the vector."""

    def bind(
        self, x: Array, targets: Array | None, sample_weight: Array | None, rows: Sequence[int]
    ) -> None:
        # A range is a slice: contiguous rows are read in place.
        index: Any = slice(rows.start, rows.stop) if isinstance(rows, range) else rows
        self.x_rows = x[index]
        if targets is None:
            return
        self.targets = targets[index]
        n_rows = len(self.targets)
        if sample_weight is None:
            self.row_weights = np.ones(n_rows, self.dtype)
        else:
            self.row_weights = sample_weight[index]
        total = self.row_weights.sum(dtype=np.float64)
        factor = 1.0 / total if total > 0.0 else 0.0
        self.row_factors = (self.row_weights * self.dtype.type(factor))[:, None]

    def gather(self, layer: Layer) -> None:
        kind = np.result_type(self.x_rows.dtype, self.dtype)
        rows = self.x_rows.astype(kind, order="C")  # the same bits for any strides
        if self.scales_inputs:
            by = (np.array(numbers, kind) for numbers in self.input_numbers)
            rows = formulas.scaled_input(rows, *by)
        self.inputs[0] = rows.astype(self.dtype, copy=False)

    def dropout(self, layer: Layer) -> None:
        assert self.dropout_keys is not None
        rate = self.plan.dropout[layer.index]
        units = np.arange(layer.fan_in, dtype=np.uint64)
        rows = np.arange(len(self.x_rows), dtype=np.uint64)[:, None]
        bits = formulas.dropout_bits(np.uint64(self.dropout_keys[layer.index]), rows, units)
        kept = (bits >= formulas.dropout_threshold(rate)).astype(self.dtype)
        self.kept[layer.index] = kept * self.dtype.type(1.0 / (1.0 - rate))
        self.inputs[layer.index] = self.inputs[layer.index] * self.kept[layer.index]

    def factors(self, a: Array, b: Array) -> tuple[Array, Array]:
        """Return what is multiplied instead of a and b: themselves, or both in bfloat16."""
        if self.plan.precision == "bfloat16":
            return rounded_array(a), rounded_array(b)
        return a, b

    def weighted_sum(self, layer: Layer) -> None:
        a, w = self.factors(self.inputs[layer.index], self.w[layer.index])
        z = a @ w
        self.z[layer.index] = z if layer.normalization else z + self.b[layer.index]
        self.activated[layer.index] = self.z[layer.index]

    def normalization(self, layer: Layer) -> None:
        index, z = layer.index, self.z[layer.index]
        if layer.normalization == "batch" and self.predicts:
            mean, variance = self.statistics[layer.statistics].reshape(2, 1, layer.fan_out)
        else:
            axis = 0 if layer.normalization == "batch" else 1
            wide = z.astype(np.float64)
            mean = wide.mean(axis=axis, keepdims=True)
            variance = np.square(wide - mean).mean(axis=axis, keepdims=True)
        self.mean[index], self.variance[index] = mean, variance
        self.factor[index] = self.formulas["normalization_factor"](variance.astype(self.dtype))
        self.normalized[index] = self.formulas["normalized"](
            z, mean.astype(self.dtype), self.factor[index]
        )
        self.activated[index] = self.formulas["scaled_and_shifted"](
            self.normalized[index], self.parameters[layer.gamma], self.b[index]
        )

    def activation(self, layer: Layer) -> None:
        z = self.activated[layer.index]
        if layer.activation == "softmax":
            exp = self.formulas["exp"]
            self.a[layer.index] = joined(
                [softmax_and_log(z[:, group], exp)[0] for group in self.plan.groups]
            )
        else:
            value = formulas.ACTIVATIONS[layer.activation].value
            self.a[layer.index] = self.formulas[value.__name__](z)
        if layer.index + 1 < len(self.inputs):
            self.inputs[layer.index + 1] = self.a[layer.index]

    def loss(self, layer: Layer) -> None:
        merged = self.plan.loss_is_merged
        taken = self.activated[layer.index] if merged else self.a[layer.index]
        targets = self.targets
        if self.plan.targets_are_labels:
            labels = targets.reshape(len(targets), -1).T  # (groups, rows)
            pairs = zip(labels, self.plan.group_sizes, strict=True)
            targets = joined([each[:, None] == np.arange(size) for each, size in pairs])
            targets = targets.astype(self.dtype)
        parts = [
            loss_and_slope(
                self.plan.loss,
                taken[:, group],
                targets[:, group],
                [row[group] for row in self.plan.loss_parameters],
                self.formulas,
            )
            for group in self.plan.groups
        ]
        losses = functools.reduce(np.add, [value for value, _ in parts])  # (rows,)
        self.loss_sum = float(np.dot(self.row_weights, losses))
        slopes = joined([slope for _, slope in parts])
        (self.dz if merged else self.da)[layer.index] = slopes * self.row_factors

    def activation_slope(self, layer: Layer) -> None:
        formula = formulas.ACTIVATIONS[layer.activation]
        source = self.activated if formula.derivative_input == "z" else self.a
        slope = self.formulas[formula.derivative.__name__](source[layer.index])
        self.dz[layer.index] = self.da[layer.index] * slope

    def normalization_slope(self, layer: Layer) -> None:
        index = layer.index
        x, slope, factor = self.normalized[index], self.dz[index], self.factor[index]
        gamma, wide_x = self.parameters[layer.gamma], x.astype(np.float64)
        totals = [slope.astype(np.float64).sum(axis=0), (slope * wide_x).sum(axis=0)]
        self.db[index][...], self.dgamma[index][...] = totals
        if layer.normalization == "batch":
            means, factor = [total / len(x) for total in totals], gamma * factor
        else:
            slope = gamma * slope
            wide = slope.astype(np.float64)
            means = [each.mean(axis=1, keepdims=True) for each in (wide, wide * wide_x)]
        means = [each.astype(self.dtype) for each in means]
        self.dz[index] = self.formulas["normalization_slope"](slope, x, *means, factor)

    def weight_gradient(self, layer: Layer) -> None:
        a, dz = self.factors(self.inputs[layer.index], self.dz[layer.index])
        np.matmul(a.T, dz, out=self.dw[layer.index])

    def bias_gradient(self, layer: Layer) -> None:
        np.sum(self.dz[layer.index], axis=0, out=self.db[layer.index])

    def input_gradient(self, layer: Layer) -> None:
        dz, w = self.factors(self.dz[layer.index], self.w[layer.index])
        self.da[layer.index - 1] = dz @ w.T

    def dropout_slope(self, layer: Layer) -> None:
        self.da[layer.index - 1] = self.da[layer.index - 1] * self.kept[layer.index]

    def adjust_gradient(self, layer: Layer) -> None:
        l1, l2, limit = self.adjustments
        adjusted = self.formulas[formulas.adjusted_gradient.__name__]
        for part, penalty in ((layer.weights, (l1, l2)), (layer.vectors, (0.0, 0.0))):
            self.gradient[part] = adjusted(
                self.parameters[part], self.gradient[part], *penalty, limit
            )

    def clip_norm(self, layer: Layer) -> None:
        wide = self.gradient.astype(np.float64)
        norm = float(np.sqrt(np.dot(wide, wide)))
        if norm > self.plan.clip_norm:
            self.gradient *= self.dtype.type(self.plan.clip_norm / norm)

    def limit_norm(self, layer: Layer) -> None:
        w = self.w[layer.index]
        norms = np.sqrt(np.square(w, dtype=np.float64).sum(axis=0))
        np.maximum(norms, self.plan.max_norm, out=norms)
        w *= (self.plan.max_norm / norms).astype(self.dtype)

    def update(self, layer: Layer) -> None:
        self.update_part(layer.parameters)

    def update_part(self, part: slice) -> None:
        """Do the optimizer's own step of a part of the parameters."""
        optimizer = formulas.OPTIMIZERS[self.plan.optimizer]
        own = self.coefficients[optimizer.coefficient_slices[0]]
        states = [vector[part] for vector in self.state]
        do_step(optimizer, self.parameters[part], self.gradient[part], states, own, self.formulas)

    def update_matrix(self, layer: Layer) -> None:
        matrix = formulas.OPTIMIZERS[self.plan.optimizer].matrix
        assert matrix is not None
        _, of_direction, of_step = formulas.OPTIMIZERS[self.plan.optimizer].coefficient_slices
        w, dw = self.w[layer.index], self.dw[layer.index]
        states = [vector[layer.weights].reshape(w.shape) for vector in self.state]
        direction = np.zeros_like(w)
        own = self.coefficients[of_direction]
        do_step(matrix.direction, direction, dw, states, own, self.formulas)
        found = orthogonalized(direction, self.formulas)
        found *= self.dtype.type(matrix.scale(*w.shape))
        do_step(matrix.step, w, found, states, self.coefficients[of_step], self.formulas)
        self.update_part(layer.vectors)

    def running_statistics(self, layer: Layer) -> None:
        n_rows = len(self.x_rows)
        if n_rows > 1:
            mean, variance = self.mean[layer.index], self.variance[layer.index]
            found = np.concatenate([mean[0], variance[0] * (n_rows / (n_rows - 1))])
            running = self.statistics[layer.statistics]
            running[...] = self.formulas["running_estimate"](running, found.astype(self.dtype))

    def collect_gradients(self) -> Gradients:
        total = float(self.row_weights.sum(dtype=np.float64))
        loss = self.loss_sum / total if total > 0.0 else 0.0
        dw, db = [dw.copy() for dw in self.dw], [db.copy() for db in self.db]
        dgamma = [dgamma.copy() for dgamma in self.dgamma]
        return Gradients(loss, dw, db, list(self.z), list(self.a), list(self.dz), dgamma)

    def inputs_are_finite(self) -> bool:
        return bool(np.isfinite(self.inputs[0]).all())

    def write_output(self, out: Array, start: int, stop: int) -> None:
        out[start:stop] = self.a[-1]


def do_step(
    step: formulas.Step,
    w: Array,
    g: Array,
    states: Sequence[Array],
    coefficients: Sequence[float],
    compiled: dict[str, Callable[..., Any]],
) -> None:
    """Change w and the step's states, the first ones, in place; all are of one shape."""
    changed = [w, *states[: len(step.states)]]
    own = coefficients[: step.n_coefficients]
    results = compiled[step.update.__name__](w, g, *changed[1:], *own)
    for destination, result in zip(changed, results, strict=True):
        destination[...] = result


def orthogonalized(matrix: Array, compiled: dict[str, Callable[..., Any]]) -> Array:
    """Return the matrix (rows, columns) with singular values of about 1 (Newton and Schulz)."""
    if len(matrix) < matrix.shape[1]:
        return np.ascontiguousarray(orthogonalized(np.ascontiguousarray(matrix.T), compiled).T)
    wide = matrix.astype(np.float64).ravel()
    norm = float(np.sqrt(np.dot(wide, wide)))
    real = matrix.dtype.type
    x = matrix * real(1.0 / norm if norm > formulas.SMALLEST_NORM else 0.0)
    first, *others = formulas.NEWTON_SCHULZ
    for _ in range(formulas.NEWTON_SCHULZ_STEPS):
        gram = x.T @ x
        (terms,) = compiled["gram_polynomial"](gram @ gram, gram, *others)
        terms[np.diag_indices_from(terms)] += real(first)
        x = x @ terms
    return x


def joined(groups: Sequence[Array]) -> Array:
    """Return groups of outputs (rows, some of the outputs) side by side; one as it is."""
    return groups[0] if len(groups) == 1 else np.hstack(groups)


def loss_and_slope(
    name: str,
    taken: Array,
    targets: Array,
    parameters: Sequence[Sequence[float]],
    compiled: dict[str, Callable[..., Any]],
) -> tuple[Array, Array]:
    """Return losses (rows,) and slopes (rows, outputs) by what the loss takes."""
    loss = formulas.LOSSES[name]
    value, slope = compiled[loss.value.__name__], compiled[loss.slope.__name__]
    rows = [np.array(row, taken.dtype) for row in parameters]  # (outputs,) each
    if loss.of == "logits":
        return value(taken, targets, *rows).sum(axis=1), slope(taken, targets, *rows)
    p, log_p = softmax_and_log(taken, compiled["exp"])
    slopes = slope(log_p, targets, *rows)
    return value(log_p, targets, *rows).sum(axis=1), slopes - p * slopes.sum(axis=1, keepdims=True)


class NumpyBackend(Backend):
    """The registry's entry."""

    name = "numpy"
    precisions = ("float32", "float64", "bfloat16")

    @property
    def isa(self) -> str:
        """The BLAS that NumPy was built with: the instruction set is its choice."""
        with contextlib.suppress(Exception):  # only words for people: never a reason to fail
            blas: Any = np.show_config(mode="dicts")
            return f"BLAS: {blas['Build Dependencies']['blas']['name']}"
        return "BLAS"

    def usable_threads(self, n_threads: int) -> int:
        return n_threads

    def compile(self, plan: Plan, parameters: Array, state: Array, statistics: Array) -> Engine:
        return NumpyEngine(plan, parameters, state, statistics)

    def matmul(self, a: Array, b: Array) -> Array:
        return a @ b

    def activation(self, name: str, z: Array) -> Array:
        function = formulas.ACTIVATIONS[name].value.__name__
        return compile_formulas(z.dtype.name)[function](z)

    def activation_derivative(self, name: str, z: Array, a: Array) -> Array:
        formula = formulas.ACTIVATIONS[name]
        source = z if formula.derivative_input == "z" else a
        compiled = compile_formulas(z.dtype.name)[formula.derivative.__name__]
        return np.broadcast_to(compiled(source), z.shape).astype(z.dtype)

    def loss(
        self, name: str, z: Array, targets: Array, parameters: Sequence[Sequence[float]] = ()
    ) -> tuple[Array, Array]:
        return loss_and_slope(name, z, targets, parameters, compile_formulas(z.dtype.name))

    def update(
        self, name: str, w: Array, g: Array, state: Array, coefficients: Sequence[float]
    ) -> None:
        do_step(formulas.STEPS[name], w, g, state, coefficients, compile_formulas(w.dtype.name))

    def orthogonalized(self, matrix: Array) -> Array:
        return orthogonalized(matrix, compile_formulas(matrix.dtype.name))


backend = NumpyBackend()
