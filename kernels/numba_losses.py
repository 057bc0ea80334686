"""The losses of the `numba` backend: templates, see `numba_names`.

They go by blocks of LOSS_BLOCK rows, a vector lane per row: what is summed or maximised over the
columns is then summed lane by lane, in column order. The squares of a panel are transposed on the
way in and out. Loops run to `lanes`, not to the constant that it mostly is: what LLVM unrolls
before it vectorises, it hardly vectorises.
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
    columns_memory,
    exp,
    exported,
    float64s,
    inlined,
    int64s,
    log,
    loss_slope,
    loss_value,
    place_of,
    plain,
    real,
    reals,
    target_of,
    targets_at,
    transpose_vectors,
)


@inlined
def lanes_for(n: int) -> int:
    """Return the whole vectors that so many rows take."""
    return (n + LANES - 1) // LANES * LANES


@inlined
def load_panel(panels: int, stride: int, panel: int, lanes: int, columns: int) -> None:
    """Load the rows of a block from a panel: each column becomes a row of `columns`."""
    for row in range(0, lanes, LANES):
        source = panels + panel * stride + row * VECTOR
        transpose_vectors(source, VECTOR, columns + row * SIZE, LOSS_BLOCK * SIZE)


@inlined
def store_panel(columns: int, panels: int, stride: int, panel: int, lanes: int) -> None:
    """Store the rows of a block to a panel."""
    for row in range(0, lanes, LANES):
        to = panels + panel * stride + row * VECTOR
        transpose_vectors(columns + row * SIZE, LOSS_BLOCK * SIZE, to, VECTOR)


@inlined
def column_of(columns: int, column: int) -> Pointer:
    """Return the numbers of a column of a panel that is loaded."""
    return reals(columns + column % LANES * LOSS_BLOCK * SIZE)


@inlined
def load_next(z: int, stride: int, column: int, begin: int, lanes: int, columns: int) -> None:
    """Load the panel of a column, where the columns from `begin` on come to a new one."""
    if column % LANES == 0 or column == begin:
        load_panel(z, stride, column // LANES, lanes, columns)


@inlined
def shift_and_sum(
    z: int,
    stride: int,
    begin: int,
    end: int,
    lanes: int,
    columns: int,
    largest: Pointer,
    total: Pointer,
) -> None:
    """Compute the largest z of each row, from column `begin` to `end`, and sum exp(z - largest).

    A NaN in z may not be the largest, but it always reaches the sum.
    """
    for i in range(lanes):
        largest[i], total[i] = real(-math.inf), real(0.0)
    for column in range(begin, end):
        load_next(z, stride, column, begin, lanes, columns)
        value = column_of(columns, column)
        for i in range(lanes):
            largest[i] = value[i] if largest[i] < value[i] else largest[i]
    for column in range(begin, end):
        if begin // LANES < (end - 1) // LANES:  # else the one panel is still there
            load_next(z, stride, column, begin, lanes, columns)
        value = column_of(columns, column)
        for i in range(lanes):
            total[i] += exp(value[i] - largest[i])


@exported
def softmax_rows(z: int, a: int, stride: int, n: int, panels: int, groups: int) -> None:
    """Write the softmax of each row of z to a, which may be z; `n` numbers of each panel.

    `groups` are int64: how many groups of columns there are, each a softmax, and where each ends.
    """
    columns, found = columns_memory(), columns_memory()
    largest, total = block_of_reals(), block_of_reals()
    n_rows, n_groups, ends = n // LANES, int64s(groups)[0], int64s(groups + 8)
    n_columns = ends[n_groups - 1]
    for first in range(0, n_rows, LOSS_BLOCK):
        lanes, offset = lanes_for(min(LOSS_BLOCK, n_rows - first)), first * VECTOR
        begin = plain(0)
        for group in range(n_groups):
            end = ends[group]
            shift_and_sum(z + offset, stride, begin, end, lanes, columns, largest, total)
            for column in range(begin, end):
                if begin // LANES < (end - 1) // LANES:
                    load_next(z + offset, stride, column, begin, lanes, columns)
                value, p = column_of(columns, column), column_of(found, column)
                for i in range(lanes):
                    p[i] = exp(value[i] - largest[i]) / total[i]
                store_complete(found, a + offset, stride, column, n_columns, lanes)
            begin = end


@inlined
def load_block(
    order: int,
    sample_weight: int,
    n: int,
    lanes: int,
    factor: float,
    weight: Pointer,
    scale: Pointer,
) -> None:
    """Look up what a block's rows count for, and that times the factor; nothing past the last."""
    for i in range(lanes):
        row = int64s(order)[i if i < n else 0]
        counts = real(1.0)
        if sample_weight != 0:
            counts = reals(sample_weight)[row]
        weight[i] = counts if i < n else real(0.0)
        scale[i] = weight[i] * real(factor)


@inlined
def load_places(
    order: int,
    targets: int,
    n_columns: int,
    n_groups: int,
    group: int,
    begin: int,
    n: int,
    lanes: int,
    place: Pointer,
) -> None:
    """Look up where a block's targets are, of a group of columns that starts at `begin`.

    Lanes past the last row look at the first one's.
    """
    for i in range(lanes):
        row = int64s(order)[i if i < n else 0]
        place[i] = place_of(targets_at(targets), row, n_columns, n_groups, group, begin)


@inlined
def store_complete(
    columns: int, panels: int, stride: int, column: int, n_columns: int, lanes: int
) -> None:
    """After the last column of a panel, store it; columns past the last are zero."""
    if column % LANES == LANES - 1 or column == n_columns - 1:
        for rest in range(column % LANES + 1, LANES):
            nothing = column_of(columns, rest)
            for i in range(lanes):
                nothing[i] = real(0.0)
        store_panel(columns, panels, stride, column // LANES, lanes)


@inlined
def store_losses(
    losses: Pointer, weight: Pointer, n: int, block_loss: int, row_losses: int
) -> None:
    """Write the sum of a block's losses, and each one, if that is wanted."""
    total = 0.0
    for i in range(n):
        total += np.float64(weight[i]) * np.float64(losses[i])
    float64s(block_loss)[0] = total
    if row_losses != 0:
        for i in range(n):
            reals(row_losses)[i] = losses[i]


@exported
def loss_of_log_softmax_rows(
    taken: int,
    stride: int,
    n_rows: int,
    groups: int,
    targets: int,
    sample_weight: int,
    parameters: int,
    order: int,
    factor_bits: int,
    slopes: int,
    block_losses: int,
    row_losses: int,
) -> None:
    """Write the losses of log p, p the softmax of a group, and dz = slope - p * (their sum).

    Parameters
    ----------
    taken, stride
        z of the last layer, panels, with room for whole blocks of rows.
    groups
        As for `softmax_rows`; a row's loss is the sum of its groups'.
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
    columns, found = columns_memory(), columns_memory()
    largest, total, log_total = block_of_reals(), block_of_reals(), block_of_reals()
    slope_total, losses = block_of_reals(), block_of_reals()
    y, place, weight, scale = (
        block_of_reals(),
        block_of_int64s(),
        block_of_reals(),
        block_of_reals(),
    )
    factor, own = np.int64(factor_bits).view(np.float64), reals(parameters)
    n_groups, ends = int64s(groups)[0], int64s(groups + 8)
    n_columns = ends[n_groups - 1]
    for first in range(0, n_rows, LOSS_BLOCK):
        n, z = min(LOSS_BLOCK, n_rows - first), taken + first * VECTOR
        lanes, rows = lanes_for(n), order + first * 8
        load_block(rows, sample_weight, n, lanes, factor, weight, scale)
        for i in range(lanes):
            losses[i] = real(0.0)
        begin = plain(0)
        for group in range(n_groups):
            end = ends[group]
            is_one_panel = begin // LANES == (end - 1) // LANES
            load_places(rows, targets, n_columns, n_groups, group, begin, n, lanes, place)
            shift_and_sum(z, stride, begin, end, lanes, columns, largest, total)
            for i in range(lanes):
                log_total[i] = log(total[i])
                slope_total[i] = real(0.0)
            for column in range(begin, end):
                if not is_one_panel:
                    load_next(z, stride, column, begin, lanes, columns)
                value = column_of(columns, column)
                for i in range(lanes):
                    y[i] = target_of(targets_at(targets), place[i], column)
                for i in range(lanes):
                    log_p = (value[i] - largest[i]) - log_total[i]
                    losses[i] += loss_value(log_p, y[i], own, column, n_columns)
                    slope_total[i] += loss_slope(log_p, y[i], own, column, n_columns)
            for column in range(begin, end if slopes != 0 else begin):
                if not is_one_panel:
                    load_next(z, stride, column, begin, lanes, columns)
                value, dz = column_of(columns, column), column_of(found, column)
                for i in range(lanes):
                    y[i] = target_of(targets_at(targets), place[i], column)
                for i in range(lanes):
                    shifted = value[i] - largest[i]
                    p = exp(shifted) / total[i]
                    slope = loss_slope(shifted - log_total[i], y[i], own, column, n_columns)
                    dz[i] = (slope - p * slope_total[i]) * scale[i]
                store_complete(found, slopes + first * VECTOR, stride, column, n_columns, lanes)
            begin = end
        each = row_losses + first * SIZE if row_losses != 0 else 0
        store_losses(losses, weight, n, block_losses + first // LOSS_BLOCK * 8, each)


@exported
def loss_of_logits_rows(
    taken: int,
    stride: int,
    n_rows: int,
    groups: int,
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
    columns, losses, y = columns_memory(), block_of_reals(), block_of_reals()
    place, weight, scale = block_of_int64s(), block_of_reals(), block_of_reals()
    factor, own = np.int64(factor_bits).view(np.float64), reals(parameters)
    n_columns = int64s(groups + 8)[0]  # there is one group
    for first in range(0, n_rows, LOSS_BLOCK):
        n, z = min(LOSS_BLOCK, n_rows - first), taken + first * VECTOR
        lanes, rows = lanes_for(n), order + first * 8
        load_block(rows, sample_weight, n, lanes, factor, weight, scale)
        load_places(rows, targets, n_columns, 1, 0, 0, n, lanes, place)
        for i in range(lanes):
            losses[i] = real(0.0)
        for column in range(n_columns):
            if column % LANES == 0:
                load_panel(z, stride, column // LANES, lanes, columns)
            value = column_of(columns, column)
            for i in range(lanes):
                y[i] = target_of(targets_at(targets), place[i], column)
            for i in range(lanes):
                losses[i] += loss_value(value[i], y[i], own, column, n_columns)
                slope = loss_slope(value[i], y[i], own, column, n_columns)
                value[i] = slope * scale[i]
            if slopes != 0:
                store_complete(columns, slopes + first * VECTOR, stride, column, n_columns, lanes)
        each = row_losses + first * SIZE if row_losses != 0 else 0
        store_losses(losses, weight, n, block_losses + first // LOSS_BLOCK * 8, each)
