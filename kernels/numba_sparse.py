"""The first layer on sparse rows in the `numba` backend: templates, see `numba_names`.

Work goes with what is stored, not with the width, as in `native/sparse_real.h`. A stored value
counts scaled, and as dropout leaves it. A module of its own: dense rows compile nothing of it.
"""

from __future__ import annotations

import numpy as np

from .numba_batches import layer_of
from .numba_names import (
    ADJUST,
    ADJUSTMENTS,
    COLUMNS,
    DZ,
    FAN_IN,
    FIRST_GRADIENT,
    GRADIENT,
    INFINITE_BITS,
    INPUT_SCALE,
    INPUT_STEP,
    KEPT_FACTOR,
    LANES,
    LARGEST_BITS,
    NORMALIZATION,
    NOT_FINITE,
    PACKED,
    PACKED_BYTES,
    PACKED_STRIDE,
    STARTS,
    STRIDE,
    THRESHOLD,
    VECTOR,
    W_STEP,
    W_STRIDE,
    ZEROS,
    Number,
    Pointer,
    W,
    X,
    Z,
    add_four,
    bits_of_real,
    call_address,
    exported,
    inlined,
    int32s,
    int64s,
    load_four,
    memory_of_four,
    plain,
    random_bits,
    real,
    reals,
    scaled_input,
    scatter_four,
    store_four,
)

PANELS_AT_ONCE = 4
"""So many panels at a time take a stored value and its place once."""


@inlined
def kept(value: Number, threshold: int, factor: Number, row_bits: int, unit: int) -> Number:
    """Return a value as dropout leaves it; with the threshold 0 as it is."""
    if threshold == 0:
        return value
    return value * (factor if random_bits(row_bits + unit) >= threshold else real(0.0))


@inlined
def stored(call: Pointer, values: Pointer, at: int) -> Number:
    """Return a stored value as the first layer takes it; sparse rows have no center."""
    step = call[INPUT_STEP] * int32s(call[COLUMNS])[at]
    return scaled_input(values[at], real(0.0), reals(call[INPUT_SCALE] + step)[0])


@exported
def look_at_stored(address: int, order: int, n_rows: int) -> None:
    """Set NOT_FINITE if some value of the rows, which stay where they are, is not finite."""
    call = int64s(address)
    rows, starts, values = int64s(order), int64s(call[STARTS]), reals(call[X])
    for row in range(n_rows):
        for at in range(starts[rows[row]], starts[rows[row] + 1]):
            if bits_of_real(stored(call, values, at)) & LARGEST_BITS >= INFINITE_BITS:
                call[NOT_FINITE] = 1


# The functions for a single panel are the text of those for four, with other names: numba_source.


@inlined
def sum_of_four(
    call: Pointer,
    begin: int,
    end: int,
    threshold: int,
    factor: Number,
    row_bits: int,
    w: int,
    w_stride: int,
    w_step: int,
    b: int,
    b_stride: int,
    z: int,
) -> None:
    """Compute z = x @ w + b of a row for four panels."""
    columns, values, sums = int32s(call[COLUMNS]), reals(call[X]), memory_of_four()
    load_four(b, b_stride, sums)
    for at in range(begin, end):
        unit = plain(columns[at])
        value = kept(stored(call, values, at), threshold, factor, row_bits, unit)
        add_four(value, w + unit * w_step, w_stride, sums)
    store_four(sums, z, call[STRIDE])


@exported
def sparse_sum(
    address: int, order: int, keys: int, first_row: int, last_row: int, first: int, last: int
) -> None:
    """Compute z of the first layer for some rows and panels; `keys` are the batch's, or 0."""
    call = int64s(address)
    layer = layer_of(call, plain(0))
    rows, starts = int64s(order), int64s(call[STARTS])
    w, w_stride, w_step = layer[W], layer[W_STRIDE], layer[W_STEP]
    b, b_stride = w + layer[FAN_IN] * w_step, w_stride
    if layer[NORMALIZATION] != 0:  # then its biases are beta
        b, b_stride = call[ZEROS], plain(0)
    threshold, key = plain(0), plain(0)
    factor = real(np.int64(layer[KEPT_FACTOR]).view(np.float64))
    if keys != 0:
        threshold, key = layer[THRESHOLD], int64s(keys)[0]
    for row in range(first_row, last_row):
        begin, end = starts[rows[row]], starts[rows[row] + 1]
        row_bits = random_bits(key + row)
        z = layer[Z] + row * VECTOR
        panel = first
        while panel + PANELS_AT_ONCE <= last:
            sum_of_four(
                *(call, begin, end, threshold, factor, row_bits),
                *(w + panel * w_stride, w_stride, w_step, b + panel * b_stride, b_stride),
                z + panel * call[STRIDE],
            )
            panel += PANELS_AT_ONCE
        while panel < last:
            sum_of_one(
                *(call, begin, end, threshold, factor, row_bits),
                *(w + panel * w_stride, w_stride, w_step, b + panel * b_stride, b_stride),
                z + panel * call[STRIDE],
            )
            panel += 1


@inlined
def gradient_of_four(
    call: Pointer,
    order: int,
    n_rows: int,
    threshold: int,
    factor: Number,
    key: int,
    dz: int,
    step: Number,
    out: int,
    out_stride: int,
    first_input: int,
    last_input: int,
) -> None:
    """Add ``step * x.T @ dz`` to `out` for four panels."""
    columns, values, slopes = int32s(call[COLUMNS]), reals(call[X]), memory_of_four()
    rows, starts = int64s(order), int64s(call[STARTS])
    for row in range(n_rows):
        row_bits = random_bits(key + row)
        load_four(dz + row * VECTOR, call[STRIDE], slopes)
        for at in range(starts[rows[row]], starts[rows[row] + 1]):
            unit = plain(columns[at])
            if first_input <= unit < last_input:
                value = kept(stored(call, values, at), threshold, factor, row_bits, unit)
                scatter_four(step * value, slopes, out + unit * VECTOR, out_stride)


sum_of_one, gradient_of_one = sum_of_four, gradient_of_four


@exported
def sparse_gradient(
    address: int,
    order: int,
    keys: int,
    n_rows: int,
    factor: int,
    update: int,
    numbers: int,
    first_input: int,
    last_input: int,
    first: int,
    last: int,
) -> None:
    """Compute dw of the first layer for some inputs and panels; factor and update as if dense.

    Plain gradient descent changes the weights of stored values alone. Everything else changes all
    weights at every step: their gradient is laid out first.
    """
    call = int64s(address)
    layer = layer_of(call, plain(0))
    stride = layer[PACKED_STRIDE]
    out, step = call[GRADIENT] + layer[PACKED], real(1.0)
    if factor != 0:
        step = reals(factor)[0]
    elif update != 0:
        out = call[FIRST_GRADIENT]
    threshold, key = plain(0), plain(0)
    kept_factor = real(np.int64(layer[KEPT_FACTOR]).view(np.float64))
    if keys != 0:
        threshold, key = layer[THRESHOLD], int64s(keys)[0]
    n = (last_input - first_input) * LANES
    if factor == 0:
        for panel in range(first, last):
            nothing = reals(out + panel * stride + first_input * VECTOR)
            for i in range(n):
                nothing[i] = real(0.0)
    panel = first
    while panel + PANELS_AT_ONCE <= last:
        gradient_of_four(
            *(call, order, n_rows, threshold, kept_factor, key),
            *(layer[DZ] + panel * call[STRIDE], step, out + panel * stride, stride),
            *(first_input, last_input),
        )
        panel += PANELS_AT_ONCE
    while panel < last:
        gradient_of_one(
            *(call, order, n_rows, threshold, kept_factor, key),
            *(layer[DZ] + panel * call[STRIDE], step, out + panel * stride, stride),
            *(first_input, last_input),
        )
        panel += 1
    if update == 0 or factor != 0:
        return
    for panel in range(first, last):
        offset = panel * stride + first_input * VECTOR
        place, g = call[GRADIENT] + layer[PACKED] + offset, out + offset
        if call[ADJUST] != 0:
            call_address(call[ADJUST], (place, g, numbers + call[ADJUSTMENTS], n))
        states = (place + call[PACKED_BYTES], call[PACKED_BYTES])
        call_address(update, (place, g, *states, numbers, n))
