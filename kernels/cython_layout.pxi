# A plan laid out in memory: panels of parameters and of a batch, and the ways between them and the
# flat vectors.

cdef ptrdiff_t panels_of(ptrdiff_t columns, ptrdiff_t lanes) noexcept nogil:
    return (columns + lanes - 1) // lanes


cdef ptrdiff_t spaced(ptrdiff_t rows, ptrdiff_t lanes, ptrdiff_t value_bytes) noexcept nogil:
    """How far apart panels of so many rows lie: never a multiple of 4096 bytes, which would put the
    same row of every panel in the same cache set."""
    cdef ptrdiff_t stride = rows * lanes
    if stride * value_bytes % 4096 == 0:
        stride += lanes
    return stride


include "cython_orthogonal.pxi"


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
    # Parameters as panels: w (fan_in rows), b (one row) and, if it is normalised, gamma (another
    # one); where they lie in the packed vectors, in bytes. A row takes `vector_bytes`.
    ptrdiff_t w_stride
    ptrdiff_t packed_weights
    const strip_products *strips  # what multiplies; NULL: `product` of the plan
    weight_strips rounded  # w, rounded (see kernels.h), or NULL in it
    # What the optimizer's orthogonal direction of w is multiplied by; 0 if w is not updated so.
    double direction_scale
    ptrdiff_t packed_biases
    ptrdiff_t n_vectors  # b; or b and gamma, one after the other
    ptrdiff_t vector_bytes
    # What the way forward reads: the panels; or, to predict a few rows, the flat vector itself.
    const char *w
    const char *b  # zeros if it is normalised: then its biases are beta
    const char *beta
    const char *gamma
    ptrdiff_t w_panel
    ptrdiff_t w_step
    bint reads_strips  # those of `rounded`; not where w is the flat vector
    # Dropout of its inputs while training, if `drops`: (rows, fan_in) panels of what is kept. The
    # network's inputs are dropped where they are.
    bint drops
    dropout_rule dropout
    char *kept
    uint32_t *input_strips  # its inputs, rounded (see kernels.h), or NULL; not of the first layer
    # The batch, as panels: (rows, fan_out) each. `activated` is what the activation takes, z itself
    # unless it is normalised. Several may be the same (see `Workspace`).
    ptrdiff_t stride
    char *z
    char *activated
    char *a
    char *dz
    # If it is normalised: where its running statistics lie in the flat vector, in values; panels of
    # the normalised z; panels of one row of mean, variance and factor (of a batch) or a factor per
    # row (of a layer), of dbeta and, after it, dgamma.
    int normalization
    ptrdiff_t flat_statistics
    char *normalized
    char *mean
    char *variance
    char *factor
    char *vector_gradients


cdef struct Native:
    # A plan's buffers. What the functions below need, so that they run without the GIL.
    const product_kernels *product
    const strip_products *strips  # of all layers, inputs and slopes; or NULL
    const element_kernels *element
    ptrdiff_t value_bytes
    ptrdiff_t lanes
    int n_threads
    NativeLayer *layers
    int n_layers
    int loss_formula
    output_groups groups
    const char *loss_parameters  # (parameters, outputs), of the plan's precision
    int step_formula
    bint is_gradient_descent
    bint adjusts_gradient
    bint needs_whole_gradient  # before the update (see contract.Plan)
    # For weights that are updated as matrices: the two steps besides `step_formula`, and where
    # their coefficients begin, in values.
    Orthogonal orthogonal
    step_function direction
    step_function matrix_step
    ptrdiff_t direction_coefficients
    ptrdiff_t matrix_coefficients
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
    char *flat_parameters   # the caller's vector, true between calls unless it stays packed
    char *flat_state
    char *flat_statistics
    const char *zeros       # biases that are none
    char *gradient          # packed; for `gradients`, and where the whole gradient is needed
    # The gathered rows, as panels. A few threads gather for themselves, each all rows: reading what
    # another core has just written takes longer.
    bint input_is_shared
    bint gathers_strips  # not panels
    char *input
    ptrdiff_t input_stride
    ptrdiff_t input_bytes
    uint16_t *nonzero  # which of their values are not zero (see kernels.h), nonzero_bytes per thread
    ptrdiff_t nonzero_bytes
    # Of layers after the first: their slopes, rounded, in two places by turns, since a layer's are
    # read while those of the layer before are written; or NULL.
    uint32_t *slope_strips
    ptrdiff_t slope_words  # of one place
    uint32_t *gradient_room  # for the weight gradient, gradient_words per thread; or NULL
    ptrdiff_t gradient_words
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
    bint predicts            # batches are normalised by the running statistics


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
    bint is_packed     # the call before has left the parameters as they are needed
    bint stays_packed  # this one leaves them so
    double loss_sum


cdef struct Prediction:
    # A call in which every thread has buffers of its own; `finite` tells of the rows it has read.
    Call call
    Native **natives
    bint *finite
    ptrdiff_t block_rows
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


cdef void load_parameters(Native *native, team *team, int thread) noexcept nogil:
    """Pack the parameters, and round the weights where strips of them are kept; ends with a barrier."""
    cdef int index
    cdef NativeLayer *layer
    load(native, native.flat_parameters, native.parameters, team, thread)
    team_barrier(team)
    for index in range(native.n_layers):
        layer = &native.layers[index]
        keep_weights(native, layer, share(layer.out_panels, thread, team.n_threads),
                     share(layer.out_panels, thread + 1, team.n_threads))
    team_barrier(team)


cdef void keep_weights(Native *native, NativeLayer *layer, ptrdiff_t first,
                       ptrdiff_t last) noexcept nogil:
    """The strips of some panels of w anew, if it has them."""
    if layer.rounded.strips is not NULL:
        layer.strips.keep_weights(native.parameters + layer.packed_weights, layer.w_stride, 0,
                                  layer.fan_in, first, last, &layer.rounded)


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
    cdef ptrdiff_t i
    for i in range(layer.n_vectors):
        native.product.to_panels(
            flat + (layer.flat_biases + i * layer.fan_out) * native.value_bytes, 1, layer.fan_out,
            packed + layer.packed_biases + i * layer.vector_bytes, native.lanes)


cdef void store(Native *native, const char *packed, char *flat, team *team,
                int thread) noexcept nogil:
    """Unpack the thread's part of one packed vector."""
    cdef int index
    cdef NativeLayer *layer
    cdef ptrdiff_t first, last, i
    for index in range(native.n_layers):
        layer = &native.layers[index]
        first = share(layer.fan_in, thread, team.n_threads)
        last = share(layer.fan_in, thread + 1, team.n_threads)
        native.product.from_panels(
            packed + layer.packed_weights + first * native.lanes * native.value_bytes,
            layer.w_stride, last - first, layer.fan_out,
            flat + (layer.flat_weights + first * layer.fan_out) * native.value_bytes)
        for i in range(layer.n_vectors if thread == 0 else 0):
            native.product.from_panels(
                packed + layer.packed_biases + i * layer.vector_bytes, native.lanes, 1,
                layer.fan_out,
                flat + (layer.flat_biases + i * layer.fan_out) * native.value_bytes)


cdef ptrdiff_t panels(Native *native, ptrdiff_t columns) noexcept:
    return panels_of(columns, native.lanes)


cdef ptrdiff_t stride_for(Native *native, ptrdiff_t rows) noexcept:
    return spaced(rows, native.lanes, native.value_bytes)
