"""The matrix loops of the `numba` backend: templates, see `numba_names`.

Matrices are panels of LANES columns, ``panel[column // LANES][row][column % LANES]``, as in
`native/kernels.h`: a row of a panel is one vector. The rows of activations and slopes are those of
the batch, the rows of weights are the inputs. One register tile serves all three products; the
order of every sum is fixed, whatever the tile and whoever computes it.
"""

from __future__ import annotations

from .numba_names import (
    CACHE_LINE,
    FROM_PANELS,
    GRADIENT_PANELS,
    GRADIENT_ROWS,
    LANES,
    LISTED_INPUT_PANELS,
    LISTED_INPUTS,
    LISTED_PANELS,
    LISTED_ROWS,
    PACKED_PANELS,
    SIZE,
    TILE_ROWS,
    TO_PANELS,
    VECTOR,
    WEIGHTED_SUM,
    add_steps,
    call_address,
    compiled,
    exported,
    gradient_memory,
    gradient_tile,
    int64s,
    memory_of_depths,
    memory_of_lists,
    memory_of_packed,
    nonzero_rows,
    packed_tile,
    plain,
    prefetch,
    real,
    reals,
    sum_tile,
    transpose_vectors,
    uint16s,
)

BLOCK_BYTES = 128 << 10
"""What of `a` is worked on together: so much, or twice as much, stays in the second-level cache."""

BLOCK_DEPTH = 256
"""So many rows of two panels of w stay in the first-level cache, for many tiles to use."""

WIDE_PANELS = 8
"""A single row takes so many panels at once: two sums alone would wait for each other."""

LISTED_STEPS = 6 << 10
"""The lists of the tiles of a block have room for so many steps: 48 KB."""

LARGEST_DISTANCE = (1 << 31) - 1
"""In bytes, of a step of a list: it has 32 bits for each."""

PANELS_PER_SAMPLE = 4
"""One panel in so many tells whether there are many zeros."""

STEPS_TO_FETCH = 32
"""From so many steps on a tile's weights are fetched ahead: few do not hide what they wait for."""


@compiled
def some_lanes(nonzero: int, rows: int) -> int:
    """Return which lanes of a panel are not zero in one of the rows."""
    lanes = 0
    for row in range(rows):
        lanes |= uint16s(nonzero)[row]
    return lanes


@compiled
def panels_of_tile(left: int, most: int) -> int:
    """Return how many of the panels that are left a tile takes: as many as it may, 2 or 1.

    Where it may take 3, the last 4 are 2 and 2, not 3 and 1.
    """
    if most == 3 and left == 4:
        return 2
    return most if left >= most else min(left, 2)


@compiled
def has_many_zeros(nonzero: int, panel_rows: int, rows: int, inputs: int, out_panels: int) -> bool:
    """Return whether lists of steps pay: if over a quarter of the steps of a sample are all zeros.

    The sample is the first rows, as many as a tile with lists has for so many panels of outputs, in
    some of the panels.
    `nonzero` tells which lanes of a row of a panel of `a` are not zero, and the same row of the
    next panel `panel_rows` further: uint16; 0: nothing is known. Zeros are left out as if the other
    operand were finite.
    """
    if nonzero == 0:
        return False
    tile_rows = LISTED_ROWS if out_panels >= LISTED_PANELS else TILE_ROWS
    steps, all_steps = 0, 0
    for panel in range(0, (inputs + LANES - 1) // LANES, PANELS_PER_SAMPLE):
        lanes = some_lanes(nonzero + panel * panel_rows * 2, min(rows, tile_rows))
        for lane in range(LANES):
            steps += lanes >> lane & 1
        all_steps += min(LANES, inputs - panel * LANES)
    return steps * 4 < all_steps * 3


@compiled
def list_inputs(
    nonzero: int, panel_rows: int, rows: int, inputs: int, a_stride: int, w_step: int, place: int
) -> int:
    """List the steps of a tile, inputs that are not zero in all of its rows; return how many."""
    n = plain(0)
    for panel in range((inputs + LANES - 1) // LANES):
        lanes = some_lanes(nonzero + panel * panel_rows * 2, rows)
        step = panel * a_stride + ((panel * LANES * w_step) << 32)
        n += add_steps(lanes, step, SIZE + (w_step << 32), place + n * 8)
    return n


@compiled
def list_rows(nonzero: int, rows: int, lanes: int, place: int) -> int:
    """List the steps of a tile, rows where some of these lanes are not zero; return how many."""
    n, step = plain(0), VECTOR + (VECTOR << 32)
    for row in range(0, rows, LANES):
        flags = nonzero_rows(nonzero + row * 2, lanes)
        if rows - row < LANES:  # beyond lies anything
            flags &= (1 << (rows - row)) - 1
        n += add_steps(flags, row * step, step, place + n * 8)
    return n


@compiled
def pack_rows(a: int, a_stride: int, rows: int, inputs: int, place: int) -> None:
    """Copy the rows of a tile to where those of an input lie side by side, the next one behind."""
    for column in range(inputs):
        source = reals(a + column // LANES * a_stride + column % LANES * SIZE)
        to = reals(place + column * rows * SIZE)
        for row in range(rows):
            to[row] = source[row * LANES]


@exported
def weighted_sum(
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
    """Compute z = a @ w + b for the output panels [first, last); b may be 0: none.

    The rows of a panel of w lie `w_step` apart: VECTOR, or the rows of a row-major matrix; b is
    another such row. `nonzero`: see `has_many_zeros`.
    """
    panel_rows, lists, depths = a_stride // VECTOR, memory_of_lists(), int64s(memory_of_depths())
    packed = memory_of_packed()
    # A list costs as much as a few products per step.
    is_listed = min(all_rows, TILE_ROWS) * (last - first) >= 8
    is_listed = is_listed and has_many_zeros(nonzero, panel_rows, all_rows, fan_in, last - first)
    is_listed = is_listed and LISTED_STEPS * max(a_stride // LANES, w_step) <= LARGEST_DISTANCE
    block_rows = (1 if is_listed else 2) * BLOCK_BYTES // (BLOCK_DEPTH * SIZE)
    for row_block in range(0, all_rows, block_rows):
        rows = min(all_rows - row_block, block_rows)
        # Tiles of nearly equal height: 128 rows are 8 of 13 and 2 of 12, not 9 of 13 and one of 11.
        is_low = is_listed and last - first >= LISTED_PANELS and rows >= 2 * LISTED_ROWS
        tile_rows, tile_panels = TILE_ROWS, 2
        if is_low:
            tile_rows, tile_panels = LISTED_ROWS, LISTED_PANELS
        n_tiles = (rows + tile_rows - 1) // tile_rows
        # Of so many rows tiles have TILE_ROWS or one less: for others there is no packed tile.
        is_packed = not is_listed and rows >= TILE_ROWS * TILE_ROWS
        is_packed = is_packed and 0 < PACKED_PANELS <= last - first
        depth = max(BLOCK_DEPTH, BLOCK_BYTES // (rows * SIZE) // LANES * LANES)
        if is_listed:  # blocks of nearly equal depth, of whole panels
            most, in_panels = LISTED_STEPS // n_tiles // LANES, (fan_in + LANES - 1) // LANES
            n_blocks = (in_panels + most - 1) // most
            depth = (in_panels + n_blocks - 1) // n_blocks * LANES
        done = 0
        while True:  # once even if there is nothing to sum: then z is b
            inputs = min(fan_in - done, depth)
            if is_listed:
                for tile in range(n_tiles):
                    row = row_block + tile * rows // n_tiles
                    height = row_block + (tile + 1) * rows // n_tiles - row
                    known = nonzero + (done // LANES * panel_rows + row) * 2
                    place = lists + tile * depth * 8
                    depths[tile] = list_inputs(
                        known, panel_rows, height, inputs, a_stride, w_step, place
                    )
            a_block = a + done // LANES * a_stride
            if is_packed:
                for tile in range(n_tiles):
                    row = tile * rows // n_tiles
                    height = (tile + 1) * rows // n_tiles - row
                    first_row = a_block + (row_block + row) * VECTOR
                    pack_rows(first_row, a_stride, height, inputs, packed + row * inputs * SIZE)
            panel = first
            while panel < last:
                panels = panels_of_tile(last - panel, tile_panels)
                if rows == 1 and last - panel >= WIDE_PANELS:
                    panels = WIDE_PANELS
                w_block = w + panel * w_stride + done * w_step
                for tile in range(n_tiles):
                    row = row_block + tile * rows // n_tiles
                    height = row_block + (tile + 1) * rows // n_tiles - row
                    out = z + panel * z_stride + row * VECTOR
                    start, start_row, start_panel = out, VECTOR, z_stride
                    if done == 0:
                        start, start_row, start_panel = 0, 0, w_stride
                        if b != 0:
                            start = b + panel * w_stride
                    steps_of_tile, list_of_tile = inputs, 0
                    if is_listed:
                        steps_of_tile, list_of_tile = depths[tile], lists + tile * depth * 8
                    a_tile, a_step = a_block + row * VECTOR, SIZE
                    if is_packed:
                        a_tile = packed + (row - row_block) * inputs * SIZE
                        a_step = height * SIZE
                    arguments = (
                        *(a_tile, a_step, a_stride),
                        *(w_block, w_stride, w_step, steps_of_tile, list_of_tile),
                        *(start, start_row, start_panel, 0),
                        *(out, z_stride),
                    )
                    if is_packed:
                        packed_tile(height, panels, arguments)
                    else:
                        sum_tile(height, panels, arguments)
                panel += panels
            done += depth
            if done >= fan_in:
                break


@compiled
def fetch_weights(w: int, stride: int, panels: int, n_bytes: int) -> None:
    """Fetch what a tile of the gradient will be added to: it takes as long as a tile's steps."""
    for panel in range(panels):
        for byte in range(0, n_bytes, CACHE_LINE):
            prefetch(w + panel * stride + byte)


@exported
def weight_gradient(
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
    """Compute dw = a.T @ dz for the inputs and the output panels [first, last).

    `a_step` is from row to row of a: VECTOR; or 0, with `a` the address of a one: then dw is db.
    Without factor and update `out` takes dw; with the address of a factor, ``out += factor * dw``;
    with an update, `out` is w, and each tile is updated at once, its state `state_stride` further,
    by its gradient as the function `adjust` makes it (0: as it is).
    `nonzero`: see `has_many_zeros`.
    """
    gradient, list_of_tile, panel_rows = gradient_memory(), 0, a_stride // VECTOR
    if rows <= LISTED_STEPS and has_many_zeros(nonzero, panel_rows, rows, last_input, last - first):
        list_of_tile = memory_of_lists()
    is_low = list_of_tile != 0 and last - first >= LISTED_PANELS
    tile_inputs = LISTED_INPUTS if is_low else GRADIENT_ROWS
    # Of whole tiles of either kind.
    group = 2 * BLOCK_BYTES // (rows * VECTOR) // LISTED_INPUT_PANELS * LISTED_INPUT_PANELS
    group = max(group, LISTED_INPUT_PANELS)
    for group_first in range(first, last, group):
        group_last = min(last, group_first + group)
        start = first_input
        while start < last_input:
            lane = start % LANES  # a tile never straddles two panels of a
            height = min(min(last_input - start, tile_inputs), LANES - lane)
            a_tile = a + start // LANES * a_stride + lane * SIZE
            depth = rows
            if list_of_tile != 0:
                known, lanes = start // LANES * panel_rows * 2, ((1 << height) - 1) << lane
                depth = list_rows(nonzero + known, rows, lanes, list_of_tile)
                if depth == 0 and factor != 0:  # these weights do not change
                    start += height
                    continue
            tile_panels = LISTED_INPUT_PANELS if is_low else GRADIENT_PANELS
            if height < tile_inputs:
                tile_panels = 2
            panel = group_first
            while panel < group_last:
                panels = panels_of_tile(group_last - panel, tile_panels)
                dz_tile = dz + panel * dz_stride
                out_tile, tile_stride = out + panel * out_stride + start * VECTOR, out_stride
                w, size = out_tile, height * VECTOR
                if depth >= STEPS_TO_FETCH and (update != 0 or factor != 0):
                    fetch_weights(w, out_stride, panels, size)
                if update != 0:
                    out_tile, tile_stride = gradient, size
                gradient_tile(
                    height,
                    panels,
                    (
                        *(a_tile, a_step, 0),
                        *(dz_tile, dz_stride, VECTOR, depth, list_of_tile),
                        *(0, 0, 0, factor),
                        *(out_tile, tile_stride),
                    ),
                )
                if update != 0:
                    for each in range(panels):
                        place, g, n = w + each * out_stride, gradient + each * size, height * LANES
                        if adjust != 0:
                            call_address(adjust, (place, g, adjustments, n))
                        state = place + state_stride
                        call_address(update, (place, g, state, state_stride, coefficients, n))
                panel += panels
            start += height


@exported
def transpose(
    w: int, w_stride: int, to: int, to_stride: int, fan_in: int, fan_out: int, first: int, last: int
) -> None:
    """Copy w (fan_in, fan_out) to the panels [first, last) of its transpose (fan_out, fan_in).

    There is room for whole vectors: rows past fan_out are written, columns past fan_in are zero.
    """
    for panel in range(first, last):
        width = min(fan_in - panel * LANES, LANES)
        for column in range(0, fan_out, LANES):
            source = w + column // LANES * w_stride + panel * LANES * VECTOR
            square = to + panel * to_stride + column * VECTOR
            if width == LANES:
                transpose_vectors(source, VECTOR, square, VECTOR)
            else:
                for other in range(min(fan_out - column, LANES)):
                    numbers, row = reals(source + other * SIZE), reals(square + other * VECTOR)
                    for lane in range(LANES):
                        row[lane] = numbers[lane * LANES] if lane < width else real(0.0)


@exported
def multiply_rows(
    functions: int,
    a: int,
    b: int,
    b_stride: int,
    b_step: int,
    out: int,
    a_panels: int,
    out_panels: int,
    first: int,
    last: int,
    inner: int,
    columns: int,
    stride: int,
) -> None:
    """Compute the rows [first, last) of out (rows, columns) = a (rows, inner) @ b (inner, columns).

    a and out are row-major; of b its panels are given, or itself if its rows are whole vectors.
    `functions` are words of a call: TO_PANELS, WEIGHTED_SUM and FROM_PANELS are read.
    """
    words = int64s(functions)
    call_address(words[TO_PANELS], (a, inner, a_panels, stride, first, last))
    offset, panels = first * VECTOR, (columns + LANES - 1) // LANES
    call_address(
        words[WEIGHTED_SUM],
        (
            *(a_panels + offset, stride, 0, b, b_stride, b_step, 0),
            *(out_panels + offset, stride, last - first, inner, 0, panels),
        ),
    )
    call_address(words[FROM_PANELS], (out_panels, stride, columns, out, first, last))
