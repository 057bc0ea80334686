"""Products of the `numba` backend in bfloat16: templates, see `numba_names`.

As in `native/product_bfloat16.h`: operands are rounded block by block into memory that stays in the
caches, and the register tiles of float32 do the rest. With AVX512-BF16 a number of a rounded panel
stands for a PAIR, neighbours along the depth of the product, whose products are summed together;
without it for itself: products of two rounded numbers are exact in float32. Where many inputs are
zero, tiles take lists of steps, by what is zero in a rounded block. A module of its own: other
precisions compile nothing of it.
"""

from __future__ import annotations

from .numba_names import (
    GRADIENT_PANELS,
    GRADIENT_ROWS,
    LANES,
    LISTED_INPUT_PANELS,
    LISTED_INPUTS,
    LISTED_PANELS,
    LISTED_ROWS,
    PAIR,
    SIZE,
    TILE_ROWS,
    VECTOR,
    call_address,
    compiled,
    exported,
    gradient_tile,
    int64s,
    memory_of_depths,
    memory_of_gradients,
    memory_of_inputs,
    memory_of_lists,
    memory_of_nonzeros,
    memory_of_rows,
    memory_of_slopes,
    memory_of_weights,
    memory_of_zeros,
    nonzero_numbers,
    pair_columns,
    pair_rows,
    round_vector,
    sum_tile,
    uint16s,
)
from .numba_products import (
    STEPS_TO_FETCH,
    fetch_weights,
    has_many_zeros,
    list_inputs,
    list_rows,
    panels_of_tile,
)

SUM_ROWS = 256
"""So many rows of `a` are rounded together, of PAIR times as many, ..."""

LISTED_BLOCK_ROWS = 64
"""... (with lists so many, PAIR times, which have room for as many tiles)"""

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


@compiled
def note_nonzeros(block: int, stride: int, rows: int, columns: int, nonzero: int) -> None:
    """Note which numbers of a rounded block of panels are not zero; see `has_many_zeros`."""
    for panel in range((columns + LANES - 1) // LANES):
        lanes = uint16s(nonzero + panel * (stride // VECTOR) * 2)
        for row in range(rows):
            lanes[row] = nonzero_numbers(block + panel * stride + row * VECTOR)


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
    a_block, w_block, of_block = memory_of_rows(), memory_of_weights(), memory_of_nonzeros()
    lists, depths = memory_of_lists(), int64s(memory_of_depths())
    is_listed = has_many_zeros(nonzero, a_stride // VECTOR, all_rows, fan_in, last - first)
    most_rows = (LISTED_BLOCK_ROWS if is_listed else SUM_ROWS) * PAIR
    list_bytes = SUM_DEPTH // PAIR * 8
    # Blocks of nearly equal depth, of whole panels.
    n_blocks = max(1, (fan_in + SUM_DEPTH - 1) // SUM_DEPTH)
    unit = PAIR * LANES
    depth = ((fan_in + n_blocks - 1) // n_blocks + unit - 1) // unit * unit
    for row_block in range(0, all_rows, most_rows):
        rows = min(all_rows - row_block, most_rows)
        tile_rows, tile_panels = TILE_ROWS, 2
        if is_listed and last - first >= LISTED_PANELS and rows >= 2 * LISTED_ROWS:
            tile_rows, tile_panels = LISTED_ROWS, LISTED_PANELS
        n_tiles = (rows + tile_rows - 1) // tile_rows
        # One row more: panels of 128 rows would all lie in the same sets of the cache.
        block_stride = (rows + 1) * VECTOR
        for done in range(0, fan_in, depth):
            inputs = min(fan_in - done, depth)
            steps = (inputs + PAIR - 1) // PAIR
            source = a + done // LANES * a_stride + row_block * VECTOR
            round_columns(source, a_stride, rows, inputs, a_block, block_stride)
            if is_listed:
                note_nonzeros(a_block, block_stride, rows, steps, of_block)
                for tile in range(n_tiles):
                    row = tile * rows // n_tiles
                    height = (tile + 1) * rows // n_tiles - row
                    depths[tile] = list_inputs(
                        *(of_block + row * 2, block_stride // VECTOR, height, steps),
                        *(block_stride, VECTOR, lists + tile * list_bytes),
                    )
            panel = first
            while panel < last:
                panels = panels_of_tile(last - panel, tile_panels)
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
                    steps_of_tile, list_of_tile = steps, 0
                    if is_listed:
                        steps_of_tile, list_of_tile = depths[tile], lists + tile * list_bytes
                    sum_tile(
                        height,
                        panels,
                        (
                            *(a_block + row * VECTOR, SIZE, block_stride),
                            *(w_block, steps * VECTOR, VECTOR, steps_of_tile, list_of_tile),
                            *(start, start_row, start_panel, 0),
                            *(out, z_stride),
                        ),
                    )
                panel += panels


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
    of_block, list_of_tile = memory_of_nonzeros(), 0
    is_listed = has_many_zeros(nonzero, a_stride // VECTOR, rows, last_input, last - first)
    if is_listed:
        list_of_tile = memory_of_lists()
    is_low = is_listed and last - first >= LISTED_PANELS
    tile_inputs = LISTED_INPUTS if is_low else GRADIENT_ROWS
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
                if is_listed:
                    note_nonzeros(a_block, VECTOR, steps, LANES, of_block)
                for lane in range(0, width, tile_inputs):
                    height, steps_of_tile = min(width - lane, tile_inputs), steps
                    tile_panels = LISTED_INPUT_PANELS if is_low else GRADIENT_PANELS
                    if height < tile_inputs:
                        tile_panels = 2
                    if is_listed:
                        lanes = ((1 << height) - 1) << lane
                        steps_of_tile = list_rows(of_block, steps, lanes, list_of_tile)
                    panel = group_first
                    while panel < group_last:
                        panels = panels_of_tile(group_last - panel, tile_panels)
                        dz_tile = dz_block + (panel - group_first) * steps * VECTOR
                        sums = gradient + ((panel - group_first) * LANES + lane) * VECTOR
                        place = out + panel * out_stride + (start + lane) * VECTOR
                        before = sums if row > 0 else 0
                        to, to_stride, by = sums, LANES * VECTOR, 0
                        if is_last and update == 0:
                            to, to_stride, by = place, out_stride, factor
                        is_changed = is_last and (update != 0 or factor != 0)
                        if is_changed and steps_of_tile >= STEPS_TO_FETCH:
                            fetch_weights(place, out_stride, panels, height * VECTOR)
                        gradient_tile(
                            height,
                            panels,
                            (
                                *(a_block + lane * SIZE, VECTOR, 0),
                                *(dz_tile, steps * VECTOR, VECTOR, steps_of_tile, list_of_tile),
                                *(before, VECTOR, LANES * VECTOR, by),
                                *(to, to_stride),
                            ),
                        )
                        if is_last and update != 0:
                            for each in range(panels):
                                w, g = place + each * out_stride, sums + each * LANES * VECTOR
                                n, state = height * LANES, w + state_stride
                                if adjust != 0:
                                    call_address(adjust, (w, g, adjustments, n))
                                call_address(update, (w, g, state, state_stride, coefficients, n))
                        panel += panels
