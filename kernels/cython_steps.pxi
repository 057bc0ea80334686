# The steps of a batch, each of them by one thread of a team.

cdef bint gather(Native *native, const Batch *batch, team *team, int thread) noexcept nogil:
    """The rows, to the thread's own input; or its part of them, to the shared one.

    Sparse rows stay where they are. Returns whether all values that the thread has read are finite.
    """
    cdef bint finite
    cdef char *panels = input_of(native, 0, batch.keys, thread)
    cdef ptrdiff_t in_panels = panels_of(native.layers[0].fan_in, native.lanes)
    cdef ptrdiff_t first = 0, last = batch.rows
    if batch.sparse is not NULL:
        return native.element.sparse_finite(batch.sparse, batch.order, batch.rows)
    if native.input_is_shared:
        first = share_rows(batch.rows, thread, team.n_threads)
        last = share_rows(batch.rows, thread + 1, team.n_threads)
    if native.gathers_strips:
        finite = native.layers[0].strips.gather(
            batch.x, batch.order + first, last - first, batch.rows, batch.n_known - first,
            native.layers[0].fan_in, strips_of(native, 0, thread, first))
    else:
        finite = native.product.gather(
            batch.x, batch.order + first, last - first, batch.rows, batch.n_known - first,
            native.layers[0].fan_in,
            panels + first * native.lanes * native.value_bytes, native.input_stride,
            nonzero_of(native, 0, thread) + first)
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


cdef uint32_t *strips_of(Native *native, int index, int thread, ptrdiff_t first_row) noexcept nogil:
    """The strips of a layer's input, from a row on that begins one; NULL if it is panels."""
    cdef uint32_t *strips = native.layers[index].input_strips
    if index == 0 and native.gathers_strips:
        strips = <uint32_t *>input_of(native, 0, NULL, thread)
    if strips is NULL:
        return NULL
    cdef NativeLayer *layer = &native.layers[index]
    return strips + first_row // LOSS_BLOCK * layer.strips.strip_words(layer.fan_in)


cdef uint16_t *nonzero_of(Native *native, int index, int thread) noexcept nogil:
    """What is known of the zeros in a layer's input: nothing but of the network's inputs."""
    if index > 0:
        return NULL
    return native.nonzero + (
        0 if native.input_is_shared else thread * native.nonzero_bytes // <ptrdiff_t>sizeof(uint16_t))


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
    cdef ptrdiff_t first_row, last_row, first, last, end, offset
    cdef dropout_rule rule
    cdef const uint16_t *nonzero
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
        elif layer.strips is not NULL:
            layer.strips.weighted_sum(
                input_of(native, index, batch.keys, thread) + offset, native.input_stride,
                strips_of(native, index, thread, first_row), layer.w, layer.w_panel, layer.w_step,
                &layer.rounded if layer.reads_strips else NULL, layer.b, layer.z + offset, layer.stride, last_row - first_row,
                layer.fan_in, first, last)
        else:
            nonzero = nonzero_of(native, index, thread)
            native.product.weighted_sum(
                input_of(native, index, batch.keys, thread) + offset, native.input_stride,
                NULL if nonzero is NULL else nonzero + first_row, layer.w, layer.w_panel,
                layer.w_step, layer.b, layer.z + offset, layer.stride, last_row - first_row,
                layer.fan_in, first, last)
        if layer.normalization != NOT_NORMALIZED:
            normalize(native, layer, batch, &first_row, &last_row, &first, &last, team, thread)
        if index == native.n_layers - 1:
            if not native.loss_is_merged:
                activate(native, layer, first_row, last_row, first, last)
            return
        while first < last:
            end = last if layer.activation == SOFTMAX else end_of_pair(first, last)
            activate(native, layer, first_row, last_row, first, end)
            drop(native, index + 1, batch.keys, layer.a, native.layers[index + 1].kept, first_row,
                 last_row, first, end)
            keep_inputs(native, index + 1, batch.keys, thread, first_row, last_row, first, end)
            first = end


cdef ptrdiff_t end_of_pair(ptrdiff_t panel, ptrdiff_t last) noexcept nogil:
    """Up to where to work at once: panels that are near, and have whole lines of strips."""
    return min(last, panel // 2 * 2 + 2)


cdef void keep_inputs(Native *native, int index, const int64_t *keys, int thread, ptrdiff_t first_row,
                      ptrdiff_t last_row, ptrdiff_t first, ptrdiff_t last) noexcept nogil:
    """Some rows and panels of a layer's inputs to its strips, if it has them."""
    cdef uint32_t *strips = strips_of(native, index, thread, first_row)
    if strips is not NULL:
        native.strips.keep_inputs(
            input_of(native, index, keys, thread) + first_row * native.lanes * native.value_bytes,
            native.input_stride, last_row - first_row, native.layers[index].fan_in, first, last, strips)


cdef uint32_t *slope_strips_of(Native *native, int index) noexcept nogil:
    """The strips of a layer's slopes; NULL if there are none, or none are needed."""
    if native.slope_strips is NULL or index == 0:
        return NULL
    return native.slope_strips + index % 2 * native.slope_words


cdef void keep_slopes(Native *native, int index, ptrdiff_t first_row, ptrdiff_t last_row,
                      ptrdiff_t first, ptrdiff_t last) noexcept nogil:
    """Some rows (the first begins a strip) and panels of a layer's slopes to its strips, if any."""
    cdef NativeLayer *layer = &native.layers[index]
    cdef uint32_t *strips = slope_strips_of(native, index)
    if strips is not NULL:
        native.strips.keep_inputs(
            layer.dz + first_row * native.lanes * native.value_bytes, layer.stride,
            last_row - first_row, layer.fan_out, first, last,
            strips + first_row // LOSS_BLOCK * native.strips.strip_words(layer.fan_out))


cdef void activate(Native *native, NativeLayer *layer, ptrdiff_t first_row, ptrdiff_t last_row,
                   ptrdiff_t first, ptrdiff_t last) noexcept nogil:
    """a = f(z) for some rows and panels."""
    cdef ptrdiff_t panel, offset
    cdef ptrdiff_t row_offset = first_row * native.lanes * native.value_bytes
    if layer.activation == SOFTMAX:  # needs all panels of a row
        native.element.softmax(
            layer.activated + row_offset, layer.a + row_offset, layer.stride, last_row - first_row,
            &native.groups)
        return
    for panel in range(first, last):
        offset = panel * layer.stride * native.value_bytes + row_offset
        native.element.activation(
            layer.activation, layer.activated + offset, layer.a + offset,
            (last_row - first_row) * native.lanes)


cdef double loss(Native *native, const wanted_targets *wanted, const int64_t *order, ptrdiff_t rows,
                 bint with_slopes, team *team, int thread) noexcept nogil:
    """The sum of the losses; their slopes go to dz of the last layer, scaled for the mean.

    Ends with a barrier: the slopes of all rows are ready.
    """
    cdef NativeLayer *layer = &native.layers[native.n_layers - 1]
    cdef const char *taken = layer.activated if native.loss_is_merged else layer.a
    cdef double total = total_weight(native, wanted, order, rows)
    cdef double factor = 1.0 / total if total > 0.0 else 0.0
    cdef ptrdiff_t row = share_rows(rows, thread, team.n_threads)
    cdef ptrdiff_t last = share_rows(rows, thread + 1, team.n_threads)
    cdef ptrdiff_t block, offset
    if layer.outputs_are_split or layer.normalization == BATCH:
        team_barrier(team)
    while row < last:
        offset = row * native.lanes * native.value_bytes
        native.block_losses[row // LOSS_BLOCK] = native.element.loss(
            native.loss_formula, taken + offset, layer.stride, min(LOSS_BLOCK, last - row),
            &native.groups, wanted, native.loss_parameters, order + row, factor,
            layer.dz + offset if with_slopes else NULL, NULL)
        row += LOSS_BLOCK
    if with_slopes and slopes_of_loss_are_last(native):
        row = share_rows(rows, thread, team.n_threads)
        keep_slopes(native, native.n_layers - 1, row, last, 0, layer.out_panels)
    team_barrier(team)
    total = 0.0
    for block in range((rows + LOSS_BLOCK - 1) // LOSS_BLOCK):
        total += native.block_losses[block]
    return total


cdef bint slopes_of_loss_are_last(Native *native) noexcept nogil:
    """Whether the loss gives the slopes of what the last layer's weights make."""
    return native.loss_is_merged and (
        native.layers[native.n_layers - 1].normalization == NOT_NORMALIZED)


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
            layer.activation, layer.activated + offset, layer.a + offset, layer.dz + offset,
            layer.dz + offset, rows * native.lanes)


cdef void slopes_of_sums(Native *native, int index, ptrdiff_t rows, ptrdiff_t first, ptrdiff_t last,
                         team *team, int thread) noexcept nogil:
    """dz of a layer, in place of the slopes of what comes out of it, for some panels; and its strips.

    Where it is normalised by rows, other rows of the same panels are ready only after the next barrier.
    """
    cdef NativeLayer *layer = &native.layers[index]
    cdef bint has_activation = index < native.n_layers - 1 or not native.loss_is_merged
    cdef ptrdiff_t end, first_row = 0, last_row = rows
    if layer.normalization == NOT_NORMALIZED:
        while first < last:
            end = end_of_pair(first, last)
            if has_activation:
                activation_slope(native, layer, rows, first, end)
            keep_slopes(native, index, 0, rows, first, end)
            first = end
        return
    if has_activation:
        activation_slope(native, layer, rows, first, last)
    normalization_slope(native, layer, rows, first, last, team, thread)
    if layer.normalization == LAYER:
        first_row = share_rows(rows, thread, team.n_threads)
        last_row = share_rows(rows, thread + 1, team.n_threads)
        first, last = 0, layer.out_panels
    keep_slopes(native, index, first_row, last_row, first, last)


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
    layer = &native.layers[native.n_layers - 1]
    if not slopes_of_loss_are_last(native):
        first = share(layer.out_panels, thread, team.n_threads)
        last = share(layer.out_panels, thread + 1, team.n_threads)
        slopes_of_sums(native, native.n_layers - 1, batch.rows, first, last, team, thread)
        team_barrier(team)
    for index in range(native.n_layers - 1, -1, -1):
        layer = &native.layers[index]
        if index > 0:
            before = &native.layers[index - 1]
            first = share(before.out_panels, thread, team.n_threads)
            last = share(before.out_panels, thread + 1, team.n_threads)
            if layer.strips is not NULL:
                layer.strips.input_gradient(
                    layer.dz, layer.stride, slope_strips_of(native, index),
                    native.parameters + layer.packed_weights, layer.w_stride, &layer.rounded,
                    before.dz, layer.stride, batch.rows, first, last)
            else:
                native.product.input_gradient(
                    layer.dz, layer.stride, native.parameters + layer.packed_weights, layer.w_stride,
                    before.dz, layer.stride, batch.rows, layer.fan_in, layer.fan_out, first, last)
            drop(native, index, batch.keys, before.dz, before.dz, 0, batch.rows, first, last)
            slopes_of_sums(native, index - 1, batch.rows, first, last, team, thread)
            # The others may still read w or need this thread's slopes; not so where each thread
            # goes on with the inputs and slopes that it has just made itself.
            if (index > 1 or layer.outputs_are_split or not before.outputs_are_split
                    or before.normalization == LAYER):
                team_barrier(team)
        gradient_of_layer(native, index, batch, out, update, team, thread)


cdef void gradient_of_layer(Native *native, int index, const Batch *batch, char *out,
                            const update_rule *update, team *team, int thread) noexcept nogil:
    """dw = a_in.T @ dz and db = the sum of dz, for what the thread owns."""
    cdef NativeLayer *layer = &native.layers[index]
    cdef ptrdiff_t first_input = 0, last_input = layer.fan_in, first = 0, last = layer.out_panels
    cdef ptrdiff_t in_panels = panels_of(layer.fan_in, native.lanes), i
    if layer.outputs_are_split:
        first = share(layer.out_panels, thread, team.n_threads)
        last = share(layer.out_panels, thread + 1, team.n_threads)
    else:
        first_input = native.lanes * share(in_panels, thread, team.n_threads)
        last_input = min(layer.fan_in, native.lanes * share(in_panels, thread + 1, team.n_threads))
    if index == 0 and batch.sparse is not NULL:
        sparse_gradient(native, batch, update, first_input, last_input, first, last)
    elif layer.strips is not NULL:
        layer.strips.weight_gradient(
            input_of(native, index, batch.keys, thread), native.input_stride,
            strips_of(native, index, thread, 0), layer.fan_in, layer.dz, layer.stride,
            out + layer.packed_weights, layer.w_stride, update, &layer.rounded, batch.rows, first_input,
            last_input, first, last,
            NULL if native.gradient_room is NULL else
            native.gradient_room + thread * native.gradient_words)
    else:
        native.product.weight_gradient(
            input_of(native, index, batch.keys, thread), native.input_stride,
            nonzero_of(native, index, thread), layer.dz, layer.stride, out + layer.packed_weights,
            layer.w_stride, update, batch.rows, first_input, last_input, first, last)
    if not layer.outputs_are_split and thread != 0:
        return
    if layer.normalization == NOT_NORMALIZED:
        native.product.bias_gradient(
            layer.dz, layer.stride, out + layer.packed_biases, update, batch.rows, first, last)
        return
    for i in range(layer.n_vectors):  # already summed up: one row each
        native.product.bias_gradient(
            layer.vector_gradients + i * layer.vector_bytes, native.lanes,
            out + layer.packed_biases + i * layer.vector_bytes, update, 1, first, last)


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
    cdef ptrdiff_t panel, n_panels = 0, weights, biases, n, i
    cdef double total = 0.0, factor = 1.0, squares
    cdef update_rule of_matrix = update[0]
    of_matrix.step = native.matrix_step
    of_matrix.coefficients = (
        <const char *>update.coefficients + native.matrix_coefficients * native.value_bytes)
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
                for i in range(layer.n_vectors):
                    native.element.adjust(
                        native.parameters + biases + i * layer.vector_bytes,
                        native.gradient + biases + i * layer.vector_bytes, update.bias_adjustments,
                        native.lanes)
            if native.clip_norm < INFINITY:
                squares = native.element.sum_of_squares(native.gradient + weights, n)
                for i in range(layer.n_vectors):
                    squares += native.element.sum_of_squares(
                        native.gradient + biases + i * layer.vector_bytes, native.lanes)
                native.panel_squares[n_panels + panel] = squares
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
        if layer.direction_scale > 0.0:
            find_direction(native, layer, update, factor, team, thread)
        for panel in range(share(layer.out_panels, thread, team.n_threads),
                           share(layer.out_panels, thread + 1, team.n_threads)):
            weights = layer.packed_weights + panel * layer.w_stride * native.value_bytes
            biases = layer.packed_biases + panel * native.lanes * native.value_bytes
            if layer.direction_scale > 0.0:
                step_scaled(native, &of_matrix, weights, layer.direction_scale, n)
            else:
                step_scaled(native, update, weights, factor, n)
            for i in range(layer.n_vectors):
                step_scaled(native, update, biases + i * layer.vector_bytes, factor, native.lanes)
            if native.max_norm < INFINITY:
                native.element.limit_norm(native.parameters + weights, layer.fan_in, native.max_norm)
            keep_weights(native, layer, panel, panel + 1)
    team_barrier(team)


cdef void find_direction(Native *native, NativeLayer *layer, const update_rule *update, double factor,
                         team *team, int thread) noexcept nogil:
    """The orthogonal direction of w in the place of its gradient, which `factor` multiplies first."""
    cdef ptrdiff_t panel, offset, weights, n = layer.fan_in * native.lanes
    cdef const char *coefficients = (
        <const char *>update.coefficients + native.direction_coefficients * native.value_bytes)
    for panel in range(share(layer.out_panels, thread, team.n_threads),
                       share(layer.out_panels, thread + 1, team.n_threads)):
        offset = panel * layer.w_stride * native.value_bytes
        weights = layer.packed_weights + offset
        if factor != 1.0:
            native.element.scale(native.gradient + weights, factor, n)
        native.direction(
            native.orthogonal.start + offset, native.gradient + weights,
            native.parameters + weights + update.state_offset, update.state_stride, coefficients, n)
    orthogonalize(&native.orthogonal, layer.w_stride, layer.fan_in, layer.fan_out,
                  native.gradient + layer.packed_weights, team, thread)


cdef void step_scaled(Native *native, const update_rule *update, ptrdiff_t offset, double factor,
                      ptrdiff_t n) noexcept nogil:
    """The optimizer's step of n packed parameters, with their gradient times `factor`."""
    cdef char *w = native.parameters + offset
    if factor != 1.0:
        native.element.scale(native.gradient + offset, factor, n)
    update.step(w, native.gradient + offset, w + update.state_offset, update.state_stride,
                update.coefficients, n)
