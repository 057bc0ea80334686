"""The loops of the `numba` backend: one call runs many batches without the interpreter lock.

Templates: `numba_source` copies the functions here into modules of their own, with the names that
are declared first filled in, so that everything is compiled for one precision. `run_batches` and
what it calls know no formula; the loops over formulas are compiled one by one (an activation, a
loss, an optimizer) and called by address.

Matrices are given by address. Those of the engine's own are padded: rows of `stride` numbers, a
multiple of LANES, so that every loop over a row runs in whole vectors; the pad columns hold numbers
that nothing reads. All sums run in a fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

Number = Any
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Stand for ``numba.njit`` in these templates."""
    return function


exported = compiled  # stands for ``numba.cfunc``: called by address
real: Any = float  # the plan's real type, SIZE its bytes
SIZE = LANES = TILE_ROWS = TILE_VECTORS = 1  # LANES: numbers per vector; a tile's rows and vectors
# From an address to a pointer, which is indexed like an array:
reals: Any = None
float64s: Any = None
float32s: Any = None
uint8s: Any = None
int64s: Any = None
targets_at: Any = None
call_address: Any = None  # (function's address, tuple of integers)
exp: Any = None  # the formula
# The formula (taken, y, parameters, output, n_outputs) -> number, with parameters of its own
# (n_parameters, n_outputs); loss_slope alike.
loss_value: Any = None
loss_slope: Any = None
target_of: Any = None  # (targets, row, output, n_outputs) -> y
tile_full: Any = None  # see numba_intrinsics.product_tile; of (TILE_ROWS, TILE_VECTORS),
tile_full_row: Any = None  # (1, TILE_VECTORS),
tile_narrow: Any = None  # (TILE_ROWS, 1)
tile_narrow_row: Any = None  # and (1, 1)

PREDICT, EVALUATE, GRADIENTS, TRAIN = range(4)
"""What `run_batches` does."""

FLOAT32, FLOAT64, UINT8 = range(3)
"""The types of x."""

FAN_IN, FAN_OUT, STRIDE, W, B, DW, DB, Z, A, DZ, ACTIVATE, DIFFERENTIATE, DERIVED_FROM = range(13)
"""The columns of `layout` (layers, 13): sizes, addresses of the arrays and of the functions.

DERIVED_FROM is the address of what the derivative is written in: that of Z or that of A.
"""

DEPTH_BLOCK = 128
"""Steps along the depth before the next tile: so many rows of b stay in the first cache."""

TRANSPOSE_BLOCK = 16


@compiled
def add_product(
    a: int, a_row: int, a_column: int, b: int, c: int, n_rows: int, depth: int, stride: int
) -> None:
    """Add a @ b to c: a (n_rows, depth), b (depth, stride), c (n_rows, stride).

    `a` may have any strides: `a_row` and `a_column` are the bytes to the next row and column.
    """
    row_size = stride * SIZE
    for first in range(0, depth, DEPTH_BLOCK):
        last = min(first + DEPTH_BLOCK, depth)
        column = 0
        while column < stride:
            is_full = column + TILE_VECTORS * LANES <= stride
            b_tile, c_column, row = b + column * SIZE, c + column * SIZE, 0
            while row < n_rows:
                a_tile, c_tile = a + row * a_row, c_column + row * row_size
                tile = (a_tile, a_row, a_column, b_tile, row_size, c_tile, row_size, first, last)
                if row + TILE_ROWS <= n_rows:
                    if is_full:
                        tile_full(*tile)
                    else:
                        tile_narrow(*tile)
                    row += TILE_ROWS
                else:
                    if is_full:
                        tile_full_row(*tile)
                    else:
                        tile_narrow_row(*tile)
                    row += 1
            column += TILE_VECTORS * LANES if is_full else LANES


@compiled
def gather_row(x: int, x_column: int, x_type: int, n: int, scale: Number, out: int) -> None:
    """Write one row of x, `n` numbers that are `x_column` bytes apart, made real and scaled."""
    to = reals(out)
    if x_type == UINT8 and x_column == 1:
        for j in range(n):
            to[j] = real(uint8s(x)[j]) * scale
    elif x_type == UINT8:
        for j in range(n):
            to[j] = real(uint8s(x + j * x_column)[0]) * scale
    elif x_type == FLOAT32 and x_column == 4:
        for j in range(n):
            to[j] = real(float32s(x)[j]) * scale
    elif x_type == FLOAT32:
        for j in range(n):
            to[j] = real(float32s(x + j * x_column)[0]) * scale
    elif x_column == 8:
        for j in range(n):
            to[j] = real(float64s(x)[j]) * scale
    else:
        for j in range(n):
            to[j] = real(float64s(x + j * x_column)[0]) * scale


@compiled
def fill(address: int, n: int, value: Number) -> None:
    """Set `n` numbers."""
    numbers = reals(address)
    for i in range(n):
        numbers[i] = value


@compiled
def copy_rows(
    source: int, n_rows: int, n_columns: int, source_row: int, to: int, to_row: int
) -> None:
    """Copy a matrix (n_rows, n_columns) between rows of different lengths (in numbers)."""
    for r in range(n_rows):
        source_numbers, numbers = (
            reals(source + r * source_row * SIZE),
            reals(to + r * to_row * SIZE),
        )
        for j in range(n_columns):
            numbers[j] = source_numbers[j]


@compiled
def transpose(matrix: int, n_rows: int, n_columns: int, to: int, stride: int) -> None:
    """Copy a matrix (n_rows, n_columns) to (n_columns, stride)."""
    source, numbers = reals(matrix), reals(to)
    for start in range(0, n_columns, TRANSPOSE_BLOCK):
        for r in range(n_rows):
            for j in range(start, min(start + TRANSPOSE_BLOCK, n_columns)):
                numbers[j * stride + r] = source[r * n_columns + j]


@compiled
def weighted_sum(a_in: int, a_stride: int, layer: Any, n_rows: int, scratch: int) -> None:
    """Compute z = a_in @ w + b, for a_in (n_rows, a_stride) and z (n_rows, stride).

    w (fan_in, fan_out) is copied to `scratch` if its rows are not whole vectors.
    """
    fan_in, fan_out, stride = layer[FAN_IN], layer[FAN_OUT], layer[STRIDE]
    w = layer[W]
    if stride != fan_out:
        fill(scratch, fan_in * stride, real(0.0))
        copy_rows(w, fan_in, fan_out, fan_out, scratch, stride)
        w = scratch
        fill(layer[Z], n_rows * stride, real(0.0))
    copy_rows(layer[B], n_rows, fan_out, 0, layer[Z], stride)
    add_product(a_in, a_stride * SIZE, SIZE, w, layer[Z], n_rows, fan_in, stride)


@compiled
def weight_gradient(a_in: int, a_stride: int, layer: Any, n_rows: int, scratch: int) -> None:
    """Compute dw = a_in.T @ dz (fan_in, fan_out), and db, the sum of dz (n_rows, stride)."""
    fan_in, fan_out, stride = layer[FAN_IN], layer[FAN_OUT], layer[STRIDE]
    dw = layer[DW] if stride == fan_out else scratch
    fill(dw, fan_in * stride, real(0.0))
    add_product(a_in, SIZE, a_stride * SIZE, layer[DZ], dw, fan_in, n_rows, stride)
    if stride != fan_out:
        copy_rows(dw, fan_in, fan_out, stride, layer[DW], fan_out)
    fill(layer[DB], fan_out, real(0.0))
    db = reals(layer[DB])
    for r in range(n_rows):
        dz = reals(layer[DZ] + r * stride * SIZE)
        for j in range(fan_out):
            db[j] += dz[j]


@compiled
def input_gradient(layer: Any, before: Any, n_rows: int, scratch: int) -> None:
    """Compute da of the layer before (n_rows, its stride): dz @ w.T."""
    fan_in, fan_out, stride = layer[FAN_IN], layer[FAN_OUT], before[STRIDE]
    if stride != fan_in:
        fill(scratch, fan_out * stride, real(0.0))
    transpose(layer[W], fan_in, fan_out, scratch, stride)
    fill(before[DZ], n_rows * stride, real(0.0))
    add_product(layer[DZ], layer[STRIDE] * SIZE, SIZE, scratch, before[DZ], n_rows, fan_out, stride)


@compiled
def weigh_rows(sample_weight: int, order: int, n_rows: int, weights: int, factors: int) -> None:
    """Write what each row counts for, and its share of the batch; no weights (0): all count 1."""
    rows, of_rows = int64s(order), reals(weights)
    total = 0.0
    for r in range(n_rows):
        of_rows[r] = reals(sample_weight)[rows[r]] if sample_weight != 0 else real(1.0)
        total += of_rows[r]
    factor = real(1.0 / total) if total > 0.0 else real(0.0)
    for r in range(n_rows):
        reals(factors)[r] = of_rows[r] * factor


@compiled
def run_batches(
    mode: int,
    layout: Any,
    loss_is_merged: bool,
    batch_size: int,
    n_rows_in_all: int,
    order: int,
    x: int,
    x_row: int,
    x_column: int,
    x_type: int,
    input_scale: Number,
    targets: int,
    sample_weight: int,
    loss_rows: int,
    loss_parameters: int,
    update: int,
    coefficients: int,
    n_coefficients: int,
    parameters: int,
    gradient: int,
    state: int,
    n_parameters: int,
    inputs: int,
    row_weights: int,
    row_factors: int,
    losses: int,
    scratch: int,
    out: int,
    loss_sums: int,
) -> int:
    """Run the batches that `order` lists; return how many.

    The parameters without a type below are addresses.

    Parameters
    ----------
    mode : int
        PREDICT writes `out`; EVALUATE also the loss sums; GRADIENTS fills `gradient` and the
        layers' z, a and dz; TRAIN updates the parameters after each batch and stops at a loss that
        is not finite.
    order
        The rows of x, targets and weights, int64, `n_rows_in_all` of them.
    x_row, x_column, x_type : int
        Bytes from row to row and from column to column, and the type of x.
    loss_rows, update
        The functions of the loss and of the optimizer.
    loss_parameters
        What the loss takes besides (n_parameters, n_outputs).
    inputs
        Room for the gathered rows (batch_size, n_inputs).
    row_weights, row_factors, losses
        Room (batch_size,) for what each row counts for, its share of the batch, its loss.
    scratch
        Room for one padded matrix of weights.
    out
        The outputs (n_rows_in_all, n_outputs), in the order of the batches.
    loss_sums
        Of each batch, float64.
    """
    n_layers = layout.shape[0]
    n_inputs = layout[0][FAN_IN]
    last = layout[n_layers - 1]
    n_outputs, out_stride = last[FAN_OUT], last[STRIDE]
    n_batches = (n_rows_in_all + batch_size - 1) // batch_size
    for batch in range(n_batches):
        done = batch * batch_size
        n_rows = min(batch_size, n_rows_in_all - done)
        rows = order + done * 8
        for r in range(n_rows):
            row = x + int64s(rows)[r] * x_row
            gather_row(row, x_column, x_type, n_inputs, input_scale, inputs + r * n_inputs * SIZE)

        a_in, a_stride = inputs, n_inputs
        for index in range(n_layers):
            layer = layout[index]
            weighted_sum(a_in, a_stride, layer, n_rows, scratch)
            if index < n_layers - 1 or mode != TRAIN or not loss_is_merged:
                shape = (n_rows, layer[STRIDE], layer[FAN_OUT])
                call_address(layer[ACTIVATE], (layer[Z], layer[A], shape[0], shape[1], shape[2]))
            a_in, a_stride = layer[A], layer[STRIDE]

        if mode != PREDICT:
            weigh_rows(sample_weight, rows, n_rows, row_weights, row_factors)
            taken = last[Z] if loss_is_merged else last[A]
            shape = (n_rows, out_stride, n_outputs)
            call_address(
                loss_rows,
                (taken, targets, rows, row_factors, loss_parameters, *shape, losses, last[DZ]),
            )
            loss_sum = 0.0
            for r in range(n_rows):
                loss_sum += reals(row_weights)[r] * reals(losses)[r]
            float64s(loss_sums)[batch] = loss_sum
            if mode == TRAIN and not math.isfinite(loss_sum):
                return batch + 1
        if mode in (PREDICT, EVALUATE):
            copy_rows(
                last[A], n_rows, n_outputs, out_stride, out + done * n_outputs * SIZE, n_outputs
            )
            continue

        for index in range(n_layers - 1, -1, -1):
            layer = layout[index]
            if index < n_layers - 1 or not loss_is_merged:  # until here dz holds da
                n = n_rows * layer[STRIDE]
                call_address(layer[DIFFERENTIATE], (layer[DERIVED_FROM], layer[DZ], n))
            if index == 0:
                weight_gradient(inputs, n_inputs, layer, n_rows, scratch)
            else:
                before = layout[index - 1]
                weight_gradient(before[A], before[STRIDE], layer, n_rows, scratch)
                input_gradient(layer, before, n_rows, scratch)
        if mode == TRAIN:
            batch_coefficients = coefficients + batch * n_coefficients * 8
            call_address(update, (parameters, gradient, state, batch_coefficients, n_parameters))
    return n_batches


@compiled
def exponentials(z: int, n_columns: int, stride: int, e: int) -> tuple[Number, Number]:
    """Write exp(z - largest) of one row (stride,) to e; return the largest and the sum.

    A NaN in z may not be the largest, but it always reaches the sum.
    """
    z_row, e_row = reals(z), reals(e)
    largest = z_row[0]
    for k in range(1, n_columns):
        largest = z_row[k] if largest < z_row[k] else largest
    for k in range(stride):
        e_row[k] = exp(z_row[k] - largest)
    total = real(0.0)
    for k in range(n_columns):
        total += e_row[k]
    return largest, total


@exported
def softmax_rows(z: int, a: int, n_rows: int, stride: int, n_columns: int) -> None:
    """Write the softmax of each row of z (n_rows, stride) to a."""
    for r in range(n_rows):
        row = r * stride * SIZE
        _, total = exponentials(z + row, n_columns, stride, a + row)
        p = reals(a + row)
        for k in range(stride):
            p[k] = p[k] / total


@exported
def loss_of_log_softmax_rows(
    z: int,
    targets: int,
    order: int,
    factors: int,
    parameters: int,
    n_rows: int,
    stride: int,
    n_outputs: int,
    losses: int,
    dz: int,
) -> None:
    """Write the loss of each row, and its slope times the row's factor: dL/dz (n_rows, stride)."""
    for r in range(n_rows):
        place = r * stride * SIZE
        largest, total = exponentials(z + place, n_outputs, stride, dz + place)
        log_total = real(math.log(total))
        z_row, dz_row, row = reals(z + place), reals(dz + place), int64s(order)[r]
        loss = slopes = real(0.0)
        for k in range(n_outputs):
            y = target_of(targets_at(targets), row, k, n_outputs)
            log_p = z_row[k] - largest - log_total
            loss += loss_value(log_p, y, reals(parameters), k, n_outputs)
            slopes += loss_slope(log_p, y, reals(parameters), k, n_outputs)
        reals(losses)[r] = loss
        for k in range(n_outputs):
            y = target_of(targets_at(targets), row, k, n_outputs)
            log_p = z_row[k] - largest - log_total
            slope = loss_slope(log_p, y, reals(parameters), k, n_outputs)
            dz_row[k] = (slope - dz_row[k] / total * slopes) * reals(factors)[r]


@exported
def loss_of_logits_rows(
    z: int,
    targets: int,
    order: int,
    factors: int,
    parameters: int,
    n_rows: int,
    stride: int,
    n_outputs: int,
    losses: int,
    dz: int,
) -> None:
    """Write the loss of each row, and its slope times the row's factor: dL/dz (n_rows, stride)."""
    for r in range(n_rows):
        z_row, dz_row = reals(z + r * stride * SIZE), reals(dz + r * stride * SIZE)
        row = int64s(order)[r]
        loss = real(0.0)
        for k in range(n_outputs):
            y = target_of(targets_at(targets), row, k, n_outputs)
            loss += loss_value(z_row[k], y, reals(parameters), k, n_outputs)
            slope = loss_slope(z_row[k], y, reals(parameters), k, n_outputs)
            dz_row[k] = slope * reals(factors)[r]
        reals(losses)[r] = loss
