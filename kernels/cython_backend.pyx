"""The `cython` backend: the flow of a batch here, without the GIL; the kernels in C (native/).

The C kernels are compiled once per instruction set and chosen at import (native/isa_table.h);
FASTMLP_MAX_ISA caps the choice. Matrices are kept as panels (native/kernels.h): the engine holds the
parameters in that form during a call and writes the flat vector before it returns.
"""

from __future__ import annotations

import array
import os
import time

from cpython.buffer cimport (
    PyBUF_RECORDS_RO,
    PyBUF_STRIDED_RO,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.math cimport INFINITY, isfinite, sqrt
from libc.string cimport memset
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uintptr_t

from . import formulas
from .contract import N_ADJUSTMENTS, Backend, Engine, Gradients, SparseMatrix
from .cpus import available_cpus
from .thread_choice import ThreadChoice


cdef extern from "kernels.h":
    enum:
        LOSS_BLOCK

    enum element_type:
        ELEMENT_UINT8
        ELEMENT_FLOAT32
        ELEMENT_FLOAT64

    struct source:
        const char *data
        ptrdiff_t row_stride
        ptrdiff_t column_stride
        element_type type
        double scale

    struct sparse_rows "sparse":
        const int64_t *starts
        const int32_t *columns
        const void *values
        double scale

    struct wanted_targets "targets":
        const int32_t *labels
        const void *values
        const void *weights

    ctypedef void (*step_function)(void *w, const void *g, void *state, ptrdiff_t state_stride,
                                   const void *coefficients, ptrdiff_t n) noexcept nogil

    struct dropout_rule "dropout":
        uint32_t key
        uint32_t threshold
        double factor

    ctypedef void (*adjust_function)(const void *w, void *g, const void *adjustments,
                                     ptrdiff_t n) noexcept nogil

    struct update_rule "update":
        step_function step
        adjust_function adjust
        const void *adjustments
        const void *bias_adjustments
        int is_gradient_descent
        ptrdiff_t state_offset
        ptrdiff_t state_stride
        const void *coefficients

    struct product_kernels:
        int (*gather)(const source *x, const int64_t *order, ptrdiff_t n_rows,
                       ptrdiff_t n_known, ptrdiff_t n_columns, void *panels,
                       ptrdiff_t stride) noexcept nogil
        void (*to_panels)(const void *matrix, ptrdiff_t rows, ptrdiff_t columns, void *panels,
                          ptrdiff_t stride) noexcept nogil
        void (*from_panels)(const void *panels, ptrdiff_t stride, ptrdiff_t rows,
                            ptrdiff_t columns, void *matrix) noexcept nogil
        void (*weighted_sum)(const void *a, ptrdiff_t a_stride, const void *w, ptrdiff_t w_stride,
                             ptrdiff_t w_step, const void *b, void *z, ptrdiff_t z_stride, ptrdiff_t rows,
                             ptrdiff_t fan_in, ptrdiff_t first, ptrdiff_t last) noexcept nogil
        void (*weight_gradient)(const void *a, ptrdiff_t a_stride, const void *dz,
                                ptrdiff_t dz_stride, void *out, ptrdiff_t out_stride,
                                const update_rule *update, ptrdiff_t rows, ptrdiff_t first_input,
                                ptrdiff_t last_input, ptrdiff_t first, ptrdiff_t last) noexcept nogil
        void (*bias_gradient)(const void *dz, ptrdiff_t dz_stride, void *out,
                              const update_rule *update, ptrdiff_t rows, ptrdiff_t first,
                              ptrdiff_t last) noexcept nogil
        void (*transpose)(const void *w, ptrdiff_t w_stride, void *w_transposed,
                          ptrdiff_t transposed_stride, ptrdiff_t fan_in, ptrdiff_t fan_out,
                          ptrdiff_t first, ptrdiff_t last) noexcept nogil
        void (*input_gradient)(const void *dz, ptrdiff_t dz_stride, const void *w,
                               ptrdiff_t w_stride, void *da, ptrdiff_t da_stride, ptrdiff_t rows,
                               ptrdiff_t fan_in, ptrdiff_t fan_out, ptrdiff_t first,
                               ptrdiff_t last) noexcept nogil

    struct element_kernels:
        void (*activation)(int formula, const void *z, void *a, ptrdiff_t n) noexcept nogil
        void (*activation_derivative)(int formula, const void *z, const void *a, void *slope,
                                      ptrdiff_t n) noexcept nogil
        void (*activation_slope)(int formula, const void *z, const void *a, const void *da, void *dz,
                                 ptrdiff_t n) noexcept nogil
        void (*softmax)(const void *z, void *p, ptrdiff_t stride, ptrdiff_t rows,
                        ptrdiff_t columns) noexcept nogil
        double (*loss)(int formula, const void *taken, ptrdiff_t stride, ptrdiff_t rows,
                       ptrdiff_t columns, const wanted_targets *targets, const void *parameters,
                       const int64_t *order, double factor, void *slopes,
                       void *row_losses) noexcept nogil
        void (*drop)(const dropout_rule *dropout, ptrdiff_t first_row, ptrdiff_t rows,
                     ptrdiff_t first_unit, const void *values, void *kept) noexcept nogil
        int (*sparse_finite)(const sparse_rows *x, const int64_t *order,
                             ptrdiff_t rows) noexcept nogil
        void (*sparse_sum)(const sparse_rows *x, const int64_t *order, const dropout_rule *dropout,
                           ptrdiff_t first_row, ptrdiff_t last_row, const void *w,
                           ptrdiff_t w_stride, ptrdiff_t w_step, const void *b, void *z,
                           ptrdiff_t z_stride, ptrdiff_t first, ptrdiff_t last) noexcept nogil
        void (*sparse_gradient)(const sparse_rows *x, const int64_t *order,
                                const dropout_rule *dropout, ptrdiff_t rows, const void *dz,
                                ptrdiff_t dz_stride, double factor, void *out,
                                ptrdiff_t out_stride, ptrdiff_t first_input,
                                ptrdiff_t last_input, ptrdiff_t first,
                                ptrdiff_t last) noexcept nogil
        adjust_function adjust
        double (*sum_of_squares)(const void *values, ptrdiff_t n) noexcept nogil
        void (*scale)(void *values, double factor, ptrdiff_t n) noexcept nogil
        void (*limit_norm)(void *panel, ptrdiff_t rows, double limit) noexcept nogil
        const step_function *steps

    enum precision_number "precision":
        FLOAT32
        FLOAT64
        BFLOAT16

    struct kernels:
        const char *isa
        const char *bfloat16_isa
        int lanes
        int value_bytes
        product_kernels product
        element_kernels element

    const kernels *fastmlp_kernels(const char *cap)
    const char *fastmlp_isa_name(int i)
    const char *fastmlp_activation_name(int i)
    const char *fastmlp_loss_name(int i)
    const char *fastmlp_optimizer_name(int i)

cdef extern from "pages.h":
    void advise_huge_pages(void *start, size_t n_bytes) noexcept nogil

cdef extern from "pool.h":
    struct team:
        int n_threads

    void team_run(int n_threads, void (*function)(void *, team *, int) noexcept nogil,
                  void *context) noexcept nogil
    void team_barrier(team *present) noexcept nogil
    int team_limit() noexcept nogil


cdef enum:
    CACHE_LINE = 64
    HUGE_PAGE = 1 << 21
    SOFTMAX = -1  # the one output activation that is not element-wise
    PREDICTION_ROWS = 128  # rows of a block when predicting
    FEW_ROWS = 128  # so few are predicted from the flat vector: packing would take longer
    MAX_PREDICTING = 64  # threads
    # Below so many multiply-adds per thread and barrier, a barrier costs more than it brings
    # (measured, see README.md); waking up a sleeping thread costs as much as WAKE_UP barriers.
    VALUES_PER_MEETING = 60_000
    WAKE_UP = 50
    OWN_INPUTS = 4  # so many threads gather their own input
    MAX_COEFFICIENTS = 24
    TRANSPOSED_BYTES = 1 << 17
    N_ADJUSTED = 3  # contract.N_ADJUSTMENTS


cdef list names_of(const char *(*name_at)(int)):
    cdef int i = 0
    found = []
    while name_at(i) is not NULL:
        found.append(name_at(i).decode())
        i += 1
    return found


ISA_NAMES = names_of(fastmlp_isa_name)
# The formulas as they were when the extension was built, in the order of their tables.
ACTIVATION_NAMES = names_of(fastmlp_activation_name)
LOSS_NAMES = names_of(fastmlp_loss_name)
OPTIMIZER_NAMES = names_of(fastmlp_optimizer_name)


cdef const kernels *kernel_tables = NULL  # by precision_number


cdef choose_kernels():
    """Choose for this CPU, once: asking it takes long in a virtual machine."""
    global kernel_tables
    cap = os.environ.get("FASTMLP_MAX_ISA", "").strip().lower()
    cdef bytes name = cap.encode()
    kernel_tables = fastmlp_kernels(<const char *>name if cap else NULL)
    if kernel_tables is NULL:
        raise ValueError(
            f"the environment variable FASTMLP_MAX_ISA must be one of {', '.join(ISA_NAMES)}; "
            f"got {cap!r}"
        )


cdef const kernels *kernels_for(str precision):
    if precision == "bfloat16":
        return &kernel_tables[<int>BFLOAT16]
    return &kernel_tables[<int>FLOAT32 if precision == "float32" else <int>FLOAT64]


cdef int formula_number(list names, str name) except -2:
    if name not in names:
        raise ValueError(
            f"the extension was built without the formula {name!r}; reinstall fastmlp to build it "
            "from the present formulas.py, or use another backend"
        )
    return names.index(name)


cdef class Memory:
    """Zeroed memory that starts on a cache line, or on a huge page if it is large; frees itself."""

    cdef void *allocated
    cdef char *start

    def __cinit__(self, size_t n_bytes):
        cdef size_t alignment = HUGE_PAGE if n_bytes >= HUGE_PAGE else CACHE_LINE
        self.allocated = PyMem_RawCalloc(n_bytes + alignment, 1)
        if self.allocated is NULL:
            raise MemoryError(f"fastmlp could not allocate {n_bytes:,} bytes")
        self.start = <char *>((<uintptr_t>self.allocated + alignment - 1) & ~(alignment - 1))
        if alignment == HUGE_PAGE:
            advise_huge_pages(self.start, n_bytes)

    def __dealloc__(self):
        PyMem_RawFree(self.allocated)


cdef struct NativeLayer:
    ptrdiff_t fan_in
    ptrdiff_t fan_out
    ptrdiff_t out_panels
    int activation
    bint derivative_in_z
    # How the threads share it: each owns output panels; or, where those are too few, each takes
    # some rows on the way forward and owns the weights of some inputs.
    bint outputs_are_split
    # Where its parameters lie in the flat vector, in values.
    ptrdiff_t flat_weights
    ptrdiff_t flat_biases
    # Parameters as panels: w (fan_in rows), b (one row); where they lie in the packed vectors, in
    # bytes.
    ptrdiff_t w_stride
    ptrdiff_t packed_weights
    ptrdiff_t packed_biases
    # What the way forward reads: the panels; or, to predict a few rows, the flat vector itself.
    const char *w
    const char *b
    ptrdiff_t w_panel
    ptrdiff_t w_step
    # The input gradient takes so many panels of the transposed weights at a time.
    ptrdiff_t transposed_stride
    ptrdiff_t transposed_panels
    # Dropout of its inputs while training, if `drops`: (rows, fan_in) panels of what is kept. The
    # network's inputs are dropped where they are.
    bint drops
    dropout_rule dropout
    char *kept
    # The batch, as panels: (rows, fan_out) each. `a` may be `z` (see `Workspace`).
    ptrdiff_t stride
    char *z
    char *a
    char *dz


cdef struct Native:
    # A plan's buffers. What the functions below need, so that they run without the GIL.
    const product_kernels *product
    const element_kernels *element
    ptrdiff_t value_bytes
    ptrdiff_t lanes
    int n_threads
    NativeLayer *layers
    int n_layers
    int loss_formula
    const char *loss_parameters  # (parameters, outputs), of the plan's precision
    int optimizer_formula
    bint is_gradient_descent
    bint adjusts_gradient
    bint needs_whole_gradient  # before the update: `clip_norm` or `max_norm` is finite
    double clip_norm
    double max_norm
    bint loss_is_merged
    ptrdiff_t batch_size
    ptrdiff_t n_parameters
    ptrdiff_t n_states
    ptrdiff_t n_coefficients
    ptrdiff_t n_outputs
    ptrdiff_t packed_bytes  # of one packed vector
    char *parameters        # packed; the states follow, packed_bytes each
    char *flat_parameters   # the caller's vector, true between calls
    char *flat_state
    char *gradient          # packed; for `gradients`, and where the whole gradient is needed
    # The gathered rows, as panels. A few threads gather for themselves, each all rows: reading what
    # another core has just written takes longer.
    bint input_is_shared
    char *input
    ptrdiff_t input_stride
    ptrdiff_t input_bytes
    char *transposed  # each thread's own panels of transposed weights
    ptrdiff_t transposed_bytes
    # Whether a batch must wait until the one before is done everywhere (see `train_batches`).
    bint batches_touch
    double *block_losses    # of each LOSS_BLOCK rows: summed in order, whoever computed them
    double *panel_squares   # of the gradient of each output panel of all layers, likewise


cdef struct Batch:
    # The rows that are worked on: those that `order` lists, of the caller's array or, if that is
    # not NULL, of a sparse matrix.
    const source *x
    const sparse_rows *sparse
    const int64_t *order
    ptrdiff_t rows
    ptrdiff_t n_known        # `order` goes on to here: rows of the next batch are fetched ahead
    const int64_t *keys      # of dropout, per layer; NULL if this is not training


cdef struct Call:
    # What a team of threads works on.
    Native *native
    const source *x
    const sparse_rows *sparse
    const wanted_targets *wanted
    const int64_t *order
    ptrdiff_t n_rows
    const double *coefficients
    const int64_t *dropout_keys  # (batches, layers), or NULL
    double *losses
    ptrdiff_t n_losses
    char *outputs
    bint with_loss
    double loss_sum


cdef struct Prediction:
    # A call in which every thread has buffers of its own; `finite` tells of the rows it has read.
    Call call
    Native **natives
    bint *finite
    bint reads_flat  # the way forward reads the flat vector; else it is packed first


cdef team alone  # of one thread: its barriers are nothing
alone.n_threads = 1


# ------------------------------------------------------------------------- what threads share


cdef ptrdiff_t share(ptrdiff_t n, int thread, int n_threads) noexcept nogil:
    """Where the part of a thread begins, of n things; it ends where the next one's begins."""
    return n * thread // n_threads


cdef ptrdiff_t share_rows(ptrdiff_t rows, int thread, int n_threads) noexcept nogil:
    """The same for rows, in whole blocks of the loss."""
    cdef ptrdiff_t blocks = (rows + LOSS_BLOCK - 1) // LOSS_BLOCK
    return min(rows, LOSS_BLOCK * share(blocks, thread, n_threads))


# ------------------------------------------------------------------------ the steps of a batch


cdef bint gather(Native *native, const Batch *batch, team *team, int thread) noexcept nogil:
    """The rows, to the thread's own input panels; or its part of them, to the shared ones.

    Sparse rows stay where they are. Returns whether all values that the thread has read are finite.
    """
    cdef bint finite
    cdef char *panels = input_of(native, 0, batch.keys, thread)
    cdef ptrdiff_t in_panels = native.input_bytes // (native.input_stride * native.value_bytes)
    cdef ptrdiff_t first = 0, last = batch.rows
    if batch.sparse is not NULL:
        return native.element.sparse_finite(batch.sparse, batch.order, batch.rows)
    if native.input_is_shared:
        first = share_rows(batch.rows, thread, team.n_threads)
        last = share_rows(batch.rows, thread + 1, team.n_threads)
    finite = native.product.gather(
        batch.x, batch.order + first, last - first, batch.n_known - first,
        native.layers[0].fan_in,
        panels + first * native.lanes * native.value_bytes, native.input_stride)
    drop(native, 0, batch.keys, panels, panels, first, last, 0, in_panels)
    if native.input_is_shared:
        team_barrier(team)
    return finite


cdef char *input_of(Native *native, int index, const int64_t *keys, int thread) noexcept nogil:
    """The panels that a thread reads as a layer's input; `keys` are those of dropout, or NULL."""
    if index == 0:
        return native.input + (0 if native.input_is_shared else thread * native.input_bytes)
    if keys is not NULL and native.layers[index].drops:
        return native.layers[index].kept
    return native.layers[index - 1].a


cdef dropout_rule *dropout_of(Native *native, int index, const int64_t *keys,
                              dropout_rule *rule) noexcept nogil:
    """Fill in the rule of a layer's inputs in this batch; NULL if nothing is dropped."""
    if keys is NULL or not native.layers[index].drops:
        return NULL
    rule[0] = native.layers[index].dropout
    rule.key = <uint32_t>keys[index]
    return rule


cdef void drop(Native *native, int index, const int64_t *keys, const char *values, char *kept,
               ptrdiff_t first_row, ptrdiff_t last_row, ptrdiff_t first, ptrdiff_t last) noexcept nogil:
    """Dropout of a layer's inputs, or of their slopes, for some rows and panels; or nothing."""
    cdef dropout_rule rule
    cdef ptrdiff_t panel, offset
    if dropout_of(native, index, keys, &rule) is NULL:
        return
    for panel in range(first, last):
        offset = (panel * native.input_stride + first_row * native.lanes) * native.value_bytes
        native.element.drop(&rule, first_row, last_row - first_row, panel * native.lanes,
                            values + offset, kept + offset)


cdef void forward(Native *native, const Batch *batch, team *team, int thread) noexcept nogil:
    """Per layer the weighted sum and the activation, up to what the loss takes.

    Ends without a barrier: the thread's own rows (or panels) of the last layer are ready.
    """
    cdef int index
    cdef NativeLayer *layer
    cdef ptrdiff_t first_row, last_row, first, last, offset
    cdef dropout_rule rule
    for index in range(native.n_layers):
        if index > 0:
            team_barrier(team)
        layer = &native.layers[index]
        first_row, last_row = 0, batch.rows
        first, last = 0, layer.out_panels
        if layer.outputs_are_split:
            first = share(layer.out_panels, thread, team.n_threads)
            last = share(layer.out_panels, thread + 1, team.n_threads)
        else:
            first_row = share_rows(batch.rows, thread, team.n_threads)
            last_row = share_rows(batch.rows, thread + 1, team.n_threads)
        offset = first_row * native.lanes * native.value_bytes
        if index == 0 and batch.sparse is not NULL:
            native.element.sparse_sum(
                batch.sparse, batch.order, dropout_of(native, 0, batch.keys, &rule), first_row,
                last_row, layer.w, layer.w_panel, layer.w_step, layer.b, layer.z, layer.stride,
                first, last)
        else:
            native.product.weighted_sum(
                input_of(native, index, batch.keys, thread) + offset, native.input_stride, layer.w,
                layer.w_panel, layer.w_step, layer.b, layer.z + offset, layer.stride,
                last_row - first_row, layer.fan_in, first, last)
        if index < native.n_layers - 1 or not native.loss_is_merged:
            activate(native, layer, first_row, last_row, first, last)
        if index < native.n_layers - 1:
            drop(native, index + 1, batch.keys, layer.a, native.layers[index + 1].kept, first_row,
                 last_row, first, last)


cdef void activate(Native *native, NativeLayer *layer, ptrdiff_t first_row, ptrdiff_t last_row,
                   ptrdiff_t first, ptrdiff_t last) noexcept nogil:
    """a = f(z) for some rows and panels."""
    cdef ptrdiff_t panel, offset
    cdef ptrdiff_t row_offset = first_row * native.lanes * native.value_bytes
    if layer.activation == SOFTMAX:  # needs all panels of a row
        native.element.softmax(
            layer.z + row_offset, layer.a + row_offset, layer.stride, last_row - first_row,
            layer.fan_out)
        return
    for panel in range(first, last):
        offset = panel * layer.stride * native.value_bytes + row_offset
        native.element.activation(
            layer.activation, layer.z + offset, layer.a + offset,
            (last_row - first_row) * native.lanes)


cdef double loss(Native *native, const wanted_targets *wanted, const int64_t *order, ptrdiff_t rows,
                 bint with_slopes, team *team, int thread) noexcept nogil:
    """The sum of the losses; their slopes go to dz of the last layer, scaled for the mean.

    Ends with a barrier: the slopes of all rows are ready.
    """
    cdef NativeLayer *layer = &native.layers[native.n_layers - 1]
    cdef const char *taken = layer.z if native.loss_is_merged else layer.a
    cdef double total = total_weight(native, wanted, order, rows)
    cdef double factor = 1.0 / total if total > 0.0 else 0.0
    cdef ptrdiff_t row = share_rows(rows, thread, team.n_threads)
    cdef ptrdiff_t last = share_rows(rows, thread + 1, team.n_threads)
    cdef ptrdiff_t block, offset
    if layer.outputs_are_split:
        team_barrier(team)
    while row < last:
        offset = row * native.lanes * native.value_bytes
        native.block_losses[row // LOSS_BLOCK] = native.element.loss(
            native.loss_formula, taken + offset, layer.stride, min(LOSS_BLOCK, last - row),
            layer.fan_out, wanted, native.loss_parameters, order + row, factor,
            layer.dz + offset if with_slopes else NULL, NULL)
        row += LOSS_BLOCK
    team_barrier(team)
    total = 0.0
    for block in range((rows + LOSS_BLOCK - 1) // LOSS_BLOCK):
        total += native.block_losses[block]
    return total


cdef double total_weight(Native *native, const wanted_targets *wanted, const int64_t *order,
                         ptrdiff_t rows) noexcept nogil:
    """What the rows count for together."""
    cdef double total = 0.0
    cdef ptrdiff_t i
    if wanted.weights is NULL:
        return rows
    for i in range(rows):
        if native.value_bytes == 4:
            total += (<const float *>wanted.weights)[order[i]]
        else:
            total += (<const double *>wanted.weights)[order[i]]
    return total


cdef void activation_slope(Native *native, NativeLayer *layer, ptrdiff_t rows, ptrdiff_t first,
                           ptrdiff_t last) noexcept nogil:
    """dz = da * f'(z), in place, for some panels."""
    cdef ptrdiff_t panel, offset
    for panel in range(first, last):
        offset = panel * layer.stride * native.value_bytes
        native.element.activation_slope(
            layer.activation, layer.z + offset, layer.a + offset, layer.dz + offset,
            layer.dz + offset, rows * native.lanes)


cdef void backward(Native *native, const Batch *batch, const update_rule *update, team *team,
                   int thread) noexcept nogil:
    """From the loss's slopes: per layer da and dz of the layer before, then dw and db.

    With an update the parameters are changed at once; without, the gradient is written.
    """
    cdef int index
    cdef NativeLayer *layer
    cdef NativeLayer *before
    cdef char *out = native.gradient if update is NULL else native.parameters
    cdef ptrdiff_t first, last
    if not native.loss_is_merged:
        layer = &native.layers[native.n_layers - 1]
        activation_slope(native, layer, batch.rows, share(layer.out_panels, thread, team.n_threads),
                         share(layer.out_panels, thread + 1, team.n_threads))
        team_barrier(team)
    for index in range(native.n_layers - 1, -1, -1):
        layer = &native.layers[index]
        if index > 0:
            before = &native.layers[index - 1]
            first = share(before.out_panels, thread, team.n_threads)
            last = share(before.out_panels, thread + 1, team.n_threads)
            input_gradient(native, layer, before.dz, batch.rows, first, last, thread)
            drop(native, index, batch.keys, before.dz, before.dz, 0, batch.rows, first, last)
            activation_slope(native, before, batch.rows, first, last)
            # The others may still read w or need this thread's slopes; not so where each thread
            # goes on with the inputs and slopes that it has just made itself.
            if index > 1 or layer.outputs_are_split or not before.outputs_are_split:
                team_barrier(team)
        gradient_of_layer(native, index, batch, out, update, team, thread)


cdef void input_gradient(Native *native, NativeLayer *layer, char *da, ptrdiff_t rows,
                         ptrdiff_t first, ptrdiff_t last, int thread) noexcept nogil:
    """da of the layer before = dz @ w.T, a weighted sum of slopes, for some of its panels.

    Of the transposed weights there are only as many at a time as stay in the second-level cache.
    """
    if native.product.input_gradient is not NULL:
        native.product.input_gradient(
            layer.dz, layer.stride, native.parameters + layer.packed_weights, layer.w_stride, da,
            layer.stride, rows, layer.fan_in, layer.fan_out, first, last)
        return
    cdef char *transposed = native.transposed + thread * native.transposed_bytes
    cdef ptrdiff_t panel = first, end, panel_bytes = layer.transposed_stride * native.value_bytes
    while panel < last:
        end = min(last, panel + layer.transposed_panels)
        # Both count panels from 0: the first one of these lies at the start of the memory.
        native.product.transpose(
            native.parameters + layer.packed_weights, layer.w_stride,
            transposed - panel * panel_bytes, layer.transposed_stride, layer.fan_in,
            layer.fan_out, panel, end)
        native.product.weighted_sum(
            layer.dz, layer.stride, transposed - panel * panel_bytes, layer.transposed_stride,
            native.lanes, NULL, da, layer.stride, rows, layer.fan_out, panel, end)
        panel = end


cdef void gradient_of_layer(Native *native, int index, const Batch *batch, char *out,
                            const update_rule *update, team *team, int thread) noexcept nogil:
    """dw = a_in.T @ dz and db = the sum of dz, for what the thread owns."""
    cdef NativeLayer *layer = &native.layers[index]
    cdef ptrdiff_t first_input = 0, last_input = layer.fan_in, first = 0, last = layer.out_panels
    cdef ptrdiff_t in_panels = (layer.fan_in + native.lanes - 1) // native.lanes
    if layer.outputs_are_split:
        first = share(layer.out_panels, thread, team.n_threads)
        last = share(layer.out_panels, thread + 1, team.n_threads)
    else:
        first_input = native.lanes * share(in_panels, thread, team.n_threads)
        last_input = min(layer.fan_in, native.lanes * share(in_panels, thread + 1, team.n_threads))
    if index == 0 and batch.sparse is not NULL:
        sparse_gradient(native, batch, update, first_input, last_input, first, last)
    else:
        native.product.weight_gradient(
            input_of(native, index, batch.keys, thread), native.input_stride, layer.dz,
            layer.stride, out + layer.packed_weights, layer.w_stride, update, batch.rows,
            first_input, last_input, first, last)
    if layer.outputs_are_split or thread == 0:
        native.product.bias_gradient(
            layer.dz, layer.stride, out + layer.packed_biases, update, batch.rows, first, last)


cdef void sparse_gradient(Native *native, const Batch *batch, const update_rule *update,
                          ptrdiff_t first_input, ptrdiff_t last_input, ptrdiff_t first,
                          ptrdiff_t last) noexcept nogil:
    """dw of the first layer on sparse rows, for some inputs and panels, and its update.

    Plain gradient descent changes the weights of stored values alone. Everything else changes all
    weights at every step: their gradient is laid out first.
    """
    cdef NativeLayer *layer = &native.layers[0]
    cdef dropout_rule rule
    cdef const dropout_rule *dropout = dropout_of(native, 0, batch.keys, &rule)
    cdef bint in_place = (
        update is not NULL and update.is_gradient_descent and update.adjustments is NULL)
    cdef char *out = (native.parameters if in_place else native.gradient) + layer.packed_weights
    cdef ptrdiff_t panel, offset, n = (last_input - first_input) * native.lanes
    cdef double factor = 1.0
    if in_place and native.value_bytes == 4:
        factor = -(<const float *>update.coefficients)[0]
    elif in_place:
        factor = -(<const double *>update.coefficients)[0]
    if not in_place:
        for panel in range(first, last):
            offset = (panel * layer.w_stride + first_input * native.lanes) * native.value_bytes
            memset(out + offset, 0, n * native.value_bytes)
    native.element.sparse_gradient(
        batch.sparse, batch.order, dropout, batch.rows, layer.dz, layer.stride, factor, out,
        layer.w_stride, first_input, last_input, first, last)
    if in_place or update is NULL:
        return
    for panel in range(first, last):
        offset = layer.packed_weights + native.value_bytes * (
            panel * layer.w_stride + first_input * native.lanes)
        if update.adjustments is not NULL:
            native.element.adjust(native.parameters + offset, native.gradient + offset,
                                  update.adjustments, n)
        step_scaled(native, update, offset, 1.0, n)


cdef void update_at_once(Native *native, const update_rule *update, team *team,
                         int thread) noexcept nogil:
    """The update where it needs the whole gradient: that of all layers lies in `native.gradient`.

    Each thread takes output panels. Begins and ends with a barrier.
    """
    cdef int index
    cdef NativeLayer *layer
    cdef ptrdiff_t panel, n_panels = 0, weights, biases, n
    cdef double total = 0.0, factor = 1.0
    team_barrier(team)
    for index in range(native.n_layers):
        layer = &native.layers[index]
        n = layer.fan_in * native.lanes
        for panel in range(share(layer.out_panels, thread, team.n_threads),
                           share(layer.out_panels, thread + 1, team.n_threads)):
            weights = layer.packed_weights + panel * layer.w_stride * native.value_bytes
            biases = layer.packed_biases + panel * native.lanes * native.value_bytes
            if native.adjusts_gradient:
                native.element.adjust(native.parameters + weights, native.gradient + weights,
                                      update.adjustments, n)
                native.element.adjust(native.parameters + biases, native.gradient + biases,
                                      update.bias_adjustments, native.lanes)
            if native.clip_norm < INFINITY:
                native.panel_squares[n_panels + panel] = (
                    native.element.sum_of_squares(native.gradient + weights, n)
                    + native.element.sum_of_squares(native.gradient + biases, native.lanes))
        n_panels += layer.out_panels
    if native.clip_norm < INFINITY:
        team_barrier(team)
        for panel in range(n_panels):
            total += native.panel_squares[panel]
        if sqrt(total) > native.clip_norm:
            factor = native.clip_norm / sqrt(total)
    for index in range(native.n_layers):
        layer = &native.layers[index]
        n = layer.fan_in * native.lanes
        for panel in range(share(layer.out_panels, thread, team.n_threads),
                           share(layer.out_panels, thread + 1, team.n_threads)):
            weights = layer.packed_weights + panel * layer.w_stride * native.value_bytes
            biases = layer.packed_biases + panel * native.lanes * native.value_bytes
            step_scaled(native, update, weights, factor, n)
            step_scaled(native, update, biases, factor, native.lanes)
            if native.max_norm < INFINITY:
                native.element.limit_norm(native.parameters + weights, layer.fan_in, native.max_norm)
    team_barrier(team)


cdef void step_scaled(Native *native, const update_rule *update, ptrdiff_t offset, double factor,
                      ptrdiff_t n) noexcept nogil:
    """The optimizer's step of n packed parameters, with their gradient times `factor`."""
    cdef char *w = native.parameters + offset
    if factor != 1.0:
        native.element.scale(native.gradient + offset, factor, n)
    update.step(w, native.gradient + offset, w + update.state_offset, update.state_stride,
                update.coefficients, n)


# ----------------------------------------------------------------------- what a team can be asked


cdef void train_batches(void *context, team *team, int thread) noexcept nogil:
    """Train on the rows in order, batch after batch; every thread runs this.

    The parameters are packed before and unpacked after.

    With one hidden layer split by outputs and an output layer split by inputs, a thread may begin
    the next batch while others are still at this one: until the first barrier it writes only what
    it alone reads, and at that barrier they all have left this batch.
    """
    cdef Call *call = <Call *>context
    cdef Native *native = call.native
    cdef ptrdiff_t start = 0, batch = 0, rows, i
    cdef double loss_sum
    cdef double[MAX_COEFFICIENTS] doubles
    cdef float[MAX_COEFFICIENTS] floats
    cdef ptrdiff_t n_coefficients = native.n_coefficients
    cdef Batch batch_of_rows
    cdef update_rule update
    update.step = native.element.steps[native.optimizer_formula]
    update.is_gradient_descent = native.is_gradient_descent
    update.state_offset = native.packed_bytes
    update.state_stride = native.packed_bytes // native.value_bytes
    update.coefficients = <const void *>floats if native.value_bytes == 4 else <const void *>doubles
    update.adjust = native.element.adjust
    update.adjustments = update.bias_adjustments = NULL
    if native.adjusts_gradient:
        # After the optimizer's coefficients l1, l2 and the limit; then 0, 0 and the limit.
        update.adjustments = (
            <const char *>update.coefficients + n_coefficients * native.value_bytes)
        n_coefficients += N_ADJUSTED
        update.bias_adjustments = (
            <const char *>update.coefficients + n_coefficients * native.value_bytes)
    for i in range(1 + native.n_states):
        load(native, flat_vector(native, i), native.parameters + i * native.packed_bytes, team,
             thread)
    team_barrier(team)
    while start < call.n_rows:
        rows = min(native.batch_size, call.n_rows - start)
        for i in range(n_coefficients):
            doubles[i] = call.coefficients[batch * n_coefficients + i]
        if native.adjusts_gradient:
            doubles[n_coefficients] = doubles[n_coefficients + 1] = 0.0
            doubles[n_coefficients + 2] = doubles[n_coefficients - 1]
        for i in range(MAX_COEFFICIENTS):
            floats[i] = <float>doubles[i]
        batch_of_rows = Batch(
            x=call.x, sparse=call.sparse, order=call.order + start, rows=rows,
            n_known=call.n_rows - start, keys=NULL)
        if call.dropout_keys is not NULL:
            batch_of_rows.keys = call.dropout_keys + batch * native.n_layers
        gather(native, &batch_of_rows, team, thread)
        forward(native, &batch_of_rows, team, thread)
        loss_sum = loss(native, call.wanted, call.order + start, rows, True, team, thread)
        batch += 1
        if thread == 0:
            call.losses[batch - 1] = loss_sum
            call.n_losses = batch
        if not isfinite(loss_sum):
            break
        if native.needs_whole_gradient:
            backward(native, &batch_of_rows, NULL, team, thread)
            update_at_once(native, &update, team, thread)
        else:
            backward(native, &batch_of_rows, &update, team, thread)
            if native.batches_touch:
                team_barrier(team)
        start += rows
    team_barrier(team)
    for i in range(1 + native.n_states):
        store(native, native.parameters + i * native.packed_bytes, flat_vector(native, i), team,
              thread)


cdef void find_gradients(void *context, team *team, int thread) noexcept nogil:
    """Forward and back over all rows as one batch, keeping everything."""
    cdef Call *call = <Call *>context
    cdef Native *native = call.native
    cdef NativeLayer *last = &native.layers[native.n_layers - 1]
    cdef double loss_sum
    load(native, native.flat_parameters, native.parameters, team, thread)
    cdef Batch batch = Batch(x=call.x, sparse=call.sparse, order=call.order, rows=call.n_rows,
                             n_known=call.n_rows, keys=NULL)
    gather(native, &batch, team, thread)
    team_barrier(team)
    forward(native, &batch, team, thread)
    loss_sum = loss(native, call.wanted, call.order, call.n_rows, True, team, thread)
    backward(native, &batch, NULL, team, thread)
    if thread == 0:
        call.loss_sum = loss_sum
        if native.loss_is_merged:
            activate(native, last, 0, call.n_rows, 0, last.out_panels)


cdef void predict_rows(void *context, team *team, int thread) noexcept nogil:
    """Outputs (and losses) of the thread's blocks of rows, each thread by itself."""
    cdef Prediction *prediction = <Prediction *>context
    cdef Call *call = &prediction.call
    cdef Native *native = prediction.natives[thread]
    cdef NativeLayer *last = &native.layers[native.n_layers - 1]
    cdef ptrdiff_t n_blocks = (call.n_rows + PREDICTION_ROWS - 1) // PREDICTION_ROWS
    cdef ptrdiff_t block, start, rows, i
    cdef int64_t[PREDICTION_ROWS] order
    cdef bint finite = True
    cdef Batch batch
    if not prediction.reads_flat:
        load(native, native.flat_parameters, native.parameters, team, thread)
        team_barrier(team)
    for block in range(share(n_blocks, thread, team.n_threads),
                       share(n_blocks, thread + 1, team.n_threads)):
        start = block * PREDICTION_ROWS
        rows = min(<ptrdiff_t>PREDICTION_ROWS, call.n_rows - start)
        for i in range(rows):
            order[i] = start + i
        batch = Batch(x=call.x, sparse=call.sparse, order=&order[0], rows=rows, n_known=rows,
                      keys=NULL)
        finite &= gather(native, &batch, &alone, 0)
        forward(native, &batch, &alone, 0)
        if call.with_loss:
            call.losses[block] = loss(native, call.wanted, order, rows, False, &alone, 0)
        if native.loss_is_merged:
            activate(native, last, 0, rows, 0, last.out_panels)
        native.product.from_panels(
            last.a, last.stride, rows, native.n_outputs,
            call.outputs + start * native.n_outputs * native.value_bytes)
    prediction.finite[thread] = finite


# --------------------------------------------------------------------- flat vectors and panels


cdef char *flat_vector(Native *native, ptrdiff_t i) noexcept nogil:
    """The parameters (0), or a state, as the caller has them."""
    if i == 0:
        return native.flat_parameters
    return native.flat_state + (i - 1) * native.n_parameters * native.value_bytes


cdef void load(Native *native, const char *flat, char *packed, team *team,
               int thread) noexcept nogil:
    """Pack the thread's part of one flat vector (parameters or a state): some rows of each w."""
    cdef int index
    for index in range(native.n_layers):
        load_layer(native, &native.layers[index], flat, packed, team, thread)


cdef void load_layer(Native *native, NativeLayer *layer, const char *flat, char *packed, team *team,
                     int thread) noexcept nogil:
    cdef ptrdiff_t first = share(layer.fan_in, thread, team.n_threads)
    cdef ptrdiff_t last = share(layer.fan_in, thread + 1, team.n_threads)
    native.product.to_panels(
        flat + (layer.flat_weights + first * layer.fan_out) * native.value_bytes, last - first,
        layer.fan_out, packed + layer.packed_weights + first * native.lanes * native.value_bytes,
        layer.w_stride)
    if thread == 0:
        load_biases(native, layer, flat, packed)


cdef void load_biases(Native *native, NativeLayer *layer, const char *flat,
                      char *packed) noexcept nogil:
    native.product.to_panels(
        flat + layer.flat_biases * native.value_bytes, 1, layer.fan_out,
        packed + layer.packed_biases, native.lanes)


cdef void store(Native *native, const char *packed, char *flat, team *team,
                int thread) noexcept nogil:
    """Unpack the thread's part of one packed vector."""
    cdef int index
    cdef NativeLayer *layer
    cdef ptrdiff_t first, last
    for index in range(native.n_layers):
        layer = &native.layers[index]
        first = share(layer.fan_in, thread, team.n_threads)
        last = share(layer.fan_in, thread + 1, team.n_threads)
        native.product.from_panels(
            packed + layer.packed_weights + first * native.lanes * native.value_bytes,
            layer.w_stride, last - first, layer.fan_out,
            flat + (layer.flat_weights + first * layer.fan_out) * native.value_bytes)
        if thread == 0:
            native.product.from_panels(
                packed + layer.packed_biases, native.lanes, 1, layer.fan_out,
                flat + layer.flat_biases * native.value_bytes)


cdef ptrdiff_t panels(Native *native, ptrdiff_t columns) noexcept:
    return (columns + native.lanes - 1) // native.lanes


cdef ptrdiff_t stride_for(Native *native, ptrdiff_t rows) noexcept:
    """How far apart panels of so many rows lie: never a multiple of 4096 bytes, which would put the
    same row of every panel in the same cache set."""
    cdef ptrdiff_t stride = rows * native.lanes
    if stride * native.value_bytes % 4096 == 0:
        stride += native.lanes
    return stride


cdef struct Product:
    # out (rows, columns) = a (rows, inner) @ b (inner, columns), all row-major.
    const product_kernels *kernels
    const char *a
    const char *b  # its panels, or itself if its rows are whole vectors
    ptrdiff_t b_panel
    ptrdiff_t b_step
    char *out
    char *a_panels
    char *out_panels
    ptrdiff_t rows
    ptrdiff_t inner
    ptrdiff_t columns
    ptrdiff_t lanes
    ptrdiff_t value_bytes


cdef void multiply_rows(void *context, team *team, int thread) noexcept nogil:
    """The thread's rows: to panels, the product, and back."""
    cdef Product *product = <Product *>context
    cdef ptrdiff_t first = share(product.rows, thread, team.n_threads)
    cdef ptrdiff_t rows = share(product.rows, thread + 1, team.n_threads) - first
    cdef ptrdiff_t lanes = product.lanes, size = product.value_bytes
    cdef ptrdiff_t in_panels = (product.inner + lanes - 1) // lanes
    cdef ptrdiff_t out_panels = (product.columns + lanes - 1) // lanes
    cdef char *a_panels = product.a_panels + first * in_panels * lanes * size
    cdef char *c_panels = product.out_panels + first * out_panels * lanes * size
    product.kernels.to_panels(
        product.a + first * product.inner * size, rows, product.inner, a_panels, rows * lanes)
    product.kernels.weighted_sum(
        a_panels, rows * lanes, product.b, product.b_panel, product.b_step, NULL, c_panels,
        rows * lanes, rows, product.inner, 0, out_panels)
    product.kernels.from_panels(
        c_panels, rows * lanes, rows, product.columns, product.out + first * product.columns * size)


cdef class Workspace:
    """Buffers for a batch of rows that a number of threads work on together.

    An activation takes the place of its weighted sum if the derivative can do without it, unless
    everything is to be kept for the caller.
    """

    cdef Native native
    cdef Memory layer_memory, row_memory
    cdef ptrdiff_t rows

    def __cinit__(self, NativeEngine engine, int n_threads, ptrdiff_t rows, bint keeps_everything):
        cdef Native *native = &self.native
        cdef NativeLayer *layer
        cdef ptrdiff_t n_bytes, panel_bytes, total
        cdef int index, n_inputs
        native[0] = engine.native
        native.n_threads = n_threads
        self.rows = rows
        self.layer_memory = Memory(native.n_layers * sizeof(NativeLayer))
        native.layers = <NativeLayer *>self.layer_memory.start
        native.input_is_shared = n_threads > OWN_INPUTS
        n_inputs = 1 if native.input_is_shared else n_threads
        native.input_stride = stride_for(native, rows)
        panel_bytes = native.input_stride * native.value_bytes
        native.input_bytes = panels(native, engine.native.layers[0].fan_in) * panel_bytes
        total = n_inputs * native.input_bytes + (rows // LOSS_BLOCK + 1) * sizeof(double)
        for index in range(native.n_layers):
            native.layers[index] = engine.native.layers[index]
            total += 4 * native.layers[index].out_panels * (panel_bytes + sizeof(double))
        self.row_memory = Memory(total + n_threads * native.transposed_bytes)
        cdef char *at = self.row_memory.start
        native.transposed = at
        at += n_threads * native.transposed_bytes
        native.input = at
        at += n_inputs * native.input_bytes
        for index in range(native.n_layers):
            layer = &native.layers[index]
            # The last layer's rows go on to the loss: it is split by outputs only if it is wide.
            layer.outputs_are_split = (
                layer.out_panels >= n_threads * (4 if index == native.n_layers - 1 else 1)
            )
            n_bytes = layer.out_panels * panel_bytes
            layer.stride = native.input_stride
            layer.z, layer.a, layer.dz = at, at, at + n_bytes
            at += 2 * n_bytes
            if keeps_everything or layer.derivative_in_z or layer.activation == SOFTMAX:
                layer.a = at
                at += n_bytes
            if index < native.n_layers - 1 and native.layers[index + 1].drops:
                native.layers[index + 1].kept = at
                at += n_bytes
        native.panel_squares = <double *>at
        for index in range(native.n_layers):
            at += native.layers[index].out_panels * sizeof(double)
        native.block_losses = <double *>at
        native.batches_touch = not (
            native.n_layers == 2 and not native.input_is_shared
            and native.layers[0].outputs_are_split and not native.layers[1].outputs_are_split
        )
        self.read_packed()

    cdef void read_packed(self) noexcept:
        """Let the way forward read the packed parameters."""
        cdef int index
        cdef NativeLayer *layer
        for index in range(self.native.n_layers):
            layer = &self.native.layers[index]
            layer.w = self.native.parameters + layer.packed_weights
            layer.b = self.native.parameters + layer.packed_biases
            layer.w_panel, layer.w_step = layer.w_stride, self.native.lanes

    cdef void read_flat(self) noexcept:
        """Let it read the flat vector: biases alone are packed, for their last vector.

        Past the end of a row of weights a vector holds the next row, and past the last row the
        biases and the next layer; the outputs made of it are read by nobody. Where the vector of
        parameters would end first, the weights are packed too.
        """
        cdef Native *native = &self.native
        cdef const char *flat = native.flat_parameters
        cdef int index
        cdef ptrdiff_t past
        cdef NativeLayer *layer
        self.read_packed()
        for index in range(native.n_layers):
            layer = &native.layers[index]
            if layer.fan_out % native.lanes == 0:
                layer.b = flat + layer.flat_biases * native.value_bytes
            else:
                load_biases(native, layer, flat, native.parameters)
            past = layer.out_panels * native.lanes - layer.fan_out
            if layer.flat_biases + past <= native.n_parameters:
                layer.w = flat + layer.flat_weights * native.value_bytes
                layer.w_panel, layer.w_step = native.lanes, layer.fan_out
            else:
                load_layer(native, layer, flat, native.parameters, &alone, 0)


cdef class NativeEngine:
    """A plan's memory, and the calls on it."""

    cdef Native native
    cdef Memory layer_memory, parameter_memory, gradient_memory
    cdef object loss_parameters
    cdef Workspace training
    cdef object thread_choice  # of the training
    cdef list predicting  # a Workspace per thread
    cdef bint targets_are_labels
    cdef double input_scale
    cdef object parameters, state  # the caller's arrays, whose addresses `native` has
    cdef readonly bint inputs_were_finite  # of the last prediction

    def __cinit__(self, plan, n_threads, parameters, state):
        cdef Native *native = &self.native
        cdef const kernels *table = kernels_for(plan.precision)
        native.product = &table.product
        native.element = &table.element
        native.value_bytes = table.value_bytes
        native.lanes = table.lanes
        native.n_threads = n_threads
        native.n_layers = len(plan.layers)
        self.layer_memory = Memory(native.n_layers * sizeof(NativeLayer))
        native.layers = <NativeLayer *>self.layer_memory.start
        native.loss_formula = formula_number(LOSS_NAMES, plan.loss)
        self.loss_parameters = flat_numbers(plan.loss_parameters, plan.dtype)
        native.loss_parameters = address(self.loss_parameters)
        native.optimizer_formula = formula_number(OPTIMIZER_NAMES, plan.optimizer)
        native.is_gradient_descent = plan.optimizer == "sgd"
        native.adjusts_gradient = plan.adjusts_gradient
        native.needs_whole_gradient = plan.needs_whole_gradient
        native.clip_norm, native.max_norm = plan.clip_norm, plan.max_norm
        native.loss_is_merged = plan.loss_is_merged
        native.batch_size = plan.batch_size
        native.n_states = plan.n_states
        self.parameters, self.state = parameters, state
        native.flat_parameters = address(parameters)
        if plan.n_states:
            native.flat_state = address(state)
        native.n_coefficients = plan.n_coefficients
        native.n_outputs = plan.n_outputs
        self.targets_are_labels = plan.targets_are_labels
        self.input_scale = plan.input_scale
        self.native.n_parameters = plan.n_parameters
        self.predicting = []
        assert plan.n_coefficients + 2 * N_ADJUSTED <= MAX_COEFFICIENTS
        assert N_ADJUSTMENTS == N_ADJUSTED
        self.lay_out_parameters(plan)
        if plan.needs_whole_gradient:
            self.make_gradient()

    cdef lay_out_parameters(self, plan):
        cdef Native *native = &self.native
        cdef ptrdiff_t offset = 0, panel_bytes
        cdef NativeLayer *layer
        for index, described in enumerate(plan.layers):
            layer = &native.layers[index]
            layer.fan_in, layer.fan_out = described.fan_in, described.fan_out
            layer.out_panels = panels(native, layer.fan_out)
            if described.activation == "softmax":
                layer.activation = SOFTMAX
                layer.derivative_in_z = False
            else:
                layer.activation = formula_number(ACTIVATION_NAMES, described.activation)
                formula = formulas.ACTIVATIONS[described.activation]
                layer.derivative_in_z = formula.derivative_input == "z"
            rate = plan.dropout[index]
            layer.drops = rate > 0.0
            layer.dropout.threshold = formulas.dropout_threshold(rate)
            layer.dropout.factor = 1.0 / (1.0 - rate)
            layer.flat_weights = described.weights.start
            layer.flat_biases = described.biases.start
            layer.w_stride = stride_for(native, layer.fan_in)
            layer.packed_weights = offset
            offset += layer.out_panels * layer.w_stride * native.value_bytes
            layer.packed_biases = offset
            offset += layer.out_panels * native.lanes * native.value_bytes
            if index > 0:  # the input gradient of the first layer is not needed
                layer.transposed_stride = stride_for(native, layer.fan_out)
                panel_bytes = layer.transposed_stride * native.value_bytes
                # An even number: a tile takes two.
                layer.transposed_panels = max(2, TRANSPOSED_BYTES // panel_bytes // 2 * 2)
                native.transposed_bytes = max(
                    native.transposed_bytes,
                    min(layer.transposed_panels, panels(native, layer.fan_in)) * panel_bytes)
        native.packed_bytes = offset
        self.parameter_memory = Memory((1 + native.n_states) * offset)
        native.parameters = self.parameter_memory.start

    cdef make_gradient(self):
        """Give the native gradient its memory, if it has none."""
        if self.gradient_memory is None:
            self.gradient_memory = Memory(self.native.packed_bytes)
            self.native.gradient = self.gradient_memory.start

    cdef int threads_for(self, ptrdiff_t n_values, ptrdiff_t n_meetings) noexcept:
        """How many threads pay for so many multiply-adds with so many waits for each other."""
        return min(self.native.n_threads, 1 + n_values // (VALUES_PER_MEETING * n_meetings))

    def train(self, x, wanted, sample_weight, const int64_t[::1] order,
              const double[:, ::1] coefficients, const int64_t[:, ::1] dropout_keys):
        cdef Native *native
        cdef source rows
        cdef sparse_rows stored
        cdef wanted_targets goals = self.targets_of(wanted, sample_weight)
        losses = array.array("d", bytes(8 * coefficients.shape[0]))
        cdef double[::1] losses_view = losses
        cdef ptrdiff_t batch_rows = min(self.native.batch_size, order.shape[0])
        if order.shape[0] == 0:
            return losses
        if self.training is None or self.training.rows < batch_rows:
            # Forward and back are three products, and the threads meet twice per layer.
            threads = self.threads_for(3 * batch_rows * self.native.n_parameters, 2 * self.native.n_layers)
            self.training = Workspace(self, threads, batch_rows, False)
            self.thread_choice = ThreadChoice(threads)
        native = &self.training.native
        cdef int n_threads = self.thread_choice.choose()
        cdef Call call = Call(
            native=native, x=&rows, sparse=NULL, wanted=&goals, order=&order[0],
            n_rows=order.shape[0], coefficients=&coefficients[0, 0],
            dropout_keys=NULL, losses=&losses_view[0], n_losses=0, outputs=NULL, with_loss=True,
            loss_sum=0.0)
        self.bind(x, &call, &rows, &stored)
        if dropout_keys is not None:
            call.dropout_keys = &dropout_keys[0, 0]
        start = time.perf_counter()
        with nogil:
            team_run(n_threads, train_batches, &call)
        self.thread_choice.learn(n_threads, time.perf_counter() - start, order.shape[0])
        return losses[:call.n_losses]

    def predict(self, x, wanted, sample_weight, out):
        """Write the outputs of all rows to `out`; return the sum of the losses if `wanted`."""
        cdef ptrdiff_t n_rows = len(x), i
        cdef source rows
        cdef sparse_rows stored
        cdef wanted_targets goals
        cdef Prediction prediction
        cdef ptrdiff_t n_blocks = (n_rows + PREDICTION_ROWS - 1) // PREDICTION_ROWS
        cdef int n_threads = min(n_blocks, self.threads_for(n_rows * self.native.n_parameters, WAKE_UP))
        cdef Native* natives[MAX_PREDICTING]
        cdef bint[MAX_PREDICTING] finite
        cdef Workspace workspace
        cdef double[::1] losses_view
        cdef double total = 0.0
        n_threads = min(n_threads, MAX_PREDICTING)
        while len(self.predicting) < n_threads:
            self.predicting.append(Workspace(self, 1, PREDICTION_ROWS, False))
        for i in range(n_threads):
            workspace = self.predicting[i]
            natives[i] = &workspace.native
            finite[i] = True  # fewer threads may run than are wanted
        prediction.natives, prediction.finite = natives, finite
        prediction.reads_flat = n_rows <= FEW_ROWS
        prediction.call = Call(
            native=NULL, x=&rows, sparse=NULL, wanted=&goals, order=NULL, n_rows=n_rows,
            coefficients=NULL, dropout_keys=NULL, losses=NULL, n_losses=0,
            outputs=address(out), with_loss=wanted is not None, loss_sum=0.0)
        self.bind(x, &prediction.call, &rows, &stored)
        if prediction.call.with_loss:
            goals = self.targets_of(wanted, sample_weight)
            losses = array.array("d", bytes(8 * n_blocks))
            losses_view = losses
            prediction.call.losses = &losses_view[0]
        if prediction.reads_flat:
            (<Workspace>self.predicting[0]).read_flat()
        else:
            for workspace in self.predicting:
                workspace.read_packed()
        with nogil:
            team_run(n_threads, predict_rows, &prediction)
        self.inputs_were_finite = True
        for i in range(n_threads):
            self.inputs_were_finite &= finite[i]
        if prediction.call.with_loss:
            for i in range(n_blocks):  # in order, whoever computed them
                total += losses_view[i]
        return total

    def gradients(self, x, wanted, sample_weight, flat_gradient, kept):
        """Write dL/d(parameters), and per layer (z, a, dz) of `kept`; return the mean loss."""
        cdef ptrdiff_t n_rows = len(x)
        cdef source rows
        cdef sparse_rows stored
        cdef wanted_targets goals = self.targets_of(wanted, sample_weight)
        cdef char *gradient = address(flat_gradient)
        order = array.array("q", range(len(x)))
        cdef const int64_t[::1] order_view = order
        threads = self.threads_for(3 * n_rows * self.native.n_parameters, WAKE_UP)
        cdef Workspace workspace
        cdef NativeLayer *layer
        self.make_gradient()
        workspace = Workspace(self, threads, n_rows, True)
        cdef Native *native = &workspace.native
        cdef Call call = Call(
            native=native, x=&rows, sparse=NULL, wanted=&goals, order=&order_view[0], n_rows=n_rows,
            coefficients=NULL, dropout_keys=NULL, losses=NULL, n_losses=0, outputs=NULL,
            with_loss=True, loss_sum=0.0)
        self.bind(x, &call, &rows, &stored)
        with nogil:
            team_run(native.n_threads, find_gradients, &call)
            store(native, native.gradient, gradient, &alone, 0)
        for index, (z, a, dz) in enumerate(kept):
            layer = &native.layers[index]
            for out, panels in ((z, <uintptr_t>layer.z), (a, <uintptr_t>layer.a),
                                (dz, <uintptr_t>layer.dz)):
                native.product.from_panels(
                    <const char *><uintptr_t>panels, layer.stride, n_rows, layer.fan_out,
                    address(out))
        weight = total_weight(native, &goals, &order_view[0], n_rows)
        return call.loss_sum / weight if weight > 0.0 else 0.0

    cdef bind(self, x, Call *call, source *rows, sparse_rows *stored):
        """Let a call read `x`: an array, or a `SparseMatrix`."""
        if isinstance(x, SparseMatrix):
            stored.starts = <const int64_t *>address(x.starts)
            stored.columns = <const int32_t *>address(x.columns)
            stored.values = address(x.values)
            stored.scale = self.input_scale
            call.sparse = stored
            if call.native is not NULL:  # the update may need the gradient laid out
                self.make_gradient()
                call.native.gradient = self.native.gradient
        else:
            rows[0] = source_of(x, self.input_scale)

    cdef wanted_targets targets_of(self, wanted, sample_weight) except *:
        cdef wanted_targets goals
        goals.labels = NULL
        goals.values = NULL
        goals.weights = NULL
        if self.targets_are_labels:
            goals.labels = <const int32_t *>address(wanted)
        else:
            goals.values = address(wanted)
        if sample_weight is not None:
            goals.weights = address(sample_weight)
        return goals


cdef flat_numbers(rows, str dtype):
    """Rows of numbers as one array that lives on the Python side; never empty."""
    numbers = [number for row in rows for number in row]
    return array.array("f" if dtype == "float32" else "d", numbers or [0.0])


cdef char *address(array) except NULL:
    """Where an array's data begins. The caller keeps the array alive and knows its layout."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_STRIDED_RO)
    cdef char *start = <char *>view.buf
    PyBuffer_Release(&view)
    return start


cdef source source_of(x, double scale) except *:
    """An array (rows, features) as the kernels read it."""
    cdef Py_buffer view
    cdef source rows
    PyObject_GetBuffer(x, &view, PyBUF_RECORDS_RO)
    rows.data = <const char *>view.buf
    rows.row_stride, rows.column_stride = view.strides[0], view.strides[1]
    rows.type = (ELEMENT_UINT8 if view.format[0] == b"B" else
                 ELEMENT_FLOAT32 if view.format[0] == b"f" else ELEMENT_FLOAT64)
    rows.scale = scale
    PyBuffer_Release(&view)
    return rows


class CythonEngine(Engine):
    """Hands the arrays of the contract to the native engine."""

    def __init__(self, plan, parameters, state):
        super().__init__(plan, parameters, state)
        self.native = NativeEngine(
            plan, backend.usable_threads(plan.n_threads), parameters, state)

    def train(self, x, targets, sample_weight, order, coefficients, dropout_keys=None):
        return self.native.train(
            x, targets, sample_weight, order, coefficients, dropout_keys)

    def gradients(self, x, targets, sample_weight):
        import numpy

        plan = self.plan
        flat = numpy.empty_like(self.parameters)
        kept = [
            tuple(numpy.empty((len(x), layer.fan_out), plan.dtype) for _ in range(3))
            for layer in plan.layers
        ]
        loss = self.native.gradients(x, targets, sample_weight, flat, kept)
        shapes = [(layer.fan_in, layer.fan_out) for layer in plan.layers]
        dw = [flat[layer.weights].reshape(s) for layer, s in zip(plan.layers, shapes, strict=True)]
        db = [flat[layer.biases] for layer in plan.layers]
        z, a, dz = (list(each) for each in zip(*kept, strict=True))
        return Gradients(loss, dw, db, z, a, dz)

    def predict(self, x, out):
        self.native.predict(x, None, None, out)
        return self.native.inputs_were_finite

    def evaluate(self, x, targets, sample_weight, out):
        return self.native.predict(x, targets, sample_weight, out)


class CythonBackend(Backend):
    """The registry's entry."""

    name = "cython"
    precisions = ("float32", "float64", "bfloat16")
    reads_sparse = True

    @property
    def isa(self):
        return kernels_for("float32").isa.decode()

    @property
    def bfloat16_isa(self):
        return kernels_for("bfloat16").bfloat16_isa.decode()

    def usable_threads(self, n_threads):
        return min(n_threads, team_limit())

    def refusal(self, plan):
        wanted = [(plan.loss, LOSS_NAMES), (plan.optimizer, OPTIMIZER_NAMES)]
        wanted += [(layer.activation, [*ACTIVATION_NAMES, "softmax"]) for layer in plan.layers]
        for name, built in wanted:
            if name not in built:
                return (
                    f"it was built without the formula {name!r}: the other backends take it (and "
                    "if it is fastmlp's own, install fastmlp again)"
                )
        return ""

    def compile(self, plan, parameters, state):
        return CythonEngine(plan, parameters, state)

    def matmul(self, a, b):
        import numpy

        cdef const kernels *table = kernels_for(a.dtype.name)
        cdef ptrdiff_t rows = a.shape[0], inner = a.shape[1], columns = b.shape[1]
        cdef ptrdiff_t lanes = table.lanes, size = table.value_bytes
        cdef ptrdiff_t out_panels = (columns + lanes - 1) // lanes
        a, b = numpy.ascontiguousarray(a), numpy.ascontiguousarray(b)
        out = numpy.zeros((rows, columns), a.dtype)
        if out.size == 0 or inner == 0:
            return out
        cdef Memory a_panels = Memory((inner + lanes - 1) // lanes * rows * lanes * size)
        cdef Memory out_memory = Memory(out_panels * rows * lanes * size)
        cdef Memory b_panels
        cdef Product product = Product(
            kernels=&table.product, a=address(a), b=address(b), b_panel=lanes, b_step=columns,
            out=address(out), a_panels=a_panels.start, out_panels=out_memory.start, rows=rows,
            inner=inner, columns=columns, lanes=lanes, value_bytes=size)
        if columns % lanes:  # a row of b is not whole vectors
            b_panels = Memory(out_panels * inner * lanes * size)
            table.product.to_panels(product.b, inner, columns, b_panels.start, inner * lanes)
            product.b, product.b_panel, product.b_step = b_panels.start, inner * lanes, lanes
        cdef ptrdiff_t values = rows * inner * columns
        cdef int n_threads = min(available_cpus(), 1 + values // (VALUES_PER_MEETING * WAKE_UP))
        with nogil:
            team_run(n_threads, multiply_rows, &product)
        return out

    def activation(self, name, z):
        import numpy

        z = numpy.ascontiguousarray(z)
        a = numpy.empty_like(z)
        kernels_for(z.dtype.name).element.activation(
            formula_number(ACTIVATION_NAMES, name), address(z), address(a), z.size)
        return a

    def activation_derivative(self, name, z, a):
        import numpy

        z, a = numpy.ascontiguousarray(z), numpy.ascontiguousarray(a)
        slope = numpy.empty_like(z)
        kernels_for(z.dtype.name).element.activation_derivative(
            formula_number(ACTIVATION_NAMES, name), address(z), address(a), address(slope), z.size)
        return slope

    def loss(self, name, z, targets, parameters=()):
        import numpy

        numbers = flat_numbers(parameters, z.dtype.name)
        cdef const kernels *table = kernels_for(z.dtype.name)
        cdef ptrdiff_t rows = z.shape[0], columns = z.shape[1]
        cdef ptrdiff_t stride = rows * table.lanes
        cdef int formula = formula_number(LOSS_NAMES, name)
        cdef wanted_targets goals
        z = numpy.ascontiguousarray(z)
        targets = numpy.ascontiguousarray(targets, z.dtype)
        losses, slopes = numpy.zeros(rows, z.dtype), numpy.empty_like(z)
        if z.size == 0:
            return losses, slopes
        cdef ptrdiff_t n_bytes = (columns + table.lanes - 1) // table.lanes * stride * table.value_bytes
        cdef Memory taken = Memory(n_bytes)
        cdef Memory slope = Memory(n_bytes)
        goals.labels = NULL
        goals.weights = NULL
        goals.values = address(targets)
        table.product.to_panels(address(z), rows, columns, taken.start, stride)
        table.element.loss(
            formula, taken.start, stride, rows, columns, &goals, address(numbers), NULL, 1.0,
            slope.start, address(losses))
        table.product.from_panels(slope.start, stride, rows, columns, address(slopes))
        return losses, slopes

    def update(self, name, w, g, state, coefficients):
        import numpy

        values = numpy.array(coefficients, w.dtype)
        kernels_for(w.dtype.name).element.steps[formula_number(OPTIMIZER_NAMES, name)](
            address(w), address(g), address(state) if len(state) else NULL, w.size,
            address(values), w.size)


choose_kernels()  # an unknown FASTMLP_MAX_ISA is the reason that the registry shows
backend = CythonBackend()
