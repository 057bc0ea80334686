"""Products of the `numba` backend in bfloat16: templates, see `numba_names`.

As in `native/product_bfloat16.h`: operands are rounded block by block into memory that stays in the
caches, and the register tiles of float32 do the rest. With AVX512-BF16 a number of a rounded panel
stands for a PAIR, neighbours along the depth of the product, whose products are summed together;
without it for itself: products of two rounded numbers are exact in float32. A module of its own:
other precisions compile nothing of it.
"""

from __future__ import annotations

from .numba_names import (
    GRADIENT_ROWS,
    LANES,
    PAIR,
    SIZE,
    TILE_ROWS,
    VECTOR,
    call_address,
    compiled,
    exported,
    gradient_tile,
    memory_of_gradients,
    memory_of_inputs,
    memory_of_rows,
    memory_of_slopes,
    memory_of_weights,
    memory_of_zeros,
    pair_columns,
    pair_rows,
    round_vector,
    sum_tile,
)

SUM_ROWS = 256
"""So many rows of `a` are rounded together, of PAIR times as many, ..."""

SUM_DEPTH = 256
"""... of so many columns: whole panels."""

GRADIENT_DEPTH = 512
"""So many rows of `a` and dz are rounded together."""

ROUNDED_PANELS = 16
"""Of dz, at most."""

GRADIENT_VALUES = 1 << 16


@compiled
def round_rows(source: int, step: int, rows: int, to: int) -> None:
    """Write rows of a panel, which lie `step` apart, rounded, PAIR of them as a row of another."""
    for row in range(0, rows, PAIR):
        place = source + row * step
        if PAIR == 1:
            round_vector(place, to)
        else:
            pair_rows(place, place + step if row + 1 < rows else memory_of_zeros(), to)
        to += VECTOR


@compiled
def round_columns(
    source: int, stride: int, rows: int, columns: int, to: int, to_stride: int
) -> None:
    """Write rows of panels, rounded, PAIR neighbours of a row as one number."""
    for column in range(0, columns, PAIR * LANES):
        for row in range(rows):
            place = source + row * VECTOR
            if PAIR == 1:
                round_vector(place, to + row * VECTOR)
            else:
                pair_columns(place, stride, columns - column, to + row * VECTOR)
        source += PAIR * stride
        to += to_stride


@exported
def bfloat16_sum(
    a: int,
    a_stride: int,
    nonzero: int,
    w: int,
    w_stride: int,
    w_step: int,
    b: int,
    z: int,
    z_stride: int,
    all_rows: int,
    fan_in: int,
    first: int,
    last: int,
) -> None:
    """Compute z = a @ w + b as `numba_products.weighted_sum` does, of rounded a and w."""
    a_block, w_block = memory_of_rows(), memory_of_weights()
    # Blocks of nearly equal depth, of whole panels.
    n_blocks = max(1, (fan_in + SUM_DEPTH - 1) // SUM_DEPTH)
    unit = PAIR * LANES
    depth = ((fan_in + n_blocks - 1) // n_blocks + unit - 1) // unit * unit
    for row_block in range(0, all_rows, SUM_ROWS * PAIR):
        rows = min(all_rows - row_block, SUM_ROWS * PAIR)
        n_tiles = (rows + TILE_ROWS - 1) // TILE_ROWS
        # One row more: panels of 128 rows would all lie in the same sets of the cache.
        block_stride = (rows + 1) * VECTOR
        for done in range(0, fan_in, depth):
            inputs = min(fan_in - done, depth)
            steps = (inputs + PAIR - 1) // PAIR
            source = a + done // LANES * a_stride + row_block * VECTOR
            round_columns(source, a_stride, rows, inputs, a_block, block_stride)
            for panel in range(first, last, 2):
                panels = min(last - panel, 2)
                for each in range(panels):
                    source = w + (panel + each) * w_stride + done * w_step
                    round_rows(source, w_step, inputs, w_block + each * steps * VECTOR)
                for tile in range(n_tiles):
                    row = tile * rows // n_tiles
                    height = (tile + 1) * rows // n_tiles - row
                    out = z + panel * z_stride + (row_block + row) * VECTOR
                    start, start_row, start_panel = out, VECTOR, z_stride
                    if done == 0:
                        start, start_row, start_panel = 0, 0, w_stride
                        if b != 0:
                            start = b + panel * w_stride
                    sum_tile(
                        height,
                        panels,
                        (
                            *(a_block + row * VECTOR, SIZE, block_stride),
                            *(w_block, steps * VECTOR, VECTOR, steps, 0),
                            *(start, start_row, start_panel, 0),
                            *(out, z_stride),
                        ),
                    )


@exported
def bfloat16_gradient(
    a: int,
    a_stride: int,
    a_step: int,
    nonzero: int,
    dz: int,
    dz_stride: int,
    out: int,
    out_stride: int,
    rows: int,
    first_input: int,
    last_input: int,
    first: int,
    last: int,
    factor: int,
    update: int,
    coefficients: int,
    state_stride: int,
    adjust: int,
    adjustments: int,
) -> None:
    """Compute dw = a.T @ dz as `numba_products.weight_gradient` does, of rounded a and dz.

    The first input begins a panel of `a`.
    """
    a_block, dz_block, gradient = memory_of_inputs(), memory_of_slopes(), memory_of_gradients()
    most_steps = (min(rows, GRADIENT_DEPTH) + PAIR - 1) // PAIR
    group = min(ROUNDED_PANELS, GRADIENT_VALUES // (most_steps * LANES) // 2 * 2)
    for group_first in range(first, last, group):
        group_last = min(last, group_first + group)
        for start in range(first_input, last_input, LANES):
            width = min(last_input - start, LANES)
            for row in range(0, rows, GRADIENT_DEPTH):
                depth = min(rows - row, GRADIENT_DEPTH)
                steps, is_last = (depth + PAIR - 1) // PAIR, row + depth == rows
                source = a + start // LANES * a_stride + row * a_step
                round_rows(source, a_step, depth, a_block)
                if start == first_input or rows > GRADIENT_DEPTH:
                    for panel in range(group_first, group_last):
                        source = dz + panel * dz_stride + row * VECTOR
                        to = dz_block + (panel - group_first) * steps * VECTOR
                        round_rows(source, VECTOR, depth, to)
                for panel in range(group_first, group_last, 2):
                    panels = min(group_last - panel, 2)
                    dz_tile = dz_block + (panel - group_first) * steps * VECTOR
                    for lane in range(0, width, GRADIENT_ROWS):
                        height = min(width - lane, GRADIENT_ROWS)
                        sums = gradient + ((panel - group_first) * LANES + lane) * VECTOR
                        place = out + panel * out_stride + (start + lane) * VECTOR
                        before = sums if row > 0 else 0
                        to, to_stride, by = sums, LANES * VECTOR, 0
                        if is_last and update == 0:
                            to, to_stride, by = place, out_stride, factor
                        gradient_tile(
                            height,
                            panels,
                            (
                                *(a_block + lane * SIZE, VECTOR, 0),
                                *(dz_tile, steps * VECTOR, VECTOR, steps, 0),
                                *(before, VECTOR, LANES * VECTOR, by),
                                *(to, to_stride),
                            ),
                        )
                        if not is_last or update == 0:
                            continue
                        for each in range(panels):
                            w, g = place + each * out_stride, sums + each * LANES * VECTOR
                            n, state = height * LANES, w + state_stride
                            if adjust != 0:
                                call_address(adjust, (w, g, adjustments, n))
                            call_address(update, (w, g, state, state_stride, coefficients, n))
