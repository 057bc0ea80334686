"""The `python` backend: the reference, in the standard library only. Slow, and easy to read.

Matrices are lists of rows. All arithmetic is float64; a float32 plan's parameters are rounded after
each step. Every other backend is tested against this one.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Any

from . import formulas
from .bfloat16 import rounded_row
from .contract import Array, Backend, Engine, Gradients, Layer, Plan
from .step_engine import StepEngine

Vector = list[float]
Matrix = list[Vector]

exp: formulas.Formula = formulas.exp


def matmul(a: Matrix, b: Matrix) -> Matrix:
    """Return the product of a (rows, inner) and b (inner, columns), by the definition."""
    columns = list(zip(*b, strict=True))
    return [[sum(map(float.__mul__, row, column)) for column in columns] for row in a]


def transpose(a: Matrix) -> Matrix:
    """Return `a` (rows, columns) as (columns, rows)."""
    return [list(column) for column in zip(*a, strict=True)]


def multiplied(a: Matrix, b: Matrix) -> Matrix:
    """Return the elementwise product of two matrices of one shape."""
    return [list(map(float.__mul__, *rows)) for rows in zip(a, b, strict=True)]


def softmax_and_log(z: Vector) -> tuple[Vector, Vector]:
    """Return softmax(z) and its logarithm, shifted by the largest logit so nothing overflows."""
    largest = max(z) if not any(map(math.isnan, z)) else math.nan
    exponentials = [exp(value - largest) for value in z]
    total = sum(exponentials)
    log_total = math.log(total) if total > 0.0 else math.nan
    return [e / total for e in exponentials], [value - largest - log_total for value in z]


def loss_and_slope(
    name: str, z: Vector, y: Vector, parameters: Sequence[Sequence[float]] = ()
) -> tuple[float, Vector]:
    """Return the loss of one row and its derivative by what the loss takes (see `formulas`)."""
    loss = formulas.LOSSES[name]
    if loss.of == "logits":
        return sum(map(loss.value, z, y, *parameters)), list(map(loss.slope, z, y, *parameters))
    p, log_p = softmax_and_log(z)
    value = sum(map(loss.value, log_p, y, *parameters))
    slopes = list(map(loss.slope, log_p, y, *parameters))
    total = sum(slopes)
    return value, [slope - p_k * total for slope, p_k in zip(slopes, p, strict=True)]


def orthogonalized(matrix: Matrix) -> Matrix:
    """Return the matrix (rows, columns) with singular values of about 1 (Newton and Schulz)."""
    if len(matrix) < len(matrix[0]):
        return transpose(orthogonalized(transpose(matrix)))
    norm = math.sqrt(sum(value * value for row in matrix for value in row))
    factor = 1.0 / norm if norm > formulas.SMALLEST_NORM else 0.0
    x = [[value * factor for value in row] for row in matrix]
    first, *others = formulas.NEWTON_SCHULZ
    polynomial: formulas.TupleFormula = formulas.gram_polynomial
    for _ in range(formulas.NEWTON_SCHULZ_STEPS):
        gram = matmul(transpose(x), x)
        terms = [
            [polynomial(*pair, *others)[0] for pair in zip(*rows, strict=True)]
            for rows in zip(matmul(gram, gram), gram, strict=True)
        ]
        for i, row in enumerate(terms):
            row[i] += first
        x = matmul(x, terms)
    return x


class PythonEngine(StepEngine):
    """Runs a plan on lists of floats."""

    def __init__(self, plan: Plan, parameters: Array, state: Array, statistics: Array) -> None:
        super().__init__(plan, parameters, state, statistics)
        n_layers = len(plan.layers)
        self.inputs: list[Matrix] = [[] for _ in range(n_layers)]  # (rows, fan_in): what it takes
        self.kept: list[Matrix] = [[] for _ in range(n_layers)]  # by dropout, times its factor
        self.z: list[Matrix] = [[] for _ in range(n_layers)]  # (rows, fan_out) each
        self.normalized: list[Matrix] = [[] for _ in range(n_layers)]
        self.activated: list[Matrix] = [[] for _ in range(n_layers)]  # what f takes; or z
        self.means: list[Vector] = [[] for _ in range(n_layers)]  # per unit or, of a layer, per row
        self.variances: list[Vector] = [[] for _ in range(n_layers)]
        self.a: list[Matrix] = [[] for _ in range(n_layers)]
        self.da: list[Matrix] = [[] for _ in range(n_layers)]
        self.dz: list[Matrix] = [[] for _ in range(n_layers)]
        self.dw: list[Matrix] = [[] for _ in range(n_layers)]  # (fan_in, fan_out)
        self.db: list[Vector] = [[] for _ in range(n_layers)]  # (fan_out,)
        self.dgamma: list[Vector] = [[] for _ in range(n_layers)]  # (fan_out,), or empty

    def load_parameters(self) -> None:
        self.flat: Vector = self.parameters.tolist()
        self.flat_state: Matrix = self.state.tolist()
        self.flat_statistics: Vector = self.statistics.tolist()

    def store_parameters(self) -> None:
        self.parameters[:] = self.flat
        self.statistics[:] = self.flat_statistics
        for row, vector in enumerate(self.flat_state):
            self.state[row] = vector

    def weights(self, layer: Layer) -> Matrix:
        """Return w (fan_in, fan_out) as rows."""
        start, width = layer.weights.start, layer.fan_out
        return [self.flat[start + k * width : start + (k + 1) * width] for k in range(layer.fan_in)]

    def bind(
        self, x: Array, targets: Array | None, sample_weight: Array | None, rows: Sequence[int]
    ) -> None:
        self.x, self.rows = x, [int(row) for row in rows]
        if targets is None:
            return
        if self.plan.targets_are_labels:
            labels = [targets[row : row + 1].ravel().tolist() for row in self.rows]
            groups = [range(size) for size in self.plan.group_sizes]
            self.targets = [
                [float(k == n) for n, ks in zip(row, groups, strict=True) for k in ks]
                for row in labels
            ]
        else:
            self.targets = [targets[row].tolist() for row in self.rows]
        weights = [1.0 if sample_weight is None else float(sample_weight[r]) for r in self.rows]
        total = sum(weights)
        self.row_weights = weights
        self.row_factors = [weight / total if total > 0.0 else 0.0 for weight in weights]

    def gather(self, layer: Layer) -> None:
        center, scale = self.plan.input_center, self.plan.input_scale
        times = 1 if len(scale) > 1 else layer.fan_in  # one number for all inputs
        by = list(zip(center * times, scale * times, strict=True))
        self.inputs[0] = [
            [
                formulas.scaled_input(float(value), *each)
                for value, each in zip(row, by, strict=True)
            ]
            for row in (self.x[r].tolist() for r in self.rows)
        ]

    def dropout(self, layer: Layer) -> None:
        assert self.dropout_keys is not None
        key, rate = self.dropout_keys[layer.index], self.plan.dropout[layer.index]
        threshold, factor = formulas.dropout_threshold(rate), 1.0 / (1.0 - rate)
        self.kept[layer.index] = [
            [
                factor if formulas.dropout_bits(key, row, unit) >= threshold else 0.0
                for unit in range(layer.fan_in)
            ]
            for row in range(len(self.rows))
        ]
        self.inputs[layer.index] = multiplied(self.inputs[layer.index], self.kept[layer.index])

    def product(self, a: Matrix, b: Matrix) -> Matrix:
        """Return a @ b; of both in bfloat16, if the plan has that precision."""
        if self.plan.precision == "bfloat16":
            a, b = list(map(rounded_row, a)), list(map(rounded_row, b))
        return matmul(a, b)

    def weighted_sum(self, layer: Layer) -> None:
        biases = self.flat[layer.biases]
        z = self.product(self.inputs[layer.index], self.weights(layer))
        if layer.normalization is None:
            z = [[v + b for v, b in zip(row, biases, strict=True)] for row in z]
        self.z[layer.index] = self.activated[layer.index] = z

    def normalization(self, layer: Layer) -> None:
        index, of_batch = layer.index, layer.normalization == "batch"
        # What a mean is over is a row here: a unit's column for a batch.
        rows = transpose(self.z[index]) if of_batch else self.z[index]
        if of_batch and self.predicts:
            running = self.flat_statistics[layer.statistics]
            means, variances = running[: layer.fan_out], running[layer.fan_out :]
        else:
            means = [sum(row) / len(row) for row in rows]
            variances = [
                sum((v - mean) * (v - mean) for v in row) / len(row)
                for row, mean in zip(rows, means, strict=True)
            ]
        self.means[index], self.variances[index] = means, variances
        factors = map(formulas.normalization_factor, variances)
        normalized: formulas.Formula = formulas.normalized
        x = [
            [normalized(v, mean, factor) for v in row]
            for row, mean, factor in zip(rows, means, factors, strict=True)
        ]
        self.normalized[index] = transpose(x) if of_batch else x
        gamma, beta = self.flat[layer.gamma], self.flat[layer.biases]
        self.activated[index] = [
            list(map(formulas.scaled_and_shifted, row, gamma, beta))
            for row in self.normalized[index]
        ]

    def activation(self, layer: Layer) -> None:
        z = self.activated[layer.index]
        if layer.activation == "softmax":
            groups = self.plan.groups
            self.a[layer.index] = [
                [p for group in groups for p in softmax_and_log(row[group])[0]] for row in z
            ]
        else:
            value = formulas.ACTIVATIONS[layer.activation].value
            self.a[layer.index] = [list(map(value, row)) for row in z]
        if layer.index + 1 < len(self.inputs):
            self.inputs[layer.index + 1] = self.a[layer.index]

    def loss(self, layer: Layer) -> None:
        merged = self.plan.loss_is_merged
        taken = self.activated[layer.index] if merged else self.a[layer.index]
        losses, slopes = [], []
        constants = self.plan.loss_parameters
        for row, y, factor in zip(taken, self.targets, self.row_factors, strict=True):
            parts = [
                loss_and_slope(self.plan.loss, row[group], y[group], [c[group] for c in constants])
                for group in self.plan.groups
            ]
            losses.append(sum(value for value, _ in parts))
            slopes.append([factor * s for _, slope in parts for s in slope])
        self.loss_sum = sum(map(float.__mul__, self.row_weights, losses))
        (self.dz if merged else self.da)[layer.index] = slopes

    def activation_slope(self, layer: Layer) -> None:
        formula = formulas.ACTIVATIONS[layer.activation]
        source = self.activated if formula.derivative_input == "z" else self.a
        self.dz[layer.index] = [
            [da * formula.derivative(value) for da, value in zip(da_row, row, strict=True)]
            for da_row, row in zip(self.da[layer.index], source[layer.index], strict=True)
        ]

    def normalization_slope(self, layer: Layer) -> None:
        index, of_batch = layer.index, layer.normalization == "batch"
        products = multiplied(self.dz[index], self.normalized[index])
        self.db[index] = [sum(column) for column in transpose(self.dz[index])]
        self.dgamma[index] = [sum(column) for column in transpose(products)]
        gamma = self.flat[layer.gamma]
        of_x = [list(map(float.__mul__, row, gamma)) for row in self.dz[index]]
        rows, slopes = self.normalized[index], of_x
        if of_batch:  # what a mean is over is a row here
            rows, slopes = transpose(rows), transpose(slopes)
        factors = map(formulas.normalization_factor, self.variances[index])
        slope_of_z: formulas.Formula = formulas.normalization_slope
        dz = []
        for row, slope, factor in zip(rows, slopes, factors, strict=True):
            mean = sum(slope) / len(slope)
            mean_product = sum(map(float.__mul__, slope, row)) / len(slope)
            dz.append(
                [
                    slope_of_z(s, x, mean, mean_product, factor)
                    for s, x in zip(slope, row, strict=True)
                ]
            )
        self.dz[index] = transpose(dz) if of_batch else dz

    def weight_gradient(self, layer: Layer) -> None:
        a = transpose(self.inputs[layer.index])
        self.dw[layer.index] = self.product(a, self.dz[layer.index])

    def bias_gradient(self, layer: Layer) -> None:
        self.db[layer.index] = [sum(column) for column in transpose(self.dz[layer.index])]

    def input_gradient(self, layer: Layer) -> None:
        transposed = transpose(self.weights(layer))
        self.da[layer.index - 1] = self.product(self.dz[layer.index], transposed)

    def dropout_slope(self, layer: Layer) -> None:
        before = layer.index - 1
        self.da[before] = multiplied(self.da[before], self.kept[layer.index])

    def adjust_gradient(self, layer: Layer) -> None:
        l1, l2, limit = self.adjustments
        adjusted: formulas.Formula = formulas.adjusted_gradient
        self.dw[layer.index] = [
            [adjusted(w, g, l1, l2, limit) for w, g in zip(w_row, row, strict=True)]
            for w_row, row in zip(self.weights(layer), self.dw[layer.index], strict=True)
        ]
        for part, gradients in ((layer.biases, self.db), (layer.gamma, self.dgamma)):
            gradients[layer.index] = [
                adjusted(b, g, 0.0, 0.0, limit)
                for b, g in zip(self.flat[part], gradients[layer.index], strict=True)
            ]

    def clip_norm(self, layer: Layer) -> None:
        rows = [row for dw in self.dw for row in dw]
        rows += [*self.db, *self.dgamma]  # views: all of the gradient
        norm = math.sqrt(sum(g * g for row in rows for g in row))
        if norm > self.plan.clip_norm:
            for row in rows:
                row[:] = [g * (self.plan.clip_norm / norm) for g in row]

    def limit_norm(self, layer: Layer) -> None:
        for column in range(layer.fan_out):
            places = range(layer.weights.start + column, layer.weights.stop, layer.fan_out)
            norm = math.sqrt(sum(self.flat[i] * self.flat[i] for i in places))
            if norm > self.plan.max_norm:
                for i in places:
                    self.flat[i] *= self.plan.max_norm / norm
        self.round_parameters(layer)

    def update(self, layer: Layer) -> None:
        optimizer = formulas.OPTIMIZERS[self.plan.optimizer]
        gradient = [g for row in self.dw[layer.index] for g in row]
        gradient += self.db[layer.index] + self.dgamma[layer.index]
        self.step(optimizer, layer.weights.start, gradient, optimizer.coefficient_slices[0])
        self.round_parameters(layer)

    def step(self, step: formulas.Step, start: int, gradient: Vector, own: slice) -> None:
        """Do a step of the parameters from `start` on, by its own coefficients."""
        coefficients, vectors = self.coefficients[own], self.flat_state[: len(step.states)]
        for i, g in enumerate(gradient, start=start):
            states = [vector[i] for vector in vectors]
            self.flat[i], *states = step.update(self.flat[i], g, *states, *coefficients)
            for vector, value in zip(vectors, states, strict=True):
                vector[i] = value

    def update_matrix(self, layer: Layer) -> None:
        optimizer = formulas.OPTIMIZERS[self.plan.optimizer]
        assert optimizer.matrix is not None
        direction, step = optimizer.matrix.direction, optimizer.matrix.step
        of_update, of_direction, of_step = optimizer.coefficient_slices
        start, width = layer.weights.start, layer.fan_out
        weights = self.flat[layer.weights]
        self.step(direction, start, [g for row in self.dw[layer.index] for g in row], of_direction)
        # Where the weights are, the direction is for now.
        found = orthogonalized(self.weights(layer))
        self.flat[layer.weights] = weights
        scale = optimizer.matrix.scale(layer.fan_in, width)
        self.step(step, start, [scale * value for row in found for value in row], of_step)
        gradient = self.db[layer.index] + self.dgamma[layer.index]
        self.step(optimizer, layer.biases.start, gradient, of_update)
        self.round_parameters(layer)

    def round_parameters(self, layer: Layer) -> None:
        """Round this layer's parameters and state to float32, if they are."""
        if self.plan.dtype == "float32":
            # Here, and not when a call returns: how many batches a call has must not matter.
            for vector in (self.flat, *self.flat_state):
                vector[layer.parameters] = array("f", vector[layer.parameters]).tolist()

    def running_statistics(self, layer: Layer) -> None:
        n_rows = len(self.rows)
        if n_rows == 1:
            return
        unbiased = [v * (n_rows / (n_rows - 1)) for v in self.variances[layer.index]]
        found, running = [*self.means[layer.index], *unbiased], self.flat_statistics
        estimates = list(map(formulas.running_estimate, running[layer.statistics], found))
        if self.plan.dtype == "float32":
            estimates = array("f", estimates).tolist()
        running[layer.statistics] = estimates

    def collect_gradients(self) -> Gradients:
        loss = sum(self.row_factors) and self.loss_sum / sum(self.row_weights)
        return Gradients(loss, self.dw, self.db, self.z, self.a, self.dz, self.dgamma)

    def inputs_are_finite(self) -> bool:
        largest = 3.4028234663852886e38 if self.plan.dtype == "float32" else math.inf
        return all(math.isfinite(v) and abs(v) <= largest for row in self.inputs[0] for v in row)

    def write_output(self, out: Array, start: int, stop: int) -> None:
        out[start:stop] = self.a[-1]


class PythonBackend(Backend):
    """The registry's entry."""

    name = "python"
    precisions = ("float32", "float64", "bfloat16")
    isa = "interpreted"

    def usable_threads(self, n_threads: int) -> int:
        return 1

    def compile(self, plan: Plan, parameters: Array, state: Array, statistics: Array) -> Engine:
        return PythonEngine(plan, parameters, state, statistics)

    def matmul(self, a: Any, b: Any) -> Any:
        return matmul(_rows(a), _rows(b))

    def activation(self, name: str, z: Any) -> Any:
        value = formulas.ACTIVATIONS[name].value
        return [list(map(value, row)) for row in _rows(z)]

    def activation_derivative(self, name: str, z: Any, a: Any) -> Any:
        formula = formulas.ACTIVATIONS[name]
        source = z if formula.derivative_input == "z" else a
        return [list(map(formula.derivative, row)) for row in _rows(source)]

    def loss(
        self, name: str, z: Any, targets: Any, parameters: Sequence[Sequence[float]] = ()
    ) -> tuple[Any, Any]:
        pairs = zip(_rows(z), _rows(targets), strict=True)
        results = [loss_and_slope(name, row, y, parameters) for row, y in pairs]
        return [value for value, _ in results], [slope for _, slope in results]

    def update(self, name: str, w: Any, g: Any, state: Any, coefficients: Any) -> None:
        step = formulas.STEPS[name]
        coefficients = coefficients[: step.n_coefficients]
        for i, gradient in enumerate(g):
            states = [float(vector[i]) for vector in state]
            w[i], *states = step.update(float(w[i]), float(gradient), *states, *coefficients)
            for vector, value in zip(state, states, strict=True):
                vector[i] = value

    def orthogonalized(self, matrix: Any) -> Any:
        return orthogonalized(_rows(matrix))


def _rows(matrix: Any) -> Matrix:
    """Return an array or a list of rows as a list of rows."""
    rows: Matrix = matrix.tolist() if hasattr(matrix, "tolist") else matrix
    return rows


backend = PythonBackend()
