"""Batch and layer normalisation of the `numba` backend: templates, see `numba_names`.

As in `native/normalization_real.h`: means are sums of float64, and the variance is of what is left
without the mean. Of a batch each thread takes panels, of a layer rows; where it has made others of
z, all meet first. A module of its own: a plan without such layers compiles nothing of it.
"""

from __future__ import annotations

import numpy as np

from .numba_batches import layer_of, meet, share_rows
from .numba_names import (
    ACTIVATED,
    BATCH,
    DZ,
    FACTOR,
    FAN_IN,
    FAN_OUT,
    LANES,
    LOSS_BLOCK,
    MEAN,
    N_LAYERS,
    N_THREADS,
    NORMALIZATION,
    NORMALIZED,
    OUT_PANELS,
    OUTPUTS_ARE_SPLIT,
    SIZE,
    STATISTICS,
    STRIDE,
    USES_RUNNING,
    VARIANCE,
    VECTOR,
    VECTOR_GRADIENTS,
    W_STEP,
    W_STRIDE,
    Pointer,
    W,
    Words,
    Z,
    add_product,
    add_square,
    add_vector,
    compiled,
    doubles_of_rows,
    exported,
    float64s,
    int64s,
    moved,
    multiply_vectors,
    normalization_factor,
    normalize_vector,
    numbers_of_rows,
    real,
    reals,
    running_estimate,
    scale_vector,
    slope_of_vector,
    sums_of_lanes,
    sums_of_rows,
    vectors_of_rows,
)
from .numba_panels import share


@compiled
def gamma_of(layer: Words, panel: int) -> int:
    """Return where gamma of a panel is; beta is a row of the weights before it."""
    return layer[W] + panel * layer[W_STRIDE] + (layer[FAN_IN] + 1) * layer[W_STEP]


@compiled
def clear(sums: Pointer, n: int) -> None:
    """Begin n sums."""
    for i in range(n):
        sums[i] = 0.0


@compiled
def sum_slopes(
    call: Words, layer: Words, panel: int, rows: int, sums: Pointer, by: Pointer
) -> None:
    """Write the gradients of beta and gamma of a panel: sums of slopes, and of them times x."""
    place, at = panel * call[STRIDE], panel * VECTOR
    clear(sums, LANES)
    clear(by, LANES)
    for row in range(rows):
        slope = layer[DZ] + place + row * VECTOR
        add_vector((slope,), sums)
        add_product((slope, layer[NORMALIZED] + place + row * VECTOR), by)
    dbeta = reals(layer[VECTOR_GRADIENTS] + at)
    dgamma = reals(layer[VECTOR_GRADIENTS] + layer[OUT_PANELS] * VECTOR + at)
    for lane in range(LANES):
        dbeta[lane], dgamma[lane] = real(sums[lane]), real(by[lane])


# ---- Of a batch: columns, a panel of them at a time.


@exported
def normalize_columns(address: int, index: int, rows: int, thread: int) -> None:
    """Make of a layer's z, of which the thread has its part, what the activation takes.

    The thread goes on with its share of the panels of that.
    """
    call = int64s(address)
    layer, n_threads, stride = layer_of(call, index), call[N_THREADS], call[STRIDE]
    if layer[OUTPUTS_ARE_SPLIT] == 0:
        meet(call)
    panels, exact = layer[OUT_PANELS], doubles_of_rows()
    for panel in range(share(panels, thread, n_threads), share(panels, thread + 1, n_threads)):
        sums, squares = sums_of_lanes(), sums_of_lanes()
        place, at, gamma = panel * stride, panel * VECTOR, gamma_of(layer, panel)
        z, x = layer[Z] + place, layer[NORMALIZED] + place
        mean, factor, beta = layer[MEAN] + at, layer[FACTOR] + at, gamma - layer[W_STEP]
        if call[USES_RUNNING] == 0:
            clear(sums, LANES)
            clear(squares, LANES)
            for row in range(rows):
                add_vector((z + row * VECTOR,), sums)
            for lane in range(LANES):
                float64s(exact)[lane] = sums[lane] / rows
                reals(mean)[lane] = real(float64s(exact)[lane])
            for row in range(rows):
                add_square((z + row * VECTOR, exact), squares)
            variance = reals(layer[VARIANCE] + at)
            for lane in range(LANES):
                variance[lane] = real(squares[lane] / rows)
                reals(factor)[lane] = normalization_factor(variance[lane])
        for row in range(rows):
            to = x + row * VECTOR
            normalize_vector((z + row * VECTOR, mean, factor), to)
            scale_vector((to, gamma, beta), layer[ACTIVATED] + place + row * VECTOR)


@exported
def slopes_of_columns(address: int, index: int, rows: int, thread: int) -> None:
    """Make a layer's slopes those of its z, for the thread's share of the panels, in place."""
    call = int64s(address)
    layer, n_threads, stride = layer_of(call, index), call[N_THREADS], call[STRIDE]
    panels, mean = layer[OUT_PANELS], vectors_of_rows()
    mean_product, by = mean + VECTOR, mean + 2 * VECTOR
    for panel in range(share(panels, thread, n_threads), share(panels, thread + 1, n_threads)):
        sums, products = sums_of_lanes(), sums_of_lanes()
        sum_slopes(call, layer, panel, rows, sums, products)
        for lane in range(LANES):
            reals(mean)[lane] = real(sums[lane] / rows)
            reals(mean_product)[lane] = real(products[lane] / rows)
        multiply_vectors((gamma_of(layer, panel), layer[FACTOR] + panel * VECTOR), by)
        for row in range(rows):
            place = panel * stride + row * VECTOR
            slope = layer[DZ] + place
            slope_of_vector((slope, layer[NORMALIZED] + place, mean, mean_product, by), slope)


@exported
def update_running(address: int, rows: int, thread: int) -> None:
    """Bring the running statistics up to date after a batch: the thread's panels of each layer."""
    call = int64s(address)
    if rows < 2:  # one row says nothing about the variance
        return
    n_threads, unbiased = call[N_THREADS], real(rows / (rows - 1))
    for index in range(call[N_LAYERS]):
        layer = layer_of(call, index)
        if layer[NORMALIZATION] == BATCH:
            columns, panels = layer[FAN_OUT], layer[OUT_PANELS]
            begin = LANES * share(panels, thread, n_threads)
            end = min(columns, LANES * share(panels, thread + 1, n_threads))
            mean, variance = reals(layer[MEAN]), reals(layer[VARIANCE])
            running_means = reals(layer[STATISTICS])
            running_variances = reals(layer[STATISTICS] + columns * SIZE)
            for i in range(begin, end):
                found = variance[i] * unbiased
                running_means[i] = running_estimate(running_means[i], mean[i])
                running_variances[i] = running_estimate(running_variances[i], found)


@exported
def load_running(address: int) -> None:
    """Let predictions normalise batches by the running statistics."""
    call = int64s(address)
    for index in range(call[N_LAYERS]):
        layer = layer_of(call, index)
        if layer[NORMALIZATION] == BATCH:
            columns = layer[FAN_OUT]
            mean, variance = reals(layer[MEAN]), reals(layer[VARIANCE])
            running_means = reals(layer[STATISTICS])
            running_variances = reals(layer[STATISTICS] + columns * SIZE)
            for i in range(columns):  # what is past them is left as it was: 0
                mean[i], variance[i] = running_means[i], running_variances[i]
                reals(layer[FACTOR])[i] = normalization_factor(variance[i])


# ---- Of a layer: rows, LOSS_BLOCK of them at a time, over all panels.


@compiled
def means_of_rows(sums: Pointer, rows: int, columns: int, means: Pointer) -> None:
    """Write the mean of each row, of the sums of its lanes."""
    for row in range(rows):
        total = 0.0
        for lane in range(LANES):
            total += sums[row * LANES + lane]
        means[row] = total / columns


@compiled
def spread_doubles(numbers: Pointer, rows: int, width: int, to: int) -> None:
    """Write each row's number to `width` lanes of a vector of float64, and 0 to the others."""
    for row in range(rows):
        for lane in range(LANES):
            float64s(to)[row * LANES + lane] = numbers[row] if lane < width else 0.0


@compiled
def spread(numbers: Pointer, rows: int, width: int, to: int) -> None:
    """Write each row's number to `width` lanes of a vector, and 0 to the others."""
    for row in range(rows):
        for lane in range(LANES):
            reals(to)[row * LANES + lane] = real(numbers[row]) if lane < width else real(0.0)


@exported
def normalize_rows(address: int, index: int, all_rows: int, thread: int) -> None:
    """Make of a layer's z, of which the thread has its part, what the activation takes.

    The thread goes on with its share of the rows of that. Past the last column z is 0, and so is x:
    no mean is taken from it.
    """
    call = int64s(address)
    layer, n_threads, stride = layer_of(call, index), call[N_THREADS], call[STRIDE]
    if layer[OUTPUTS_ARE_SPLIT] != 0:
        meet(call)
    first_row = share_rows(all_rows, thread, n_threads)
    last_row = share_rows(all_rows, thread + 1, n_threads)
    sums, means, factors = sums_of_rows(), numbers_of_rows(), numbers_of_rows()
    exact, mean, factor = doubles_of_rows(), vectors_of_rows(), vectors_of_rows()
    panels, columns = layer[OUT_PANELS], layer[FAN_OUT]
    width = columns - (panels - 1) * LANES  # of the last panel
    for first in range(first_row, last_row, LOSS_BLOCK):
        rows = min(LOSS_BLOCK, last_row - first)
        offset = first * VECTOR
        clear(sums, rows * LANES)
        for panel in range(panels):
            z = layer[Z] + panel * stride + offset
            for row in range(rows):
                add_vector((z + row * VECTOR,), moved(sums, row * LANES))
        means_of_rows(sums, rows, columns, means)
        spread_doubles(means, rows, LANES, exact)
        clear(sums, rows * LANES)
        for panel in range(panels):
            if panel == panels - 1 and width < LANES:
                spread_doubles(means, rows, width, exact)
            z = layer[Z] + panel * stride + offset
            for row in range(rows):
                squares = moved(sums, row * LANES)
                add_square((z + row * VECTOR, exact + row * LANES * 8), squares)
        means_of_rows(sums, rows, columns, factors)  # the variances
        kept = reals(layer[FACTOR] + first * SIZE)
        for row in range(rows):
            kept[row] = normalization_factor(real(factors[row]))
            factors[row] = np.float64(kept[row])
        spread(means, rows, LANES, mean)
        spread(factors, rows, LANES, factor)
        for panel in range(panels):
            if panel == panels - 1 and width < LANES:
                spread(means, rows, width, mean)
            place, gamma = panel * stride + offset, gamma_of(layer, panel)
            beta = gamma - layer[W_STEP]
            for row in range(rows):
                by, at = row * VECTOR, place + row * VECTOR
                x = layer[NORMALIZED] + at
                normalize_vector((layer[Z] + at, mean + by, factor + by), x)
                scale_vector((x, gamma, beta), layer[ACTIVATED] + at)


@exported
def slopes_of_rows(address: int, index: int, all_rows: int, thread: int) -> None:
    """Make a layer's slopes those of its z, for the thread's share of the rows, in place.

    Past the last column gamma, x and the slopes are 0, and stay so: no mean is taken from them.
    """
    call = int64s(address)
    layer, n_threads, stride = layer_of(call, index), call[N_THREADS], call[STRIDE]
    first_panel = share(layer[OUT_PANELS], thread, n_threads)
    for panel in range(first_panel, share(layer[OUT_PANELS], thread + 1, n_threads)):
        sum_slopes(call, layer, panel, all_rows, sums_of_lanes(), sums_of_lanes())
    meet(call)
    first_row = share_rows(all_rows, thread, n_threads)
    last_row = share_rows(all_rows, thread + 1, n_threads)
    sums, products = sums_of_rows(), sums_of_rows()
    means, mean_products = numbers_of_rows(), numbers_of_rows()
    factors = numbers_of_rows()
    mean, mean_product, factor = vectors_of_rows(), vectors_of_rows(), vectors_of_rows()
    panels, columns = layer[OUT_PANELS], layer[FAN_OUT]
    width = columns - (panels - 1) * LANES
    for first in range(first_row, last_row, LOSS_BLOCK):
        rows = min(LOSS_BLOCK, last_row - first)
        offset = first * VECTOR
        clear(sums, rows * LANES)
        clear(products, rows * LANES)
        for panel in range(panels):
            place, gamma = panel * stride + offset, gamma_of(layer, panel)
            for row in range(rows):
                slope = layer[DZ] + place + row * VECTOR
                x = layer[NORMALIZED] + place + row * VECTOR
                multiply_vectors((gamma, slope), slope)
                add_vector((slope,), moved(sums, row * LANES))
                add_product((slope, x), moved(products, row * LANES))
        means_of_rows(sums, rows, columns, means)
        means_of_rows(products, rows, columns, mean_products)
        for row in range(rows):
            factors[row] = np.float64(reals(layer[FACTOR])[first + row])
        spread(means, rows, LANES, mean)
        spread(mean_products, rows, LANES, mean_product)
        spread(factors, rows, LANES, factor)
        for panel in range(panels):
            if panel == panels - 1 and width < LANES:
                spread(means, rows, width, mean)
                spread(mean_products, rows, width, mean_product)
            place = panel * stride + offset
            for row in range(rows):
                by, slope = row * VECTOR, layer[DZ] + place + row * VECTOR
                x = layer[NORMALIZED] + place + row * VECTOR
                slope_of_vector((slope, x, mean + by, mean_product + by, factor + by), slope)
