# What a team of threads can be asked: train, find gradients, predict, multiply.

cdef void train_batches(void *context, team *team, int thread) noexcept nogil:
    """Train on the rows in order, batch after batch; every thread runs this.

    The parameters are packed before and unpacked after, unless they are or stay so.

    With one hidden layer split by outputs and an output layer split by inputs, a thread may begin
    the next batch while others are still at this one: until the first barrier it writes only what
    it alone reads, and at that barrier they all have left this batch. (Of strips of the hidden layer's
    inputs two threads may have half a tile each; the others transpose the whole tile, and take
    nothing of the half that is not theirs.)
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
    update.step = native.element.steps[native.step_formula]
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
    if not call.is_packed:
        for i in range(1, 1 + native.n_states):
            load(native, flat_vector(native, i), native.parameters + i * native.packed_bytes, team,
                 thread)
        load_parameters(native, team, thread)
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
            n_known=call.n_rows - start, keys=NULL, predicts=False)
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
        update_running(native, rows, team, thread)
        if native.needs_whole_gradient:
            backward(native, &batch_of_rows, NULL, team, thread)
            update_at_once(native, &update, team, thread)
        else:
            backward(native, &batch_of_rows, &update, team, thread)
            if native.batches_touch:
                team_barrier(team)
        start += rows
    if call.stays_packed:
        return
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
    load_parameters(native, team, thread)
    cdef Batch batch = Batch(x=call.x, sparse=call.sparse, order=call.order, rows=call.n_rows,
                             n_known=call.n_rows, keys=NULL, predicts=False)
    gather(native, &batch, team, thread)
    forward(native, &batch, team, thread)
    loss_sum = loss(native, call.wanted, call.order, call.n_rows, True, team, thread)
    backward(native, &batch, NULL, team, thread)
    if thread == 0:
        call.loss_sum = loss_sum
        if native.loss_is_merged:
            activate(native, last, 0, call.n_rows, 0, last.out_panels)


cdef void predict_rows(void *context, team *team, int thread) noexcept nogil:
    """Outputs (and losses) of one block of rows after the other, each thread by itself."""
    cdef Prediction *prediction = <Prediction *>context
    cdef Call *call = &prediction.call
    cdef Native *native = prediction.natives[thread]
    cdef NativeLayer *last = &native.layers[native.n_layers - 1]
    cdef ptrdiff_t block_rows = prediction.block_rows
    cdef ptrdiff_t n_blocks = (call.n_rows + block_rows - 1) // block_rows
    cdef ptrdiff_t block, start, rows, next_start, n_next, i
    cdef int64_t[2 * PREDICTION_ROWS] order  # of a block, and of the one that is likely to be next
    cdef bint finite = True
    cdef Batch batch
    load_running(native)
    if not prediction.reads_flat:
        load_parameters(native, team, thread)
    while True:  # not each its share: one of them may have been late, or be held up
        block = team_take(team)
        if block >= n_blocks:
            break
        start = block * block_rows
        rows = min(block_rows, call.n_rows - start)
        for i in range(rows):
            order[i] = start + i
        next_start = start + team.n_threads * block_rows
        n_next = max(0, min(block_rows, call.n_rows - next_start))
        for i in range(n_next):
            order[rows + i] = next_start + i
        batch = Batch(x=call.x, sparse=call.sparse, order=&order[0], rows=rows,
                      n_known=rows + n_next, keys=NULL, predicts=True)
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
    cdef ptrdiff_t first = share_rows(product.rows, thread, team.n_threads)
    cdef ptrdiff_t rows = share_rows(product.rows, thread + 1, team.n_threads) - first
    cdef ptrdiff_t lanes = product.lanes, size = product.value_bytes
    cdef ptrdiff_t in_panels = (product.inner + lanes - 1) // lanes
    cdef ptrdiff_t out_panels = (product.columns + lanes - 1) // lanes
    cdef char *a_panels = product.a_panels + first * in_panels * lanes * size
    cdef char *c_panels = product.out_panels + first * out_panels * lanes * size
    product.kernels.to_panels(
        product.a + first * product.inner * size, rows, product.inner, a_panels, rows * lanes)
    product.kernels.weighted_sum(
        a_panels, rows * lanes, NULL, product.b, product.b_panel, product.b_step, NULL, c_panels,
        rows * lanes, rows, product.inner, 0, out_panels)
    product.kernels.from_panels(
        c_panels, rows * lanes, rows, product.columns, product.out + first * product.columns * size)
