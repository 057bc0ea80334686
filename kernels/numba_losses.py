"""The losses of the `numba` backend: templates, see `numba_names`.

They go by blocks of LOSS_BLOCK rows, a vector lane per row: what is summed or maximised over the
columns is then summed lane by lane, in column order.
"""

from __future__ import annotations

import math

import numpy as np

from .numba_names import (
    LANES,
    LOSS_BLOCK,
    SIZE,
    VECTOR,
    Pointer,
    block_of_int64s,
    block_of_reals,
    exp,
    exported,
    float64s,
    inlined,
    int64s,
    loss_slope,
    loss_value,
    real,
    reals,
    target_of,
    targets_at,
)


@inlined
def load_column(panels: int, stride: int, column: int, n: int, values: Pointer) -> None:
    """Load a column of n rows; the lanes from n on repeat the first row."""
    numbers = reals(panels + column // LANES * stride + column % LANES * SIZE)
    if n == LOSS_BLOCK:
        for i in range(LOSS_BLOCK):
            values[i] = numbers[i * LANES]
    else:
        for i in range(LOSS_BLOCK):
            values[i] = numbers[i * LANES if i < n else 0]


@inlined
def store_column(panels: int, stride: int, column: int, n: int, values: Pointer) -> None:
    """Store a column of n rows."""
    numbers = reals(panels + column // LANES * stride + column % LANES * SIZE)
    for i in range(n):
        numbers[i * LANES] = values[i]


@inlined
def shift_and_sum(
    z: int, stride: int, columns: int, n: int, value: Pointer, largest: Pointer, total: Pointer
) -> None:
    """Compute the largest z of each row and the sum of exp(z - largest).

    A NaN in z may not be the largest, but it always reaches the sum.
    """
    load_column(z, stride, 0, n, largest)
    for column in range(1, columns):
        load_column(z, stride, column, n, value)
        for i in range(LOSS_BLOCK):
            largest[i] = value[i] if largest[i] < value[i] else largest[i]
    for i in range(LOSS_BLOCK):
        total[i] = real(0.0)
    for column in range(columns):
        load_column(z, stride, column, n, value)
        for i in range(LOSS_BLOCK):
            total[i] += exp(value[i] - largest[i])


@exported
def softmax_rows(z: int, a: int, stride: int, n: int, panels: int, columns: int) -> None:
    """Write the softmax of each row of z to a, which may be z; `n` numbers of each panel."""
    value, largest, total = block_of_reals(), block_of_reals(), block_of_reals()
    n_rows = n // LANES
    for first in range(0, n_rows, LOSS_BLOCK):
        rows, offset = min(LOSS_BLOCK, n_rows - first), first * VECTOR
        shift_and_sum(z + offset, stride, columns, rows, value, largest, total)
        for column in range(columns):
            load_column(z + offset, stride, column, rows, value)
            for i in range(LOSS_BLOCK):
                value[i] = exp(value[i] - largest[i]) / total[i]
            store_column(a + offset, stride, column, rows, value)


@inlined
def load_block(
    order: int,
    sample_weight: int,
    first: int,
    n: int,
    factor: float,
    row_of: Pointer,
    weight: Pointer,
    scale: Pointer,
) -> None:
    """Look up the rows of a block, what each counts for, and that times the factor."""
    for i in range(LOSS_BLOCK):
        row = int64s(order)[first + (i if i < n else 0)]
        row_of[i] = row
        counts = real(1.0)
        if sample_weight != 0:
            counts = reals(sample_weight)[row]
        weight[i] = counts if i < n else real(0.0)
        scale[i] = weight[i] * real(factor)


@inlined
def finish_block(
    losses: Pointer,
    weight: Pointer,
    n: int,
    slopes: int,
    stride: int,
    columns: int,
    block_loss: int,
    row_losses: int,
) -> None:
    """Write the sum of the losses; make the slopes past the last column zero."""
    total = 0.0
    for i in range(n):
        total += np.float64(weight[i]) * np.float64(losses[i])
    float64s(block_loss)[0] = total
    if row_losses != 0:
        for i in range(n):
            reals(row_losses)[i] = losses[i]
    if slopes != 0:
        last = slopes + columns // LANES * stride
        for row in range(n if columns % LANES > 0 else 0):
            numbers = reals(last + row * VECTOR)
            for lane in range(columns % LANES, LANES):
                numbers[lane] = real(0.0)


@exported
def loss_of_log_softmax_rows(
    taken: int,
    stride: int,
    n_rows: int,
    columns: int,
    targets: int,
    sample_weight: int,
    parameters: int,
    order: int,
    factor_bits: int,
    slopes: int,
    block_losses: int,
    row_losses: int,
) -> None:
    """Write the losses of log p, p the softmax of a row, and dz = slope - p * (sum of the slopes).

    Parameters
    ----------
    taken, stride
        z of the last layer, panels.
    targets, sample_weight, order
        `order` lists the rows of the other two; `sample_weight` may be 0: all rows count 1.
    parameters
        The loss's own (parameters, columns).
    factor_bits : int
        The bits of a float64, by which slopes are multiplied, besides the row's weight.
    slopes
        Panels like z, or 0: not wanted.
    block_losses, row_losses
        The weighted sum of the losses of each block, float64; each row's own loss, or 0.
    """
    value, y, largest, total = (
        block_of_reals(),
        block_of_reals(),
        block_of_reals(),
        block_of_reals(),
    )
    log_total, slope_total, losses = block_of_reals(), block_of_reals(), block_of_reals()
    row_of, weight, scale = block_of_int64s(), block_of_reals(), block_of_reals()
    factor, own = np.int64(factor_bits).view(np.float64), reals(parameters)
    for first in range(0, n_rows, LOSS_BLOCK):
        n, z = min(LOSS_BLOCK, n_rows - first), taken + first * VECTOR
        load_block(order, sample_weight, first, n, factor, row_of, weight, scale)
        shift_and_sum(z, stride, columns, n, value, largest, total)
        for i in range(LOSS_BLOCK):
            log_total[i] = real(math.log(total[i]))
            losses[i] = slope_total[i] = real(0.0)
        for column in range(columns):
            load_column(z, stride, column, n, value)
            for i in range(LOSS_BLOCK):
                y[i] = target_of(targets_at(targets), row_of[i], column, columns)
            for i in range(LOSS_BLOCK):
                log_p = (value[i] - largest[i]) - log_total[i]
                losses[i] += loss_value(log_p, y[i], own, column, columns)
                slope_total[i] += loss_slope(log_p, y[i], own, column, columns)
        to = 0
        if slopes != 0:
            to = slopes + first * VECTOR
            for column in range(columns):
                load_column(z, stride, column, n, value)
                for i in range(LOSS_BLOCK):
                    y[i] = target_of(targets_at(targets), row_of[i], column, columns)
                for i in range(LOSS_BLOCK):
                    shifted = value[i] - largest[i]
                    p = exp(shifted) / total[i]
                    slope = loss_slope(shifted - log_total[i], y[i], own, column, columns)
                    value[i] = (slope - p * slope_total[i]) * scale[i]
                store_column(to, stride, column, n, value)
        finish_block(
            losses,
            weight,
            n,
            to,
            stride,
            columns,
            block_losses + first // LOSS_BLOCK * 8,
            row_losses + first * SIZE if row_losses != 0 else 0,
        )


@exported
def loss_of_logits_rows(
    taken: int,
    stride: int,
    n_rows: int,
    columns: int,
    targets: int,
    sample_weight: int,
    parameters: int,
    order: int,
    factor_bits: int,
    slopes: int,
    block_losses: int,
    row_losses: int,
) -> None:
    """Write the losses of each output by itself; the parameters are as above."""
    value, y, losses = block_of_reals(), block_of_reals(), block_of_reals()
    row_of, weight, scale = block_of_int64s(), block_of_reals(), block_of_reals()
    factor, own = np.int64(factor_bits).view(np.float64), reals(parameters)
    for first in range(0, n_rows, LOSS_BLOCK):
        n, z = min(LOSS_BLOCK, n_rows - first), taken + first * VECTOR
        to = slopes + first * VECTOR if slopes != 0 else 0
        load_block(order, sample_weight, first, n, factor, row_of, weight, scale)
        for i in range(LOSS_BLOCK):
            losses[i] = real(0.0)
        for column in range(columns):
            load_column(z, stride, column, n, value)
            for i in range(LOSS_BLOCK):
                y[i] = target_of(targets_at(targets), row_of[i], column, columns)
            for i in range(LOSS_BLOCK):
                losses[i] += loss_value(value[i], y[i], own, column, columns)
                slope = loss_slope(value[i], y[i], own, column, columns)
                value[i] = slope * scale[i]
            if to != 0:
                store_column(to, stride, column, n, value)
        finish_block(
            losses,
            weight,
            n,
            to,
            stride,
            columns,
            block_losses + first // LOSS_BLOCK * 8,
            row_losses + first * SIZE if row_losses != 0 else 0,
        )
