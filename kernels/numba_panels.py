"""Rows to panels and back, for the `numba` backend: templates, see `numba_names`.

Panels are those of `numba_products`.
"""

from __future__ import annotations

from .numba_names import (
    CACHE_LINE,
    FAN_IN,
    FAN_OUT,
    FLAT,
    FLOAT32,
    FLOAT64,
    FROM_PANELS,
    INPUT_CENTER,
    INPUT_SCALE,
    INPUT_STEP,
    IS_READ_FLAT,
    LANES,
    LAYER_WORDS,
    LAYERS,
    N_LAYERS,
    N_THREADS,
    N_VECTORS,
    PACKED,
    PACKED_STRIDE,
    SIZE,
    STRIDE,
    TO_PANELS,
    UINT8,
    VECTOR,
    X_STEP,
    X_STRIDE,
    X_TYPE,
    Words,
    X,
    call_address,
    compiled,
    convert_float32s,
    convert_float64s,
    convert_uint8s,
    copy_vector,
    exported,
    float32s,
    float64s,
    int64s,
    nonzero_lanes,
    plain,
    prefetch,
    real,
    reals,
    scaled_input,
    uint8s,
    uint16s,
)

LEAST_AHEAD, MOST_AHEAD = 8, 32
"""So many rows are fetched ahead: see `row_ahead`."""

FETCHED_BYTES = 4096

PIECE_COLUMNS = 128
"""Of a row: a multiple of LANES."""


@compiled
def share(n: int, thread: int, n_threads: int) -> int:
    """Return where a thread's part of n things begins; it ends where the next one's begins."""
    return n * thread // n_threads


@exported
def to_panels(matrix: int, columns: int, panels: int, stride: int, first: int, last: int) -> None:
    """Copy the rows [first, last) of a row-major matrix; columns past the last are zero."""
    whole = columns // LANES
    for row in range(first, last):
        source, to = matrix + row * columns * SIZE, panels + row * VECTOR
        for panel in range(whole):
            copy_vector(source + panel * VECTOR, to + panel * stride)
        if whole * LANES < columns:
            numbers, rest = reals(source + whole * VECTOR), reals(to + whole * stride)
            for lane in range(LANES):
                rest[lane] = numbers[lane] if lane < columns - whole * LANES else real(0.0)


@exported
def from_panels(panels: int, stride: int, columns: int, matrix: int, first: int, last: int) -> None:
    """Copy the rows [first, last) of panels to a row-major matrix."""
    whole = columns // LANES
    for row in range(first, last):
        source, to = panels + row * VECTOR, matrix + row * columns * SIZE
        for panel in range(whole):
            copy_vector(source + panel * stride, to + panel * VECTOR)
        numbers, rest = reals(source + whole * stride), reals(to + whole * VECTOR)
        for lane in range(columns - whole * LANES):
            rest[lane] = numbers[lane]


@compiled
def pack(call: Words, flat: int, packed: int, thread: int) -> None:
    """Copy the thread's part of one flat vector (parameters or a state) to its panels."""
    for index in range(call[N_LAYERS]):
        layer = int64s(call[LAYERS] + index * LAYER_WORDS * 8)
        rows = layer[FAN_IN] + layer[N_VECTORS]  # after the weights biases, or beta and gamma
        if layer[IS_READ_FLAT] == 0:
            first = share(rows, thread, call[N_THREADS])
            last = share(rows, thread + 1, call[N_THREADS])
            to = packed + layer[PACKED]
            call_address(
                call[TO_PANELS],
                (flat + layer[FLAT], layer[FAN_OUT], to, layer[PACKED_STRIDE], first, last),
            )


@compiled
def unpack(call: Words, packed: int, flat: int, thread: int) -> None:
    """Copy the thread's part of one packed vector back."""
    for index in range(call[N_LAYERS]):
        layer = int64s(call[LAYERS] + index * LAYER_WORDS * 8)
        rows = layer[FAN_IN] + layer[N_VECTORS]
        first = share(rows, thread, call[N_THREADS])
        last = share(rows, thread + 1, call[N_THREADS])
        source = packed + layer[PACKED]
        call_address(
            call[FROM_PANELS],
            (source, layer[PACKED_STRIDE], layer[FAN_OUT], flat + layer[FLAT], first, last),
        )


@compiled
def convert_columns(call: Words, source: int, first: int, last: int, to: int, stride: int) -> None:
    """Make columns of a row of x real, by `formulas.scaled_input`; `to` begins with the first."""
    x_step, x_type = call[X_STEP], call[X_TYPE]
    center, scale, step = call[INPUT_CENTER], call[INPUT_SCALE], call[INPUT_STEP]
    whole = (last - first) // LANES  # panels that are converted a vector at a time
    if x_step != (1 if x_type == UINT8 else 4 if x_type == FLOAT32 else 8):
        whole = 0
    source += first * x_step
    center += first * step
    scale += first * step
    if x_type == UINT8:
        for panel in range(whole):
            place, by = source + panel * LANES, panel * LANES * step
            convert_uint8s(place, center + by, scale + by, to + panel * stride)
    elif x_type == FLOAT32:
        for panel in range(whole):
            place, by = source + panel * LANES * 4, panel * LANES * step
            convert_float32s(place, center + by, scale + by, to + panel * stride)
    else:
        for panel in range(whole):
            place, by = source + panel * LANES * 8, panel * LANES * step
            convert_float64s(place, center + by, scale + by, to + panel * stride)
    for column in range(whole * LANES, last - first):
        by, place = column * step, source + column * x_step
        if x_type == FLOAT64:
            number = real(
                scaled_input(float64s(place)[0], float64s(center + by)[0], float64s(scale + by)[0])
            )
        else:
            number = real(uint8s(place)[0]) if x_type == UINT8 else real(float32s(place)[0])
            number = scaled_input(number, reals(center + by)[0], reals(scale + by)[0])
        reals(to + column // LANES * stride)[column % LANES] = number


@compiled
def row_ahead(call: Words, order: int, row: int, n_rows: int, batch_rows: int, n_known: int) -> int:
    """Return where a later row is that shall be fetched; 0 if none.

    Rows come in random order, which no hardware prefetcher foresees. Few rows fetch those in their
    place in the next batch, which then come while this one is worked on.
    """
    ahead = MOST_AHEAD if n_rows > MOST_AHEAD else max(batch_rows, LEAST_AHEAD)
    n_bytes = int64s(call[LAYERS])[FAN_IN] * call[X_STEP]
    if row + ahead >= n_known or n_bytes > FETCHED_BYTES:
        return plain(0)
    return call[X] + int64s(order)[row + ahead] * call[X_STRIDE]


@compiled
def fetch_columns(call: Words, row: int, first: int, last: int) -> None:
    """Fetch columns of the row at an address, if it is not 0."""
    if row != 0:
        for offset in range(first * call[X_STEP], last * call[X_STEP], CACHE_LINE):
            prefetch(row + offset)


@exported
def gather(
    address: int,
    order: int,
    n_rows: int,
    batch_rows: int,
    n_known: int,
    panels: int,
    nonzero: int,
) -> None:
    """Write rows of x to panels, as `formulas.scaled_input` makes them real.

    And which of their values are not zero, for `has_many_zeros`: `nonzero`, of the first row; or 0,
    if nobody asks. `order` goes on from `n_rows` to `n_known`: rows of the next batch are fetched
    ahead, each piece of one with a piece of this batch, since a whole row at once would wait for
    the memory. A thread may gather only some of the `batch_rows`.
    """
    call = int64s(address)
    n_columns, stride = int64s(call[LAYERS])[FAN_IN], call[STRIDE]
    for row in range(n_rows):
        source, to = call[X] + int64s(order)[row] * call[X_STRIDE], panels + row * VECTOR
        ahead = row_ahead(call, order, row, n_rows, batch_rows, n_known)
        for first in range(0, n_columns, PIECE_COLUMNS):
            last = min(n_columns, first + PIECE_COLUMNS)
            fetch_columns(call, ahead, first, last)
            convert_columns(call, source, first, last, to + first // LANES * stride, stride)
        if nonzero != 0:  # past the last column are zeros: lists rely on it
            for panel in range((n_columns + LANES - 1) // LANES):
                known = nonzero_lanes(to + panel * stride)
                uint16s(nonzero + panel * (stride // VECTOR) * 2)[row] = known
