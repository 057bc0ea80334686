"""The flow of batches of the `numba` backend: templates, see `numba_names`.

Every thread runs the same function with its own number. Threads split outputs, never a sum: each
owns panels of a layer's outputs, or, where those are too few, rows on the way forward and inputs
on the way back. They meet at a counter, spin briefly and then give the CPU away. So the bits are
the same for every number of threads.
"""

from __future__ import annotations

import math

import numpy as np

from .contract import N_ADJUSTMENTS
from .numba_names import (
    ABORTED,
    ACTIVATE,
    ACTIVATED,
    ADJUST,
    ADJUSTMENTS,
    ARRIVED,
    BATCH,
    BATCH_SIZE,
    BATCHES_TOUCH,
    BLOCK_LOSSES,
    CALLS,
    COEFFICIENTS,
    DERIVED_FROM,
    DIFFERENTIATE,
    DROP,
    DROPOUT_KEYS,
    DZ,
    FAN_IN,
    FAN_OUT,
    FLAT_BYTES,
    FLAT_PARAMETERS,
    FLAT_RESULT,
    FLAT_STATE,
    FROM_PANELS,
    GATHER,
    GIVE_WAY,
    GRADIENT,
    GROUPS,
    INFINITE_BITS,
    INPUT,
    INPUT_BYTES,
    INPUT_IS_SHARED,
    INPUT_STRIP,
    IS_GRADIENT_DESCENT,
    IS_PACKED,
    KEEPS_EVERYTHING,
    KEPT,
    KEPT_FACTOR,
    LANES,
    LARGEST_BITS,
    LAYER,
    LAYER_GRADIENT,
    LAYER_SUM,
    LAYER_WORDS,
    LAYERS,
    LOAD_RUNNING,
    LOOK_AT_STORED,
    LOSS_BLOCK,
    LOSS_IS_MERGED,
    LOSS_PARAMETERS,
    LOSS_ROWS,
    LOSS_SUMS,
    N_COEFFICIENTS,
    N_DONE,
    N_LAYERS,
    N_ROWS,
    N_STATES,
    N_THREADS,
    N_VECTORS,
    NONZERO,
    NORMALIZATION,
    NORMALIZE,
    NORMALIZE_SLOPES,
    NOT_FINITE,
    ONE,
    ORDER,
    OUT,
    OUT_PANELS,
    OUTPUTS_ARE_SPLIT,
    PACKED,
    PACKED_BYTES,
    PACKED_STRIDE,
    PARAMETERS,
    PREDICTED_ROWS,
    RESULT,
    SAMPLE_WEIGHT,
    SIZE,
    SPARSE_GRADIENT,
    SPARSE_SUM,
    STARTS,
    STAYS_PACKED,
    STRIDE,
    STRIP_GRADIENT,
    STRIP_SUM,
    TARGETS,
    THRESHOLD,
    TRANSPOSE,
    TRANSPOSED,
    TRANSPOSED_BYTES,
    TRANSPOSED_PANELS,
    TRANSPOSED_STRIDE,
    UPDATE,
    UPDATE_RUNNING,
    UPDATE_WHOLE,
    VECTOR,
    VECTOR_GRADIENTS,
    W_STEP,
    W_STRIDE,
    WEIGHT_GRADIENT,
    A,
    W,
    Words,
    Z,
    add_one,
    bits,
    call_address,
    coefficient_memory,
    compiled,
    exported,
    float64s,
    give_way,
    int64s,
    pause,
    plain,
    read_shared,
    real,
    reals,
)
from .numba_panels import pack, share, unpack

SPINS = 300
"""5 to 15 microseconds, as long as `pause` lasts on the CPU: more than a step of a small batch."""


@compiled
def meet(call: Words) -> bool:
    """Wait until all threads have come here; what they wrote before is visible then.

    False: the call was given up before it began.
    """
    n, arrived = call[N_THREADS], call[ARRIVED]
    if n == 1:
        return True
    all_here = (add_one(arrived) + n - 1) // n * n
    spins, here = 0, read_shared(arrived)
    while here < all_here and here < ABORTED:
        if spins < SPINS:
            spins += 1
            pause()
        else:  # a thread that gives way comes back at once if nobody else wants the CPU
            give_way(call[GIVE_WAY])
        here = read_shared(arrived)
    return here < ABORTED


@compiled
def layer_of(call: Words, index: int) -> Words:
    """Return the words of a layer."""
    return int64s(call[LAYERS] + index * LAYER_WORDS * 8)


@compiled
def share_rows(rows: int, thread: int, n_threads: int) -> int:
    """Return where a thread's part of the rows begins: whole blocks of the loss."""
    blocks = (rows + LOSS_BLOCK - 1) // LOSS_BLOCK
    return min(rows, LOSS_BLOCK * share(blocks, thread, n_threads))


@compiled
def part_of(
    layer: Words, has_panels: bool, rows: int, thread: int, n_threads: int
) -> tuple[int, int, int, int]:
    """Return which rows and panels of a layer's outputs a thread takes: of one of them all."""
    panels = layer[OUT_PANELS]
    if has_panels:
        return 0, rows, share(panels, thread, n_threads), share(panels, thread + 1, n_threads)
    return share_rows(rows, thread, n_threads), share_rows(rows, thread + 1, n_threads), 0, panels


@compiled
def input_of(call: Words, index: int, keys: int, thread: int) -> int:
    """Return the panels that a thread reads as a layer's input; `keys` are the batch's, or 0.

    A few threads gather for themselves, each all rows: reading what another core has just written
    takes longer.
    """
    if index == 0:
        is_shared = call[INPUT_IS_SHARED] != 0
        return call[INPUT] if is_shared else call[INPUT] + thread * call[INPUT_BYTES]
    layer = layer_of(call, index)
    dropped = keys != 0 and layer[THRESHOLD] != 0
    return layer[KEPT] if dropped else layer_of(call, index - 1)[A]


@compiled
def nonzero_of(call: Words, index: int, thread: int) -> int:
    """Return what is known of zeros in a layer's input: 0, nothing, but of the network's inputs."""
    if index > 0 or call[NONZERO] == 0:
        return plain(0)
    is_shared = call[INPUT_IS_SHARED] != 0
    return call[NONZERO] + (0 if is_shared else thread * (call[INPUT_BYTES] // VECTOR * 2))


@compiled
def drop(
    call: Words,
    index: int,
    keys: int,
    values: int,
    kept: int,
    first_row: int,
    last_row: int,
    first: int,
    last: int,
) -> None:
    """Do the dropout of a layer's inputs, or of their slopes, for some rows and panels."""
    layer = layer_of(call, index)
    if keys != 0 and layer[THRESHOLD] != 0:
        call_address(
            call[DROP],
            (
                *(int64s(keys)[index], layer[THRESHOLD], layer[KEPT_FACTOR]),
                *(values, kept, call[STRIDE], first_row, last_row, first, last),
            ),
        )


@compiled
def gather_batch(address: int, order: int, rows: int, n_known: int, keys: int, thread: int) -> None:
    """Gather the rows to the thread's own input panels, or its part of them to the shared ones.

    Sparse rows stay where they are.
    """
    call = int64s(address)
    if call[STARTS] != 0:
        return
    first, last, index = 0, rows, plain(0)
    if call[INPUT_IS_SHARED] != 0:
        first = share_rows(rows, thread, call[N_THREADS])
        last = share_rows(rows, thread + 1, call[N_THREADS])
    panels = input_of(call, index, keys, thread)
    to, known = panels + first * VECTOR, n_known - first
    if call[INPUT_STRIP] != 0:
        to = panels + first // LOSS_BLOCK * call[INPUT_STRIP]
    nonzero = nonzero_of(call, index, thread)
    if nonzero != 0:
        nonzero += first * 2
    call_address(call[GATHER], (address, order + first * 8, last - first, rows, known, to, nonzero))
    drop(call, index, keys, panels, panels, first, last, index, call[INPUT_BYTES] // call[STRIDE])
    if call[INPUT_IS_SHARED] != 0:
        meet(call)


@compiled
def forward(address: int, order: int, rows: int, keys: int, thread: int) -> None:
    """Compute per layer the weighted sum and the activation, up to what the loss takes, or to OUT.

    Ends without a meeting: the thread's own rows (or panels) of the last layer are ready.
    """
    call = int64s(address)
    n_layers, n_threads, stride = call[N_LAYERS], call[N_THREADS], call[STRIDE]
    for index in range(n_layers):
        if index > 0:
            meet(call)
        layer = layer_of(call, index)
        is_split, is_normalized = layer[OUTPUTS_ARE_SPLIT] != 0, layer[NORMALIZATION] != 0
        first_row, last_row, first, last = part_of(layer, is_split, rows, thread, n_threads)
        offset, n_rows = first_row * VECTOR, last_row - first_row
        if index == 0 and call[STARTS] != 0:
            call_address(call[SPARSE_SUM], (address, order, keys, first_row, last_row, first, last))
        else:
            a_in, nonzero = input_of(call, index, keys, thread), nonzero_of(call, index, thread)
            weighted_sum, a_stride, a_offset = call[LAYER_SUM], stride, offset
            if index == 0 and call[INPUT_STRIP] != 0:
                weighted_sum, a_stride = call[STRIP_SUM], call[INPUT_STRIP]
                a_offset = first_row // LOSS_BLOCK * a_stride
            if nonzero != 0:
                nonzero += first_row * 2
            b = 0 if is_normalized else layer[W] + layer[FAN_IN] * layer[W_STEP]
            call_address(
                weighted_sum,
                (
                    *(a_in + a_offset, a_stride, nonzero),
                    *(layer[W], layer[W_STRIDE], layer[W_STEP], b),
                    *(layer[Z] + offset, stride),
                    *(n_rows, layer[FAN_IN], first, last),
                ),
            )
        if is_normalized:
            call_address(layer[NORMALIZE], (address, index, rows, thread))
            is_split = layer[NORMALIZATION] == BATCH
            first_row, last_row, first, last = part_of(layer, is_split, rows, thread, n_threads)
            offset, n_rows = first_row * VECTOR, last_row - first_row
        if index < n_layers - 1 or call[LOSS_IS_MERGED] == 0 or call[OUT] != 0:
            start = offset + first * stride
            call_address(
                layer[ACTIVATE],
                (
                    *(layer[ACTIVATED] + start, layer[A] + start, stride),
                    *(n_rows * LANES, last - first, call[GROUPS]),
                ),
            )
        if index + 1 < n_layers:
            kept = layer_of(call, index + 1)[KEPT]
            drop(call, index + 1, keys, layer[A], kept, first_row, last_row, first, last)


@compiled
def total_weight(call: Words, order: int, rows: int) -> float:
    """Return what the rows count for together."""
    if call[SAMPLE_WEIGHT] == 0:
        return float(rows)
    weights, total = reals(call[SAMPLE_WEIGHT]), 0.0
    for i in range(rows):
        total += np.float64(weights[int64s(order)[i]])
    return total


@compiled
def loss(call: Words, order: int, rows: int, thread: int) -> float:
    """Return the sum of the losses; the slopes go to dz of the last layer, scaled for the mean.

    Ends with a meeting: the slopes of all rows are ready.
    """
    layer = layer_of(call, call[N_LAYERS] - 1)
    taken = layer[ACTIVATED] if call[LOSS_IS_MERGED] != 0 else layer[A]
    total = total_weight(call, order, rows)
    factor = 1.0 / total if total > 0.0 else 0.0
    first = share_rows(rows, thread, call[N_THREADS])
    last = share_rows(rows, thread + 1, call[N_THREADS])
    if layer[OUTPUTS_ARE_SPLIT] != 0 or layer[NORMALIZATION] == BATCH:
        meet(call)
    offset = first * VECTOR
    slopes = layer[DZ] + offset if layer[DZ] != 0 else 0
    call_address(
        call[LOSS_ROWS],
        (
            *(taken + offset, call[STRIDE], last - first, call[GROUPS]),
            *(call[TARGETS], call[SAMPLE_WEIGHT], call[LOSS_PARAMETERS], order + first * 8),
            *(np.float64(factor).view(np.int64), slopes),
            *(call[BLOCK_LOSSES] + first // LOSS_BLOCK * 8, 0),
        ),
    )
    meet(call)
    total = 0.0
    for block in range((rows + LOSS_BLOCK - 1) // LOSS_BLOCK):
        total += float64s(call[BLOCK_LOSSES])[block]
    return total


@compiled
def differentiate(call: Words, layer: Words, rows: int, first: int, last: int) -> None:
    """Compute dz = da * f'(z), in place, for some panels."""
    start = first * call[STRIDE]
    call_address(
        layer[DIFFERENTIATE],
        (
            *(layer[DERIVED_FROM] + start, layer[DZ] + start, call[STRIDE]),
            *(rows * LANES, last - first),
        ),
    )


@compiled
def input_gradient(
    call: Words, layer: Words, da: int, rows: int, first: int, last: int, thread: int
) -> None:
    """Compute da of the layer before = dz @ w.T, a weighted sum of slopes, for some of its panels.

    Of the transposed weights there are some panels at a time. For each part of them all slopes come
    from a cache that is further away: so parts are not small, and of equal size.
    """
    memory, stride = call[TRANSPOSED] + thread * call[TRANSPOSED_BYTES], layer[TRANSPOSED_STRIDE]
    n_parts = (last - first + layer[TRANSPOSED_PANELS] - 1) // layer[TRANSPOSED_PANELS]
    for part in range(n_parts):
        panel = first + share(last - first, part, n_parts)
        end = first + share(last - first, part + 1, n_parts)
        # Both functions count panels from 0: the first of these lies at the start of the memory.
        transposed = memory - panel * stride
        call_address(
            call[TRANSPOSE],
            (
                *(call[PARAMETERS] + layer[PACKED], layer[PACKED_STRIDE], transposed, stride),
                *(layer[FAN_IN], layer[FAN_OUT], panel, end),
            ),
        )
        call_address(
            call[LAYER_SUM],
            (
                *(layer[DZ], call[STRIDE], 0, transposed, stride, VECTOR, 0),
                *(da, call[STRIDE], rows, layer[FAN_OUT], panel, end),
            ),
        )


@compiled
def backward(
    address: int,
    order: int,
    rows: int,
    keys: int,
    factor: int,
    update: int,
    numbers: int,
    thread: int,
) -> None:
    """Go back from the loss's slopes: per layer da and dz of the layer before, then dw and db.

    GRADIENT takes dw and db; or it is the parameters, which are changed at once: by a factor, or by
    an update with its coefficients, `numbers`; see `weight_gradient`.
    """
    call = int64s(address)
    n_layers, n_threads = call[N_LAYERS], call[N_THREADS]
    layer = layer_of(call, n_layers - 1)
    if call[LOSS_IS_MERGED] == 0:
        panels = layer[OUT_PANELS]
        first, last = share(panels, thread, n_threads), share(panels, thread + 1, n_threads)
        differentiate(call, layer, rows, first, last)
    if layer[NORMALIZATION] != 0:
        call_address(layer[NORMALIZE_SLOPES], (address, n_layers - 1, rows, thread))
    if call[LOSS_IS_MERGED] == 0 or layer[NORMALIZATION] != 0:
        meet(call)
    for index in range(n_layers - 1, -1, -1):
        layer = layer_of(call, index)
        if index > 0:
            before = layer_of(call, index - 1)
            panels = before[OUT_PANELS]
            first, last = share(panels, thread, n_threads), share(panels, thread + 1, n_threads)
            input_gradient(call, layer, before[DZ], rows, first, last, thread)
            drop(call, index, keys, before[DZ], before[DZ], plain(0), rows, first, last)
            differentiate(call, before, rows, first, last)
            if before[NORMALIZATION] != 0:
                call_address(before[NORMALIZE_SLOPES], (address, index - 1, rows, thread))
            # The others may still read w or need this thread's slopes; not so where each thread
            # goes on with the inputs and slopes that it has just made itself.
            is_own = layer[OUTPUTS_ARE_SPLIT] == 0 and before[OUTPUTS_ARE_SPLIT] != 0
            if index > 1 or not is_own or before[NORMALIZATION] == LAYER:
                meet(call)
        gradient_of_layer(address, index, order, rows, keys, factor, update, numbers, thread)


@compiled
def gradient_of_layer(
    address: int,
    index: int,
    order: int,
    rows: int,
    keys: int,
    factor: int,
    update: int,
    numbers: int,
    thread: int,
) -> None:
    """Compute dw = a_in.T @ dz and db, the sum of dz, for what the thread owns."""
    call = int64s(address)
    layer, n_threads = layer_of(call, index), call[N_THREADS]
    a_in = input_of(call, index, keys, thread)
    fan_in, first, last = layer[FAN_IN], 0, layer[OUT_PANELS]
    first_input, last_input, with_biases = 0, fan_in, True
    if layer[OUTPUTS_ARE_SPLIT] != 0:
        first, last = share(last, thread, n_threads), share(last, thread + 1, n_threads)
    else:
        in_panels = (fan_in + LANES - 1) // LANES
        first_input = LANES * share(in_panels, thread, n_threads)
        last_input = min(fan_in, LANES * share(in_panels, thread + 1, n_threads))
        with_biases = thread == 0
    slopes, stride = layer[DZ], call[STRIDE]
    weight_gradient, a_stride = call[LAYER_GRADIENT], stride
    if index == 0 and call[INPUT_STRIP] != 0:
        weight_gradient, a_stride = call[STRIP_GRADIENT], call[INPUT_STRIP]
    out, out_stride = call[GRADIENT] + layer[PACKED], layer[PACKED_STRIDE]
    weights = (rows, first_input, last_input, first, last)
    what = (factor, update, numbers, call[PACKED_BYTES], call[ADJUST])
    adjustments = numbers + call[ADJUSTMENTS]
    if index == 0 and call[STARTS] != 0:
        how = (factor, update, numbers, first_input, last_input, first, last)
        call_address(call[SPARSE_GRADIENT], (address, order, keys, rows, *how))
    else:
        call_address(
            weight_gradient,
            (
                *(a_in, a_stride, VECTOR, nonzero_of(call, index, thread)),
                *(slopes, stride, out, out_stride),
                *weights,
                *(*what, adjustments),
            ),
        )
    if not with_biases:
        return
    if layer[NORMALIZATION] != 0:  # already summed up: panels of one row each
        slopes, stride, rows = layer[VECTOR_GRADIENTS], VECTOR, 1
    for vector in range(layer[N_VECTORS]):  # the weights of an input that is always one
        call_address(
            call[WEIGHT_GRADIENT],
            (
                *(call[ONE], 0, 0, 0, slopes + vector * layer[OUT_PANELS] * VECTOR, stride),
                *(out + (fan_in + vector) * VECTOR, out_stride),
                *(rows, 0, 1, first, last),
                *(*what, adjustments + N_ADJUSTMENTS * SIZE),
            ),
        )


@compiled
def load_coefficients(call: Words, batch: int, sign: float, numbers: int) -> None:
    """Make a batch's coefficients real: the optimizer's, times a sign, then the adjustments.

    Those of the weights are l1, l2 and the limit, those of the biases 0, 0 and the limit.
    """
    n, to = call[N_COEFFICIENTS], reals(numbers)
    for i in range(n):
        to[i] = real(sign * float64s(call[COEFFICIENTS])[batch * n + i])
    if call[ADJUST] != 0:
        to[n], to[n + 1], to[n + 2] = real(0.0), real(0.0), to[n - 1]


@compiled
def pack_all(call: Words, thread: int) -> None:
    """Pack the thread's part of the parameters and states."""
    pack(call, call[FLAT_PARAMETERS], call[PARAMETERS], thread)
    for i in range(call[N_STATES]):
        place = call[PARAMETERS] + (1 + i) * call[PACKED_BYTES]
        pack(call, call[FLAT_STATE] + i * call[FLAT_BYTES], place, thread)


@compiled
def unpack_all(call: Words, thread: int) -> None:
    """Unpack the thread's part of the result and the states."""
    unpack(call, call[RESULT], call[FLAT_RESULT], thread)
    for i in range(call[N_STATES]):
        place = call[PARAMETERS] + (1 + i) * call[PACKED_BYTES]
        unpack(call, place, call[FLAT_STATE] + i * call[FLAT_BYTES], thread)


@exported
def train(address: int, thread: int) -> None:
    """Train on the rows in order, batch after batch; stop at a loss that is not finite.

    Or, with KEEPS_EVERYTHING, go forward and back over one batch.

    With one hidden layer split by outputs and an output layer split by inputs, a thread may begin
    the next batch while others are still at this one: until the first meeting it writes only what
    it alone reads, and at that meeting they all have left this batch.
    """
    call = int64s(address)
    if not meet(call):
        return
    if call[IS_PACKED] == 0:
        pack_all(call, thread)
    n, batch_size, n_layers = call[N_ROWS], call[BATCH_SIZE], call[N_LAYERS]
    numbers = coefficient_memory()
    factor, update, sign, keys = 0, call[UPDATE], 1.0, call[DROPOUT_KEYS]
    if call[IS_GRADIENT_DESCENT] != 0:
        factor, update, sign = numbers, 0, -1.0
    elif call[UPDATE_WHOLE] != 0:
        update = 0
    meet(call)
    for batch in range((n + batch_size - 1) // batch_size):
        start = batch * batch_size
        rows, order = min(batch_size, n - start), call[ORDER] + start * 8
        if call[DROPOUT_KEYS] != 0:
            keys = call[DROPOUT_KEYS] + batch * n_layers * 8
        load_coefficients(call, batch, sign, numbers)
        gather_batch(address, order, rows, n - start, keys, thread)
        forward(address, order, rows, keys, thread)
        loss_sum = loss(call, order, rows, thread)
        if thread == 0:
            float64s(call[LOSS_SUMS])[batch] = loss_sum
            call[N_DONE] = batch + 1
        if call[KEEPS_EVERYTHING] == 0 and not math.isfinite(loss_sum):
            break
        if call[UPDATE_RUNNING] != 0:
            call_address(call[UPDATE_RUNNING], (address, rows, thread))
        backward(address, order, rows, keys, factor, update, numbers, thread)
        if call[UPDATE_WHOLE] != 0:
            call_address(call[UPDATE_WHOLE], (address, numbers, thread))
        elif call[BATCHES_TOUCH] != 0:
            meet(call)
    meet(call)
    if call[STAYS_PACKED] == 0:
        unpack_all(call, thread)
        meet(call)


@compiled
def inputs_are_finite(call: Words, rows: int) -> bool:
    """Return whether the gathered rows are; by their bits, of which LLVM vectorises the maximum."""
    largest = plain(0)
    for panel in range(call[INPUT_BYTES] // call[STRIDE]):
        numbers = bits(call[INPUT] + panel * call[STRIDE])
        for i in range(rows * LANES):
            largest = max(largest, plain(numbers[i] & LARGEST_BITS))
    return largest < INFINITE_BITS


@exported
def predict(address: int, thread: int) -> None:
    """Predict blocks of rows, and their losses if LOSS_SUMS is there.

    Each thread has a call of its own besides the common one, and there it is alone.
    """
    together = int64s(address)
    if not meet(together):
        return
    pack(together, together[FLAT_PARAMETERS], together[PARAMETERS], thread)
    meet(together)
    own = int64s(together[CALLS])[thread]
    call = int64s(own)
    alone, last = call[N_THREADS] - 1, layer_of(call, call[N_LAYERS] - 1)
    if call[LOAD_RUNNING] != 0:
        call_address(call[LOAD_RUNNING], (own,))
    n_blocks, n_threads = (call[N_ROWS] + PREDICTED_ROWS - 1) // PREDICTED_ROWS, together[N_THREADS]
    for block in range(share(n_blocks, thread, n_threads), share(n_blocks, thread + 1, n_threads)):
        start = block * PREDICTED_ROWS
        end = min(start + PREDICTED_ROWS, call[N_ROWS])
        order = call[ORDER] + start * 8
        if call[STARTS] != 0:
            call_address(call[LOOK_AT_STORED], (own, order, end - start))
        else:
            call_address(
                call[GATHER],
                (own, order, *(end - start, end - start, end - start), call[INPUT], call[NONZERO]),
            )
            if not inputs_are_finite(call, end - start):
                call[NOT_FINITE] = 1
        forward(own, order, end - start, call[DROPOUT_KEYS], alone)
        if call[LOSS_SUMS] != 0:
            float64s(call[LOSS_SUMS])[block] = loss(call, order, end - start, alone)
        panels = last[A] - start * VECTOR  # where the first row of all would be
        call_address(
            call[FROM_PANELS], (panels, call[STRIDE], last[FAN_OUT], call[OUT], start, end)
        )
    if call[NOT_FINITE] != 0:
        together[NOT_FINITE] = 1
    meet(together)
