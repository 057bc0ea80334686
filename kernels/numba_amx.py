"""Products of the `numba` backend in bfloat16 by the tiles of AMX: templates, see `numba_names`.

The same functions as in `numba_bfloat16`, for panels of 16 numbers, and the same way as in
`native/product_amx.h`: a tile of 16 x 16 sums is 16 rows of one panel of z or of w, so it is
loaded and stored where it belongs, and two by two of them are computed together. Operands are
rounded and packed to tiles of pairs, block by block, into memory that stays in the caches.

Tiles are configured when a product begins and released when it ends: no thread keeps state, and
nobody who uses tiles too finds anything but what he has set.
"""

from __future__ import annotations

from .numba_bfloat16 import GRADIENT_DEPTH, SUM_ROWS
from .numba_names import (
    FAN_IN,
    INPUT_STRIP,
    LANES,
    LAYERS,
    VECTOR,
    X_STRIDE,
    X,
    call_address,
    compiled,
    configure_tiles,
    copy_vector,
    exported,
    int64s,
    load_tile,
    load_tile_once,
    memory_of_columns,
    memory_of_gradients,
    memory_of_inputs,
    memory_of_pairs,
    memory_of_rows,
    memory_of_slopes,
    memory_of_sums,
    memory_of_tile_shapes,
    memory_of_weights,
    memory_of_zeros,
    multiply_tiles,
    pair_columns,
    pair_rounded,
    pair_rows,
    plain,
    reals,
    release_tiles,
    store_tile,
    transpose_vectors,
    uint8s,
    zero_tile,
)
from .numba_panels import PIECE_COLUMNS, convert_columns, fetch_columns, row_ahead

TILE_BYTES = 1024
"""16 rows of 16 pairs of bfloat16, or of 16 sums of float32."""

TILE_DEPTH = 32
"""So many numbers along the depth of a product are in a tile; what is missing there is zero."""

TILE_SUM_DEPTH = 512
"""So many columns of `a` are rounded together: two panels of w are 32 KB then, and stay in the
first-level cache, since `a` is loaded past it."""

TILE_GRADIENT_BYTES = 1 << 18
"""Of the tiles of dz that are made together."""


@compiled
def shape_tiles(height: int) -> None:
    """Configure tiles 0 to 3 for sums, 4 and 5 for `a`, all of so many rows, 6 and 7 for `b`."""
    address = memory_of_tile_shapes()
    shapes = uint8s(address)
    shapes[0] = 1  # the palette: eight tiles of up to 16 rows of 64 bytes
    for tile in range(8):
        shapes[16 + 2 * tile] = VECTOR
        shapes[48 + tile] = height if tile < 6 else LANES
    configure_tiles(address)


@compiled
def multiply_block(
    tile_rows: int,
    panels: int,
    a: int,
    a_next: int,
    b: int,
    steps: int,
    start: int,
    start_row: int,
    start_panel: int,
    out: int,
    out_panel: int,
) -> None:
    """Compute out = start + a @ b for one or two rows of tiles and panels, so many tiles deep.

    The tiles of a row or panel lie one behind the other, rows of `a` `a_next` apart, panels of `b`
    one after the other. The rows of `start` (0: zeros) lie `start_row` apart, VECTOR or 0.
    """
    two_rows, two_panels = tile_rows == 2, panels == 2
    b_next, start_tile = steps * TILE_BYTES, LANES * start_row
    if start == 0:
        zero_tile(0)
        zero_tile(1)
        zero_tile(2)
        zero_tile(3)
    else:
        load_tile(0, start, start_row)
        if two_panels:
            load_tile(1, start + start_panel, start_row)
        if two_rows:
            load_tile(2, start + start_tile, start_row)
            if two_panels:
                load_tile(3, start + start_tile + start_panel, start_row)
    for step in range(steps):
        a_tile, b_tile = a + step * TILE_BYTES, b + step * TILE_BYTES
        load_tile_once(4, a_tile, VECTOR)
        load_tile(6, b_tile, VECTOR)
        multiply_tiles(0, 4, 6)
        if two_panels:
            load_tile(7, b_tile + b_next, VECTOR)
            multiply_tiles(1, 4, 7)
        if two_rows:
            load_tile_once(5, a_tile + a_next, VECTOR)
            multiply_tiles(2, 5, 6)
            if two_panels:
                multiply_tiles(3, 5, 7)
    store_tile(0, out, VECTOR)
    if two_panels:
        store_tile(1, out + out_panel, VECTOR)
    if two_rows:
        store_tile(2, out + TILE_BYTES, VECTOR)
        if two_panels:
            store_tile(3, out + TILE_BYTES + out_panel, VECTOR)


@compiled
def pack_rows(panel: int, step: int, rows: int, to: int) -> None:
    """Pair rows of a panel, which lie `step` apart, one below the other: the depth of a `b`."""
    zeros = memory_of_zeros()
    for pair in range((rows + TILE_DEPTH - 1) // TILE_DEPTH * LANES):
        row, place = 2 * pair, panel + 2 * pair * step
        above = place if row < rows else zeros
        below = place + step if row + 1 < rows else zeros
        pair_rows(above, below, to + pair * VECTOR)


@compiled
def pack_rows_transposed(panel: int, step: int, rows: int, to: int) -> None:
    """Make the columns of a panel rows of tiles: an `a` whose depth goes along the panel's rows."""
    pairs = memory_of_pairs()
    for tile in range((rows + TILE_DEPTH - 1) // TILE_DEPTH):
        row = tile * TILE_DEPTH
        pack_rows(panel + row * step, step, min(rows - row, TILE_DEPTH), pairs)
        transpose_vectors(pairs, VECTOR, to + tile * TILE_BYTES, VECTOR)


@compiled
def pack_columns(panels: int, stride: int, rows: int, columns: int, to: int) -> None:
    """Pair neighbouring columns of panels: an `a` whose depth goes along the columns.

    Rows that are missing in the last tile stay as they are: nobody reads what they make.
    """
    for first in range(0, rows, LANES):
        for column in range(0, columns, TILE_DEPTH):
            source = panels + column // LANES * stride + first * VECTOR
            for row in range(min(rows - first, LANES)):
                pair_columns(source + row * VECTOR, stride, columns - column, to + row * VECTOR)
            to += TILE_BYTES


@compiled
def copy_rows(source: int, to: int, rows: int) -> None:
    """Copy rows of a panel."""
    for row in range(rows):
        copy_vector(source + row * VECTOR, to + row * VECTOR)


@compiled
def sum_block(
    rows: int,
    height: int,
    panels: int,
    a: int,
    a_next: int,
    b: int,
    steps: int,
    start: int,
    start_row: int,
    start_panel: int,
    out: int,
    out_panel: int,
) -> None:
    """Do `multiply_block` for up to 32 rows.

    Tiles are as high as configured: fewer rows have their sums made elsewhere, and copied.
    """
    tile_rows = (rows + LANES - 1) // LANES
    sums, sums_panel, is_whole = out, out_panel, rows == tile_rows * height
    if not is_whole:
        sums, sums_panel = memory_of_sums(), plain(2 * TILE_BYTES)
        if start != 0 and start_row != 0:  # else all rows begin with the same
            for each in range(panels):
                copy_rows(start + each * start_panel, sums + each * sums_panel, rows)
            start, start_panel = sums, sums_panel
    multiply_block(
        *(tile_rows, panels, a, a_next, b, steps),
        *(start, start_row, start_panel, sums, sums_panel),
    )
    if not is_whole:
        for each in range(panels):
            copy_rows(sums + each * sums_panel, out + each * out_panel, rows)


@compiled
def transpose_strips(strips: int, strip: int, rows: int, to: int, to_next: int) -> None:
    """Make 32 columns of strips two rows of tiles, as `pack_rows_transposed` those of panels.

    `strips` is the tile that they are in.
    """
    zeros, pairs = memory_of_zeros(), memory_of_pairs()
    for tile in range((rows + TILE_DEPTH - 1) // TILE_DEPTH):
        for pair in range(LANES):
            row = tile * TILE_DEPTH + 2 * pair
            place = strips + row // LANES * strip + row % LANES * VECTOR
            above = place if row < rows else zeros
            below = place + VECTOR if row + 1 < rows else zeros
            pair_rounded(above, below, pairs + pair * VECTOR, pairs + TILE_BYTES + pair * VECTOR)
        transpose_vectors(pairs, VECTOR, to + tile * TILE_BYTES, VECTOR)
        transpose_vectors(pairs + TILE_BYTES, VECTOR, to + to_next + tile * TILE_BYTES, VECTOR)


@exported
def gather_strips(
    address: int,
    order: int,
    n_rows: int,
    batch_rows: int,
    n_known: int,
    strips: int,
    nonzero: int,
) -> None:
    """Write rows of x rounded to strips, as `numba_panels.gather` does to panels.

    A strip is the tiles of 16 rows along all columns, 32 of them each, INPUT_STRIP bytes.
    """
    call = int64s(address)
    n_columns, strip, buffer = int64s(call[LAYERS])[FAN_IN], call[INPUT_STRIP], memory_of_columns()
    for row in range(n_rows):
        source = call[X] + int64s(order)[row] * call[X_STRIDE]
        to = strips + row // LANES * strip + row % LANES * VECTOR
        ahead = row_ahead(call, order, row, n_rows, batch_rows, n_known)
        for first in range(0, n_columns, PIECE_COLUMNS):
            last = min(n_columns, first + PIECE_COLUMNS)
            fetch_columns(call, ahead, first, last)
            convert_columns(call, source, first, last, buffer, plain(VECTOR))
            for column in range(first, last, TILE_DEPTH):
                place = buffer + (column - first) // LANES * VECTOR
                tile = to + column // TILE_DEPTH * TILE_BYTES
                pair_columns(place, plain(VECTOR), last - column, tile)


@compiled
def sum_by_tiles(
    a: int,
    a_stride: int,
    are_strips: bool,
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
    """Compute z = a @ w + b; `a` is panels, or strips `a_stride` apart."""
    if all_rows <= 0 or first >= last:  # a tile has a row at least
        return
    a_block, w_block, height = memory_of_rows(), memory_of_weights(), min(all_rows, LANES)
    # Blocks of nearly equal depth, of whole tiles.
    n_blocks = max(1, (fan_in + TILE_SUM_DEPTH - 1) // TILE_SUM_DEPTH)
    depth = ((fan_in + n_blocks - 1) // n_blocks + TILE_DEPTH - 1) // TILE_DEPTH * TILE_DEPTH
    shape_tiles(height)
    for row_block in range(0, all_rows, SUM_ROWS):
        rows = min(all_rows - row_block, SUM_ROWS)
        for done in range(0, fan_in, depth):
            inputs = min(fan_in - done, depth)
            steps = (inputs + TILE_DEPTH - 1) // TILE_DEPTH
            a_tiles, a_next = a_block, steps * TILE_BYTES
            if are_strips:
                a_tiles = a + row_block // LANES * a_stride + done // TILE_DEPTH * TILE_BYTES
                a_next = a_stride
            else:
                source = a + done // LANES * a_stride + row_block * VECTOR
                pack_columns(source, a_stride, rows, inputs, a_block)
            for panel in range(first, last, 2):
                panels = min(last - panel, 2)
                for each in range(panels):
                    source = w + (panel + each) * w_stride + done * w_step
                    pack_rows(source, w_step, inputs, w_block + each * steps * TILE_BYTES)
                for row in range(0, rows, 2 * LANES):
                    out = z + panel * z_stride + (row_block + row) * VECTOR
                    start, start_row, start_panel = out, VECTOR, z_stride
                    if done == 0:
                        start, start_row, start_panel = 0, 0, w_stride
                        if b != 0:
                            start = b + panel * w_stride
                    sum_block(
                        *(min(rows - row, 2 * LANES), height, panels),
                        *(a_tiles + row // LANES * a_next, a_next, w_block, steps),
                        *(start, start_row, start_panel, out, z_stride),
                    )
    release_tiles()


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
    rows: int,
    fan_in: int,
    first: int,
    last: int,
) -> None:
    """Compute z = a @ w + b as `numba_products.weighted_sum` does, of rounded a and w."""
    sum_by_tiles(
        *(a, a_stride, False, w, w_stride, w_step, b, z, z_stride, rows, fan_in, first, last)
    )


@exported
def sum_of_strips(
    a: int,
    a_stride: int,
    nonzero: int,
    w: int,
    w_stride: int,
    w_step: int,
    b: int,
    z: int,
    z_stride: int,
    rows: int,
    fan_in: int,
    first: int,
    last: int,
) -> None:
    """Do `bfloat16_sum` of rows that `gather_strips` has rounded."""
    sum_by_tiles(
        *(a, a_stride, True, w, w_stride, w_step, b, z, z_stride, rows, fan_in, first, last)
    )


@compiled
def take(out: int, gradient: int, n: int, factor: int) -> None:
    """Write n numbers of a gradient to `out`, or add them times the factor at an address."""
    to, numbers = reals(out), reals(gradient)
    if factor == 0:
        for i in range(n):
            to[i] = numbers[i]
    else:
        by = reals(factor)[0]
        for i in range(n):
            to[i] += by * numbers[i]


@compiled
def gradient_by_tiles(
    a: int,
    a_stride: int,
    are_strips: bool,
    a_step: int,
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
    """Compute dw = a.T @ dz; `a` is panels, or strips `a_stride` apart.

    The first input begins a panel of `a`. The sums of up to 32 inputs and a panel are made in a
    place of their own, and go to `out` from there.
    """
    a_block, dz_block, gradient = memory_of_inputs(), memory_of_slopes(), memory_of_gradients()
    most_steps = (min(rows, GRADIENT_DEPTH) + TILE_DEPTH - 1) // TILE_DEPTH
    group = TILE_GRADIENT_BYTES // (most_steps * TILE_BYTES) // 2 * 2
    sums_panel = plain(2 * TILE_BYTES)
    shape_tiles(LANES)
    for group_first in range(first, last, group):
        group_last = min(last, group_first + group)
        start = first_input
        while start < last_input:
            half = start % TILE_DEPTH  # the first input may be in the middle of a tile
            width = min(last_input - start, TILE_DEPTH - half)
            tile_rows = (width + LANES - 1) // LANES
            for row in range(0, rows, GRADIENT_DEPTH):
                depth = min(rows - row, GRADIENT_DEPTH)
                steps = (depth + TILE_DEPTH - 1) // TILE_DEPTH
                a_tiles, next_tiles = a_block, steps * TILE_BYTES
                if are_strips:
                    source = a + row // LANES * a_stride + start // TILE_DEPTH * TILE_BYTES
                    transpose_strips(source, a_stride, depth, a_block, next_tiles)
                    a_tiles += next_tiles if half != 0 else 0
                else:
                    for each in range(tile_rows):
                        source = a + (start // LANES + each) * a_stride + row * a_step
                        pack_rows_transposed(source, a_step, depth, a_block + each * next_tiles)
                if start == first_input or rows > GRADIENT_DEPTH:
                    for panel in range(group_first, group_last):
                        to = dz_block + (panel - group_first) * steps * TILE_BYTES
                        pack_rows(dz + panel * dz_stride + row * VECTOR, VECTOR, depth, to)
                for panel in range(group_first, group_last, 2):
                    panels = min(group_last - panel, 2)
                    # Sums that go on with the next rows wait in a place of their own.
                    waiting = panel - group_first if rows > GRADIENT_DEPTH else 0
                    sums = gradient + waiting * sums_panel
                    before = sums if row > 0 else 0
                    dz_tile = dz_block + (panel - group_first) * steps * TILE_BYTES
                    multiply_block(
                        *(tile_rows, panels, a_tiles, next_tiles, dz_tile, steps),
                        *(before, VECTOR, sums_panel, sums, sums_panel),
                    )
                    if row + depth < rows:
                        continue
                    for each in range(panels):
                        w = out + (panel + each) * out_stride + start * VECTOR
                        g, n, state = sums + each * sums_panel, width * LANES, w + state_stride
                        if update == 0:
                            take(w, g, n, factor)
                            continue
                        if adjust != 0:
                            call_address(adjust, (w, g, adjustments, n))
                        call_address(update, (w, g, state, state_stride, coefficients, n))
            start += width
    release_tiles()


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
    """Compute dw = a.T @ dz as `numba_products.weight_gradient` does, of rounded a and dz."""
    gradient_by_tiles(
        *(a, a_stride, False, a_step, dz, dz_stride, out, out_stride),
        *(rows, first_input, last_input, first, last),
        *(factor, update, coefficients, state_stride, adjust, adjustments),
    )


@exported
def gradient_of_strips(
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
    """Do `bfloat16_gradient` of rows that `gather_strips` has rounded."""
    gradient_by_tiles(
        *(a, a_stride, True, a_step, dz, dz_stride, out, out_stride),
        *(rows, first_input, last_input, first, last),
        *(factor, update, coefficients, state_stride, adjust, adjustments),
    )
