"""The names that the templates of the `numba` backend use, and the layout of what they are handed.

Templates are functions of `numba_products`, `numba_losses` and `numba_batches`: ordinary Python to
read and to check, but never run as they stand. `numba_source` copies their text into modules of
their own, in which the stand-ins below are real: one number type, one CPU, one formula.

Everything is passed as an integer: a size, or the address of memory. That compiles in a fraction of
the time that arrays take. Distances (``_stride``, ``_step``) are in bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Number = Any
Pointer = Any  # indexed like an array
Words = list[int]  # a pointer to int64
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Stand for ``numba.njit``."""
    return function


exported = compiled  # stands for ``numba.cfunc``: called by address
inlined = compiled  # stands for ``numba.njit(forceinline=True)``

_later: Any = None
real: Any = float  # the plan's real type, SIZE its bytes
plain: Callable[[int], int] = int  # for a constant: Numba compiles a function anew for each literal
SIZE = LANES = VECTOR = 1  # LANES: numbers per vector, VECTOR: its bytes
INFINITE_BITS = LARGEST_BITS = 1  # the bits of infinity, and all but the sign
CACHE_LINE = 64  # bytes
TILE_ROWS = GRADIENT_ROWS = GRADIENT_PANELS = 1  # of the register tiles: see numba_tiles
PAIR = 1  # how many numbers of bfloat16 take the place of one in them
PACKED_PANELS = 0  # see numba_memory.packed_panels
# Of the low ones, with lists: of the weighted sum and of the weight gradient.
LISTED_ROWS = LISTED_PANELS = LISTED_INPUTS = LISTED_INPUT_PANELS = 1

# From an address to a pointer:
reals: Any = None
float64s: Any = None
float32s: Any = None
uint8s: Any = None
uint16s: Any = None
int32s: Any = None
bits: Any = None  # integers as long as the real type
int64s: Callable[[int], Words] = _later
targets_at: Any = None

# See numba_intrinsics:
call_address: Any = None
copy_vector: Any = None
convert_float64s: Any = None
convert_float32s: Any = None
convert_uint8s: Any = None
transpose_vectors: Any = None
prefetch: Any = None
nonzero_lanes: Any = None  # (source) -> a bit per lane of the vector
nonzero_rows: Any = None  # (source, lanes) -> a bit per uint16 that has some of these bits
add_steps: Any = None  # (flags, step, increment, place) -> how many flags are set
memory_of_lists: Any = None  # of the steps of tiles, see numba_tiles
memory_of_depths: Any = None  # int64s, how many steps each tile has
memory_of_packed: Any = None  # of a block of rows, see `pack_rows`
block_of_reals: Any = None
columns_memory: Any = None
block_of_int64s: Any = None
gradient_memory: Any = None
coefficient_memory: Any = None
add_one: Callable[[int], int] = _later
read_shared: Callable[[int], int] = _later
pause: Any = None
give_way: Any = None
random_bits: Any = None  # (int64) -> int64
sums_of_lanes: Any = None
memory_of_counters: Any = None  # of the numbers of some rows of a panel
bits_of_real: Any = None  # the bits of one number, an integer
memory_of_four: Any = None  # vectors, one of each of four panels:
load_four: Any = None  # (source, step, vectors)
store_four: Any = None  # (vectors, to, step)
add_four: Any = None  # (number, source, step, vectors): vectors += number * source
scatter_four: Any = None  # (number, vectors, to, step): to += number * vectors
# See numba_lanes; the first argument is a tuple of addresses of vectors, sums are float64:
normalize_vector: Any = None  # ((z, mean, factor), to)
scale_vector: Any = None  # ((x, gamma, beta), to)
slope_of_vector: Any = None  # ((slope, x, mean_slope, mean_product, factor), to)
multiply_vectors: Any = None  # ((x, y), to)
add_vector: Any = None  # ((x,), sums): sums += x
add_product: Any = None  # ((x, y), sums)
add_square: Any = None  # ((x, mean), sums), of x - mean; mean is float64
moved: Any = None  # (sums, count) -> sums, so many numbers further
sums_of_rows: Any = None  # () -> sums, LANES for each row of LOSS_BLOCK
numbers_of_rows: Any = None  # () -> float64s, one for each row of it
vectors_of_rows: Any = None  # () -> address of as many reals
doubles_of_rows: Any = None  # () -> address of as many float64
# See numba_tiles:
sum_tile: Any = None
packed_tile: Any = None
gradient_tile: Any = None
# Of bfloat16, see numba_lanes: (source, to), of vectors of float32; addresses of rounded blocks.
round_vector: Any = None
pair_rows: Any = None  # (above, below, to)
pair_columns: Any = None  # (source, stride, count, to)
pair_rounded: Any = None  # (above, below, first, second), of rows of 32 rounded numbers
memory_of_columns: Any = None  # of a piece of a row
nonzero_numbers: Any = None  # (source) -> a bit per number that stands for something but zeros
memory_of_rows: Any = None
memory_of_weights: Any = None
memory_of_inputs: Any = None
memory_of_slopes: Any = None
memory_of_gradients: Any = None
memory_of_nonzeros: Any = None  # of a rounded block, see `has_many_zeros`
# Of its tiles, see numba_amx_tiles, and their memory:
configure_tiles: Any = None
release_tiles: Any = None
zero_tile: Any = None
load_tile: Any = None
load_tile_once: Any = None
store_tile: Any = None
multiply_tiles: Any = None
memory_of_tile_shapes: Any = None
memory_of_zeros: Any = None  # a vector
memory_of_pairs: Any = None  # a tile of each of these:
memory_of_sums: Any = None  # ... two by two

# The formulas of the module:
exp: Any = None
log: Any = None
adjusted_gradient: Any = None
normalization_factor: Any = None
running_estimate: Any = None
scaled_input: Any = None
gram_polynomial: Any = None
# With the loss's own parameters (n_parameters, n_outputs); loss_slope alike:
loss_value: Any = None  # (taken, y, parameters, output, n_outputs) -> number
loss_slope: Any = None
# The column of the row's label in a group of columns from `begin` on, or where its targets begin:
place_of: Any = None  # (targets, row, n_outputs, n_groups, group, begin) -> place
target_of: Any = None  # (targets, place, output) -> y

FLOAT32, FLOAT64, UINT8 = range(3)
"""The types of x."""

LOSS_BLOCK = 16
"""Losses are computed for so many rows together; threads share rows in such blocks."""

PREDICTED_ROWS = 128
"""Rows of a block when predicting."""

MAX_COEFFICIENTS = 24
"""Of the optimizer, and twice N_ADJUSTMENTS: of weights and of biases."""

ABORTED = 1 << 40
"""What the counter of a team is raised by when its call is given up before it began."""

NOT_NORMALIZED, BATCH, LAYER = range(3)
"""What a layer's z is normalised over, if at all: its column in the batch, or its row."""

LAYER_WORDS = 40
(
    FAN_IN,
    FAN_OUT,
    OUT_PANELS,
    OUTPUTS_ARE_SPLIT,  # or rows on the way forward, inputs on the way back
    N_VECTORS,  # 1: biases; 2 if it is normalised: beta and gamma
    FLAT,  # where it lies in a flat vector: (fan_in + N_VECTORS, fan_out), the vectors being rows
    PACKED,  # where it lies in a packed vector: the same as panels
    PACKED_STRIDE,
    W,  # what the way forward reads: the packed parameters, or to predict a few rows the flat ones
    W_STRIDE,
    W_STEP,
    IS_READ_FLAT,
    TRANSPOSED_PANELS,  # the input gradient takes up to so many of transposed weights at a time
    TRANSPOSED_STRIDE,
    Z,
    ACTIVATED,  # what the activation takes: z, unless it is normalised
    A,
    DZ,  # 0: not wanted
    ACTIVATE,  # functions
    DIFFERENTIATE,
    DERIVED_FROM,  # what the derivative is written in: ACTIVATED or A
    KEPT,  # its inputs after dropout while training; those of the first layer stay where they are
    THRESHOLD,  # see formulas.dropout_bits; 0: nothing is dropped
    KEPT_FACTOR,  # the bits of a float64
    DIRECTION_SCALE,  # of its orthogonal direction: the bits of a float64; 0: w is no such matrix
    # Of what is normalised:
    NORMALIZATION,
    NORMALIZE,  # functions
    NORMALIZE_SLOPES,
    STATISTICS,  # running means and then variances of a batch, flat
    NORMALIZED,  # z less its mean, by the root of its variance
    MEAN,  # of a batch: panels of one row, and so VARIANCE
    VARIANCE,
    FACTOR,  # another such row; or one number per row of a layer
    VECTOR_GRADIENTS,  # of beta and then gamma, panels of one row each
) = range(34)
"""The words (int64) of a layer; those without a comment are sizes or addresses of arrays."""

CALL_WORDS = 84
(
    # A plan's memory and functions:
    LAYERS,
    N_LAYERS,
    TO_PANELS,  # functions
    FROM_PANELS,
    GATHER,
    TRANSPOSE,
    WEIGHTED_SUM,
    WEIGHT_GRADIENT,
    LAYER_SUM,  # of a layer's matrices: WEIGHTED_SUM, or that of numbers rounded to bfloat16
    LAYER_GRADIENT,  # likewise; biases are not rounded
    STRIP_SUM,  # of the network's inputs, if they are gathered to strips
    STRIP_GRADIENT,
    LOSS_ROWS,
    UPDATE,
    ADJUST,  # what changes the gradient before the update; 0: nothing
    UPDATE_WHOLE,  # what updates after the whole gradient is known; 0: each tile is at once
    DROP,  # 0: no dropout
    LOOK_AT_STORED,  # what tells whether sparse rows are finite
    SPARSE_SUM,  # what takes sparse rows as they are: the first layer's products
    SPARSE_GRADIENT,
    IS_GRADIENT_DESCENT,  # and no more: then the tiles do without UPDATE
    LOSS_PARAMETERS,  # the loss's own (parameters, outputs)
    GROUPS,  # int64: how many groups of outputs, each a softmax, and where each ends
    LOSS_IS_MERGED,
    PARAMETERS,  # packed; the states follow, PACKED_BYTES each
    PACKED_BYTES,
    FLAT_PARAMETERS,
    FLAT_STATE,
    FLAT_BYTES,  # of the parameters, and of each state
    N_STATES,
    N_COEFFICIENTS,  # of the optimizer, then of the adjustment
    ADJUSTMENTS,  # where these begin, in bytes
    GRADIENT,  # packed; or it is PARAMETERS, which are updated tile by tile
    FIRST_GRADIENT,  # of the first layer's packed weights on sparse rows, before the update
    PANEL_SQUARES,  # float64, of the gradient of each output panel of all layers
    CLIP_NORM,  # the bits of a float64
    MAX_NORM,
    RESULT,  # what is unpacked in the end: PARAMETERS or GRADIENT
    FLAT_RESULT,
    KEEPS_EVERYTHING,  # of one batch, for `gradients`; else training stops at a loss not finite
    ONE,  # of a real 1: what the weight of a bias is multiplied by
    # The memory of a batch:
    INPUT,  # the gathered rows; each thread's own, INPUT_BYTES further, unless they are shared
    INPUT_BYTES,
    INPUT_IS_SHARED,
    INPUT_STRIP,  # bytes; 0: panels. Else the gathered rows are strips of tiles: see numba_amx
    NONZERO,  # uint16 per panel and row of INPUT: which of its lanes are not zero; 0: not noted
    TRANSPOSED,  # some panels of transposed weights; each thread's own, TRANSPOSED_BYTES further
    TRANSPOSED_BYTES,
    STRIDE,  # from panel to panel of everything that has a row per row of the batch
    BLOCK_LOSSES,  # float64, of each LOSS_BLOCK rows: summed in order, whoever computed them
    BATCHES_TOUCH,  # a batch must wait until the one before is done everywhere
    # The team:
    N_THREADS,
    ARRIVED,  # how often a thread has come to a meeting: the counter of `meet`
    GIVE_WAY,  # the system's function that lets another thread have the CPU
    CALLS,  # of threads that predict: the address of the addresses of each one's own call
    # Of training:
    BATCH_SIZE,
    COEFFICIENTS,  # float64, N_COEFFICIENTS per batch
    DROPOUT_KEYS,  # int64, N_LAYERS per batch; 0: nothing is dropped
    N_DONE,  # batches done
    IS_PACKED,  # the call before has left parameters and states as they are needed
    STAYS_PACKED,  # this one leaves them so
    NOT_FINITE,  # of predictions: whether some x is not
    # What a call is about:
    X,  # the values of sparse rows
    X_STRIDE,
    X_STEP,
    X_TYPE,
    STARTS,  # int64, where each sparse row begins in its values and columns; 0: rows are dense
    COLUMNS,  # int32
    INPUT_CENTER,  # of the wider of the types of x and the plan: for each column, or a vector of
    INPUT_SCALE,  # one number for all columns
    INPUT_STEP,  # from column to column; 0: one number
    TARGETS,
    SAMPLE_WEIGHT,  # 0: all rows count 1
    ORDER,
    N_ROWS,
    LOSS_SUMS,  # float64, per batch or block of predicted rows; 0: not wanted
    OUT,  # the outputs, in the rows' order; 0: not wanted
    # Of weights that are updated as matrices:
    ORTHOGONAL,  # the address of its words
    # Of normalised batches:
    LOAD_RUNNING,  # functions; 0: there are none
    UPDATE_RUNNING,  # 0: the running statistics stay as they are
    USES_RUNNING,  # instead of the statistics of a batch
    ZEROS,  # a vector of them
) = range(82)
"""The words (int64) of a call."""

ORTHOGONAL_WORDS = 16
(
    DIRECTION,  # functions
    MATRIX_STEP,
    FIND_DIRECTION,
    DIRECTION_COEFFICIENTS,  # where they begin, in bytes
    MATRIX_COEFFICIENTS,
    ORTHOGONAL_START,  # panels of the matrix, as it comes
    ORTHOGONAL_X,  # of the matrix, or of its transpose if it is wide: (large, small)
    ORTHOGONAL_NEXT_X,
    GRAM,  # (small, small)
    TERMS,
    SQUARES,  # float64, of each panel of the matrix: summed in order, whoever computed them
    FIRST_FACTOR,  # of the polynomial: the bits of float64
    SECOND_FACTOR,
    THIRD_FACTOR,
    N_ITERATIONS,
    SMALLEST_NORM,  # the bits of a float64
) = range(16)
"""The words (int64) of ORTHOGONAL."""
