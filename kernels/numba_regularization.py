"""Dropout, penalties and limits of the `numba` backend: templates, see `numba_names`.

Modules of their own: a plan without them compiles nothing of it.
"""

from __future__ import annotations

import math

import numpy as np

from .contract import N_ADJUSTMENTS
from .numba_batches import layer_of, meet
from .numba_names import (
    ADJUST,
    ADJUSTMENTS,
    CLIP_NORM,
    DIRECTION_SCALE,
    FAN_IN,
    FIND_DIRECTION,
    GRADIENT,
    LANES,
    LOSS_BLOCK,
    MATRIX_COEFFICIENTS,
    MATRIX_STEP,
    MAX_NORM,
    N_LAYERS,
    N_THREADS,
    N_VECTORS,
    ORTHOGONAL,
    OUT_PANELS,
    PACKED,
    PACKED_BYTES,
    PACKED_STRIDE,
    PANEL_SQUARES,
    PARAMETERS,
    SIZE,
    UPDATE,
    VECTOR,
    adjusted_gradient,
    call_address,
    compiled,
    copy_vector,
    exported,
    float64s,
    int64s,
    memory_of_counters,
    random_bits,
    real,
    reals,
    sums_of_lanes,
)
from .numba_panels import share


@exported
def drop(
    key: int,
    threshold: int,
    factor_bits: int,
    values: int,
    kept: int,
    stride: int,
    first_row: int,
    last_row: int,
    first: int,
    last: int,
) -> None:
    """Drop some of the units of panels by the batch's key; `kept` may be `values`.

    What is dropped depends on the place alone: see `formulas.dropout_bits`. Some rows at a time: a
    loop over the lanes of one would be unrolled instead of vectorised.
    """
    factor, counters = real(np.int64(factor_bits).view(np.float64)), int64s(memory_of_counters())
    for panel in range(first, last):
        for row in range(first_row, last_row, LOSS_BLOCK):
            offset, n_rows = panel * stride + row * VECTOR, min(last_row - row, LOSS_BLOCK)
            for each in range(n_rows):
                copy_vector(values + offset + each * VECTOR, kept + offset + each * VECTOR)
                counter = random_bits(key + row + each) + panel * LANES
                for lane in range(LANES):
                    counters[each * LANES + lane] = counter + lane
            numbers = reals(kept + offset)
            for i in range(n_rows * LANES):
                is_kept = random_bits(counters[i]) >= threshold
                numbers[i] = numbers[i] * (factor if is_kept else real(0.0))


@exported
def adjust(w: int, g: int, adjustments: int, n: int) -> None:
    """Change n numbers of a gradient by `formulas.adjusted_gradient`."""
    weights, gradient, by = reals(w), reals(g), reals(adjustments)
    l1, l2, limit = by[0], by[1], by[2]
    for i in range(n):
        gradient[i] = adjusted_gradient(weights[i], gradient[i], l1, l2, limit)


@compiled
def sum_of_squares(numbers: int, n: int) -> float:
    """Return the sum of the squares of whole vectors: lane by lane, then over the lanes."""
    sums, total = sums_of_lanes(), 0.0
    for lane in range(LANES):
        sums[lane] = 0.0
    for start in range(0, n, LANES):
        vector = reals(numbers + start * SIZE)
        for lane in range(LANES):
            sums[lane] += np.float64(vector[lane]) * np.float64(vector[lane])
    for lane in range(LANES):
        total += sums[lane]
    return total


@compiled
def scale(numbers: int, factor: float, n: int) -> None:
    """Multiply n numbers."""
    to, by = reals(numbers), real(factor)
    for i in range(n):
        to[i] = to[i] * by


@compiled
def limit_norm(panel: int, rows: int, limit: float) -> None:
    """Scale each column of a panel of weights to at most this Euclidean norm."""
    sums = sums_of_lanes()
    for lane in range(LANES):
        sums[lane] = 0.0
    for row in range(rows):
        vector = reals(panel + row * VECTOR)
        for lane in range(LANES):
            sums[lane] += np.float64(vector[lane]) * np.float64(vector[lane])
    for lane in range(LANES):
        norm = math.sqrt(sums[lane])
        if norm > limit:
            factor, column = real(limit / norm), reals(panel + lane * SIZE)
            for row in range(rows):
                column[row * LANES] = column[row * LANES] * factor


@exported
def update_whole(address: int, numbers: int, thread: int) -> None:
    """Do the update where it needs the whole gradient, that of all layers, which lies in GRADIENT.

    Each thread takes output panels. Begins and ends with a meeting. `numbers` are the coefficients.
    """
    call = int64s(address)
    n_threads, packed_bytes = call[N_THREADS], call[PACKED_BYTES]
    clip_norm = np.int64(call[CLIP_NORM]).view(np.float64)
    max_norm = np.int64(call[MAX_NORM]).view(np.float64)
    adjustments, squares = numbers + call[ADJUSTMENTS], float64s(call[PANEL_SQUARES])
    meet(call)
    n_panels = 0
    for index in range(call[N_LAYERS]):
        layer = layer_of(call, index)
        n, panels = layer[FAN_IN] * LANES, layer[OUT_PANELS]
        n_rest = layer[N_VECTORS] * LANES
        for panel in range(share(panels, thread, n_threads), share(panels, thread + 1, n_threads)):
            place = layer[PACKED] + panel * layer[PACKED_STRIDE]
            w, g = call[PARAMETERS] + place, call[GRADIENT] + place
            if call[ADJUST] != 0:
                call_address(call[ADJUST], (w, g, adjustments, n))
                biases = n * SIZE
                for_biases = adjustments + N_ADJUSTMENTS * SIZE
                call_address(call[ADJUST], (w + biases, g + biases, for_biases, n_rest))
            if clip_norm < math.inf:
                squares[n_panels + panel] = sum_of_squares(g, n + n_rest)
        n_panels += panels
    factor = 1.0
    if clip_norm < math.inf:
        meet(call)
        total = 0.0
        for panel in range(n_panels):
            total += squares[panel]
        if math.sqrt(total) > clip_norm:
            factor = clip_norm / math.sqrt(total)
    for index in range(call[N_LAYERS]):
        layer = layer_of(call, index)
        n, panels = (layer[FAN_IN] + layer[N_VECTORS]) * LANES, layer[OUT_PANELS]
        done = 0  # what of a panel is updated already
        if layer[DIRECTION_SCALE] != 0:
            done = layer[FAN_IN] * LANES
            own, factor_bits = int64s(call[ORTHOGONAL]), np.float64(factor).view(np.int64)
            call_address(own[FIND_DIRECTION], (address, index, factor_bits, numbers, thread))
        for panel in range(share(panels, thread, n_threads), share(panels, thread + 1, n_threads)):
            place = layer[PACKED] + panel * layer[PACKED_STRIDE]
            w, g = call[PARAMETERS] + place, call[GRADIENT] + place
            if layer[DIRECTION_SCALE] != 0:
                own = int64s(call[ORTHOGONAL])
                scale(g, np.int64(layer[DIRECTION_SCALE]).view(np.float64), done)
                coefficients = numbers + own[MATRIX_COEFFICIENTS]
                how = (w + packed_bytes, packed_bytes, coefficients, done)
                call_address(own[MATRIX_STEP], (w, g, *how))
            rest = (w + done * SIZE, g + done * SIZE, w + done * SIZE + packed_bytes)
            if factor != 1.0:
                scale(rest[1], factor, n - done)
            call_address(call[UPDATE], (*rest, packed_bytes, numbers, n - done))
            if max_norm < math.inf:
                limit_norm(w, layer[FAN_IN], max_norm)
    meet(call)
