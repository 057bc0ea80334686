"""Newton and Schulz in the `numba` backend: templates, see `numba_names`.

A matrix gets singular values of about 1 (`formulas.NEWTON_SCHULZ`), by all threads of a call: each
owns panels of every result, so no sum depends on their number. A module of its own: a plan without
such matrices compiles nothing of it.
"""

from __future__ import annotations

import math

import numpy as np

from .numba_batches import layer_of, meet
from .numba_names import (
    DIRECTION,
    DIRECTION_COEFFICIENTS,
    FAN_IN,
    FAN_OUT,
    FIRST_FACTOR,
    GRADIENT,
    GRAM,
    LANES,
    N_ITERATIONS,
    N_THREADS,
    ORTHOGONAL,
    ORTHOGONAL_NEXT_X,
    ORTHOGONAL_START,
    ORTHOGONAL_X,
    OUT_PANELS,
    PACKED,
    PACKED_BYTES,
    PACKED_STRIDE,
    PARAMETERS,
    SECOND_FACTOR,
    SIZE,
    SMALLEST_NORM,
    SQUARES,
    TERMS,
    THIRD_FACTOR,
    VECTOR,
    WEIGHT_GRADIENT,
    WEIGHTED_SUM,
    call_address,
    compiled,
    copy_vector,
    exported,
    float64s,
    gram_polynomial,
    int64s,
    real,
    reals,
)
from .numba_panels import share
from .numba_regularization import scale, sum_of_squares

PANEL_GROUPS = 16
"""Of panels of a symmetric matrix: the more, the less of it is computed twice."""


@compiled
def spaced(rows: int) -> int:
    """Return how far apart panels of so many rows lie, as `numba_memory.Panels.stride` does."""
    stride = rows * VECTOR
    return stride + VECTOR if stride % 4096 == 0 else stride


@compiled
def transpose_exactly(
    source: int,
    source_stride: int,
    to: int,
    to_stride: int,
    rows: int,
    columns: int,
    first: int,
    last: int,
) -> None:
    """Write panels [first, last) of the transpose of panels of (rows, columns), and nothing else.

    `numba_products.transpose` is faster, but writes whole vectors of rows: here biases, or another
    thread's panel, follow them.
    """
    for panel in range(first, last):
        width = min(rows - panel * LANES, LANES)
        for column in range(columns):
            place = column // LANES * source_stride + panel * LANES * VECTOR + column % LANES * SIZE
            numbers, row = reals(source + place), reals(to + panel * to_stride + column * VECTOR)
            for lane in range(LANES):
                row[lane] = numbers[lane * LANES] if lane < width else real(0.0)


@compiled
def owner(group: int, n_threads: int) -> int:
    """Return which thread takes a group of panels, of which each is more work than the last."""
    place = group % n_threads
    return place if group // n_threads % 2 == 0 else n_threads - 1 - place


@compiled
def mirror(values: int, stride: int, rows: int, group: int, thread: int, n_threads: int) -> None:
    """Fill in the rows past each group of panels of a symmetric matrix, out of later panels."""
    n_panels = (rows + LANES - 1) // LANES
    for number in range((n_panels + group - 1) // group):
        begin, end = number * group, min(n_panels, (number + 1) * group)
        row = end * LANES
        if row < rows and owner(number, n_threads) == thread:
            later, to = values + end * stride, values + row * VECTOR
            transpose_exactly(later, stride, to, stride, rows, rows - row, begin, end)


@compiled
def orthogonalize(
    address: int, words: int, stride: int, rows: int, columns: int, out: int, thread: int
) -> None:
    """Write ORTHOGONAL_START, of whose panels the thread has made its share, orthogonal to `out`.

    Both are panels of (rows, columns). Ends without a meeting: the thread's share of the panels of
    `out` is ready.
    """
    call, own = int64s(address), int64s(words)
    n_threads, large, small = call[N_THREADS], max(rows, columns), min(rows, columns)
    x_stride, gram_stride = spaced(large), spaced(small)
    n_panels, small_panels = (columns + LANES - 1) // LANES, (small + LANES - 1) // LANES
    first, last = share(small_panels, thread, n_threads), share(small_panels, thread + 1, n_threads)
    start, x, next_x = own[ORTHOGONAL_START], own[ORTHOGONAL_X], own[ORTHOGONAL_NEXT_X]
    gram, terms, squares = own[GRAM], own[TERMS], float64s(own[SQUARES])
    of_thread = share(n_panels, thread, n_threads)
    end_of_thread = share(n_panels, thread + 1, n_threads)
    for panel in range(of_thread, end_of_thread):
        squares[panel] = sum_of_squares(start + panel * stride, rows * LANES)
    meet(call)
    total, factor = 0.0, 0.0
    for panel in range(n_panels):
        total += squares[panel]
    if math.sqrt(total) > np.int64(own[SMALLEST_NORM]).view(np.float64):
        factor = 1.0 / math.sqrt(total)
    if columns > rows:
        transpose_exactly(start, stride, x, x_stride, rows, columns, first, last)
    for panel in range(first, last):
        if columns <= rows:
            source, to = start + panel * stride, x + panel * x_stride
            for row in range(rows):
                copy_vector(source + row * VECTOR, to + row * VECTOR)
        scale(x + panel * x_stride, factor, large * LANES)
    meet(call)
    one = real(np.int64(own[FIRST_FACTOR]).view(np.float64))
    second = real(np.int64(own[SECOND_FACTOR]).view(np.float64))
    third = real(np.int64(own[THIRD_FACTOR]).view(np.float64))
    group = max(2, 2 * ((small_panels + 2 * PANEL_GROUPS - 1) // (2 * PANEL_GROUPS)))  # panels
    n_groups = (small_panels + group - 1) // group
    for iteration in range(own[N_ITERATIONS]):
        # Both matrices are symmetric: of a group of panels the rows past it are those of others.
        for number in range(n_groups):
            begin, end = number * group, min(small_panels, (number + 1) * group)
            if owner(number, n_threads) == thread:
                call_address(
                    call[WEIGHT_GRADIENT],
                    (
                        *(x, x_stride, VECTOR, 0, x, x_stride, gram, gram_stride),
                        *(large, 0, min(small, end * LANES), begin, end),
                        *(0, 0, 0, 0, 0, 0),
                    ),
                )
        meet(call)
        mirror(gram, gram_stride, small, group, thread, n_threads)
        meet(call)
        for number in range(n_groups):
            begin, end = number * group, min(small_panels, (number + 1) * group)
            rows_here = min(small, end * LANES)
            if owner(number, n_threads) == thread:
                call_address(
                    call[WEIGHTED_SUM],
                    (
                        *(gram, gram_stride, 0, gram, gram_stride, VECTOR, 0),
                        *(terms, gram_stride, rows_here, small, begin, end),
                    ),
                )
                for panel in range(begin, end):
                    numbers = reals(terms + panel * gram_stride)
                    by = reals(gram + panel * gram_stride)
                    for i in range(rows_here * LANES):
                        (numbers[i],) = gram_polynomial(numbers[i], by[i], second, third)
                    for row in range(panel * LANES, min(small, (panel + 1) * LANES)):
                        place = row * LANES + row % LANES
                        numbers[place] = numbers[place] + one
        meet(call)
        mirror(terms, gram_stride, small, group, thread, n_threads)
        meet(call)
        result, result_stride = next_x, x_stride
        if iteration == own[N_ITERATIONS] - 1 and columns <= rows:
            result, result_stride = out, stride
        call_address(
            call[WEIGHTED_SUM],
            (
                *(x, x_stride, 0, terms, gram_stride, VECTOR, 0),
                *(result, result_stride, large, small, first, last),
            ),
        )
        x, next_x = next_x, x
        meet(call)
    if columns > rows:
        transpose_exactly(x, x_stride, out, stride, large, small, of_thread, end_of_thread)


@exported
def orthogonalize_alone(
    address: int, words: int, stride: int, rows: int, columns: int, out: int, thread: int
) -> None:
    """Do it for one matrix, by address."""
    orthogonalize(address, words, stride, rows, columns, out, thread)


@exported
def find_direction(address: int, index: int, factor_bits: int, numbers: int, thread: int) -> None:
    """Put the orthogonal direction of w in the place of its gradient, multiplied by a factor first.

    `numbers` are the coefficients of the batch.
    """
    call = int64s(address)
    own, layer = int64s(call[ORTHOGONAL]), layer_of(call, index)
    n_threads, stride, fan_in = call[N_THREADS], layer[PACKED_STRIDE], layer[FAN_IN]
    factor, panels = np.int64(factor_bits).view(np.float64), layer[OUT_PANELS]
    coefficients = numbers + own[DIRECTION_COEFFICIENTS]
    for panel in range(share(panels, thread, n_threads), share(panels, thread + 1, n_threads)):
        place, start = layer[PACKED] + panel * stride, own[ORTHOGONAL_START] + panel * stride
        g, state = call[GRADIENT] + place, call[PARAMETERS] + call[PACKED_BYTES] + place
        if factor != 1.0:
            scale(g, factor, fan_in * LANES)
        how = (state, call[PACKED_BYTES], coefficients, fan_in * LANES)
        call_address(own[DIRECTION], (start, g, *how))
    out = call[GRADIENT] + layer[PACKED]
    orthogonalize(address, call[ORTHOGONAL], stride, fan_in, layer[FAN_OUT], out, thread)
