# The normalisation of a layer, each part of it by one thread of a team: columns of a batch, or rows.

cdef void load_running(Native *native) noexcept nogil:
    """Let predictions normalise batches by the running statistics."""
    cdef int index
    cdef NativeLayer *layer
    cdef const char *flat
    for index in range(native.n_layers):
        layer = &native.layers[index]
        if layer.normalization != BATCH:
            continue
        flat = native.flat_statistics + layer.flat_statistics * native.value_bytes
        native.product.to_panels(flat, 1, layer.fan_out, layer.mean, native.lanes)
        native.product.to_panels(flat + layer.fan_out * native.value_bytes, 1, layer.fan_out,
                                 layer.variance, native.lanes)
        native.element.normalization.factors(layer.variance, layer.factor,
                                             layer.out_panels * native.lanes)


cdef void normalize(Native *native, NativeLayer *layer, const Batch *batch, ptrdiff_t *first_row,
                    ptrdiff_t *last_row, ptrdiff_t *first, ptrdiff_t *last, team *team,
                    int thread) noexcept nogil:
    """What the activation takes, of z; all rows are needed for a batch, all panels for a layer.

    Handed the rows and panels of z that the thread has made; those that it goes on with come back.
    """
    cdef ptrdiff_t panel, offset, at
    cdef const normalization_kernels *kernels = native.element.normalization
    if layer.normalization == BATCH:
        if not layer.outputs_are_split:
            team_barrier(team)
            first_row[0], last_row[0] = 0, batch.rows
            first[0] = share(layer.out_panels, thread, team.n_threads)
            last[0] = share(layer.out_panels, thread + 1, team.n_threads)
        for panel in range(first[0], last[0]):
            offset = panel * layer.stride * native.value_bytes
            at = panel * native.lanes * native.value_bytes
            if not batch.predicts:
                kernels.column_statistics(layer.z + offset, batch.rows, layer.mean + at,
                                          layer.variance + at, layer.factor + at)
            kernels.normalize_columns(
                layer.z + offset, batch.rows, layer.mean + at, layer.factor + at, layer.gamma + at,
                layer.beta + at, layer.normalized + offset, layer.activated + offset)
        return
    if layer.outputs_are_split:
        team_barrier(team)
        first[0], last[0] = 0, layer.out_panels
        first_row[0] = share_rows(batch.rows, thread, team.n_threads)
        last_row[0] = share_rows(batch.rows, thread + 1, team.n_threads)
    offset = first_row[0] * native.lanes * native.value_bytes
    kernels.normalize_rows(
        layer.z + offset, layer.stride, last_row[0] - first_row[0], layer.fan_out, layer.gamma,
        layer.beta, layer.normalized + offset, layer.activated + offset,
        layer.factor + first_row[0] * native.value_bytes)


cdef void normalization_slope(Native *native, NativeLayer *layer, ptrdiff_t rows, ptrdiff_t first,
                              ptrdiff_t last, team *team, int thread) noexcept nogil:
    """The sums dbeta and dgamma for some panels, and dz, which was the slope of `activated`.

    Of a batch, dz of the same panels; of a layer, of some rows, after a barrier.
    """
    cdef ptrdiff_t panel, offset, at, row, last_row
    cdef const normalization_kernels *kernels = native.element.normalization
    if layer.normalization == NOT_NORMALIZED:
        return
    for panel in range(first, last):
        offset = panel * layer.stride * native.value_bytes
        at = panel * native.lanes * native.value_bytes
        if layer.normalization == BATCH:
            kernels.slope_of_columns(
                layer.normalized + offset, layer.dz + offset, rows, layer.factor + at,
                layer.gamma + at, layer.vector_gradients + at,
                layer.vector_gradients + layer.vector_bytes + at)
        else:
            kernels.sums_of_slopes(
                layer.normalized + offset, layer.dz + offset, rows, layer.vector_gradients + at,
                layer.vector_gradients + layer.vector_bytes + at)
    if layer.normalization == LAYER:
        team_barrier(team)
        row = share_rows(rows, thread, team.n_threads)
        last_row = share_rows(rows, thread + 1, team.n_threads)
        offset = row * native.lanes * native.value_bytes
        kernels.slope_of_rows(
            layer.normalized + offset, layer.dz + offset, layer.stride, last_row - row,
            layer.fan_out, layer.gamma, layer.factor + row * native.value_bytes)


cdef void update_running(Native *native, ptrdiff_t rows, team *team, int thread) noexcept nogil:
    """The running statistics after a batch, by the threads that normalised its columns."""
    cdef int index
    cdef NativeLayer *layer
    cdef ptrdiff_t panel, column, at
    cdef char *flat
    for index in range(native.n_layers):
        layer = &native.layers[index]
        if layer.normalization != BATCH:
            continue
        flat = native.flat_statistics + layer.flat_statistics * native.value_bytes
        for panel in range(share(layer.out_panels, thread, team.n_threads),
                           share(layer.out_panels, thread + 1, team.n_threads)):
            column = panel * native.lanes
            at = column * native.value_bytes
            native.element.normalization.update_running(
                flat + at, flat + layer.fan_out * native.value_bytes + at, layer.mean + at,
                layer.variance + at, rows, min(native.lanes, layer.fan_out - column))
