# Prediction in int8 (see quantized.py): blocks of rows go through all layers, each thread its own.

cdef enum:
    # Rows of a block: of whole tiles, and few enough for a group of panels to stay in the first-level
    # cache until its activation is quantized again.
    INT8_ROWS = 96
    INT8_PANELS = 8  # so many panels of outputs are taken together; a single row takes them at once


cdef struct NativeInt8Layer:
    # w as panels of groups (fan_in / group, fan_out); what each sum starts from, factors and biases are
    # of whole panels. The steps are those of its inputs.
    ptrdiff_t groups
    ptrdiff_t fan_out
    ptrdiff_t out_panels
    int activation
    const char *w
    ptrdiff_t w_stride
    const char *start
    const float *factors
    const float *biases
    float steps_per_unit
    float zero_point


cdef struct Int8Prediction:
    const kernels *table
    NativeInt8Layer *layers
    int n_layers
    ptrdiff_t n_inputs
    const source *x
    ptrdiff_t n_rows
    char *outputs
    # A thread's workspace: inputs and outputs of a hidden layer in turn, sums, and float32: of one
    # panel of a hidden layer, or all of the last.
    char *workspace
    ptrdiff_t workspace_bytes
    ptrdiff_t input_bytes
    ptrdiff_t stride  # of panels, in values
    bint *finite


cdef void predict_int8(void *context, team *team, int thread) noexcept nogil:
    """Outputs of one block of rows after the other."""
    cdef Int8Prediction *call = <Int8Prediction *>context
    cdef const int8_kernels *int8 = &call.table.int8
    cdef const element_kernels *element = &call.table.element
    cdef ptrdiff_t lanes = call.table.lanes, n_blocks = (call.n_rows + INT8_ROWS - 1) // INT8_ROWS
    cdef ptrdiff_t block, first, rows, part, panel, n_panels, i, output
    cdef char *a = call.workspace + thread * call.workspace_bytes
    cdef char *a_next = a + call.input_bytes
    cdef char *sums = a_next + call.input_bytes
    cdef char *z = sums + INT8_PANELS * call.stride * 4
    cdef char *at
    cdef NativeInt8Layer *layer
    cdef int index
    cdef bint is_last, finite = True
    cdef int64_t n_outputs = call.layers[call.n_layers - 1].fan_out
    cdef output_groups outputs = output_groups(count=1, ends=&n_outputs)
    while True:  # as in predict_rows
        block = team_take(team)
        if block >= n_blocks:
            break
        first = block * INT8_ROWS
        rows = min(<ptrdiff_t>INT8_ROWS, call.n_rows - first)
        finite &= int8.quantize_rows(
            call.x, first, rows, call.n_inputs, call.layers[0].steps_per_unit,
            call.layers[0].zero_point, a, call.stride)
        for index in range(call.n_layers):
            layer = &call.layers[index]
            is_last = index == call.n_layers - 1
            for part in range((layer.out_panels + INT8_PANELS - 1) // INT8_PANELS):
                panel = part * INT8_PANELS
                n_panels = min(<ptrdiff_t>INT8_PANELS, layer.out_panels - panel)
                int8.weighted_sum(
                    a, call.stride, NULL, layer.w + panel * layer.w_stride * 4, layer.w_stride, lanes,
                    layer.start + panel * lanes * 4, sums, call.stride, rows, layer.groups, 0,
                    n_panels)
                for i in range(n_panels):
                    output = (panel + i) * lanes
                    at = z + ((panel + i) * call.stride * 4 if is_last else 0)
                    int8.dequantize(
                        sums + i * call.stride * 4, rows, layer.factors + output,
                        layer.biases + output, at)
                    if layer.activation != SOFTMAX:
                        element.activation(layer.activation, at, at, rows * lanes)
                    if not is_last:
                        int8.requantize(
                            at, rows, panel + i, call.layers[index + 1].steps_per_unit,
                            call.layers[index + 1].zero_point, a_next, call.stride)
            a, a_next = a_next, a
        if layer.activation == SOFTMAX:
            element.softmax(z, z, call.stride, rows, &outputs)
        call.table.product.from_panels(
            z, call.stride, rows, layer.fan_out, call.outputs + first * layer.fan_out * 4)
    call.finite[thread] = finite


cdef class Int8Engine:
    """Layers (`quantized.Int8Layer`) laid out for the kernels, and the one call on them."""

    cdef Int8Prediction prediction
    cdef Memory layer_memory, parameter_memory, workspaces
    cdef int n_threads, n_workspaces
    cdef ptrdiff_t n_multiplications

    def __cinit__(self, layers, int n_threads):
        import numpy

        cdef Int8Prediction *call = &self.prediction
        cdef NativeInt8Layer *layer
        cdef ptrdiff_t lanes, group, widest = 0, n_bytes = 0
        cdef char *at
        call.table = kernels_for("float32")
        lanes, group = call.table.lanes, call.table.int8.group
        self.n_threads = min(n_threads, MAX_PREDICTING)
        call.n_layers, call.n_inputs = len(layers), layers[0].weights.shape[0]
        self.layer_memory = Memory(call.n_layers * sizeof(NativeInt8Layer))
        call.layers = <NativeInt8Layer *>self.layer_memory.start
        call.stride = INT8_ROWS * lanes + lanes  # not a multiple of 4096 bytes
        for index, given in enumerate(layers):
            layer = &call.layers[index]
            fan_in, layer.fan_out = given.weights.shape
            layer.groups = (fan_in + group - 1) // group
            layer.out_panels = (layer.fan_out + lanes - 1) // lanes
            layer.w_stride = (layer.groups + (layer.groups * lanes * 4 % 4096 == 0)) * lanes
            layer.activation = (
                SOFTMAX if given.activation == "softmax"
                else formula_number(ACTIVATION_NAMES, given.activation))
            layer.steps_per_unit, layer.zero_point = given.steps_per_unit, given.zero_point
            n_bytes += layer.out_panels * (layer.w_stride + 3 * lanes) * 4
            # What a layer takes, which for a hidden one is as wide as whole panels of the last.
            widest = max(widest, (layer.groups + lanes - 1) // lanes)
            if index < call.n_layers - 1:
                widest = max(widest, (layer.out_panels + group - 1) // group)
        self.parameter_memory = Memory(n_bytes)
        at = self.parameter_memory.start
        for index, given in enumerate(layers):
            layer = &call.layers[index]
            fan_in = given.weights.shape[0]
            grouped = numpy.zeros(
                (layer.groups * group, layer.fan_out), numpy.int8 if group == 4 else numpy.int16)
            grouped[:fan_in] = given.weights
            # (groups, group, fan_out) to words (groups, fan_out), whose parts lie in order.
            words = numpy.ascontiguousarray(
                grouped.reshape(layer.groups, group, layer.fan_out).transpose(0, 2, 1))
            layer.w = at
            call.table.product.to_panels(
                address(words), layer.groups, layer.fan_out, at, layer.w_stride)
            at += layer.out_panels * layer.w_stride * 4
            # NumPy's arrays live until the copy is made.
            start, factors, biases = given.start, given.factors, given.biases
            layer.start = at
            for row in (start, factors, biases):
                call.table.product.to_panels(address(row), 1, layer.fan_out, at, lanes)
                at += layer.out_panels * lanes * 4
            layer.factors = <const float *>layer.start + layer.out_panels * lanes
            layer.biases = layer.factors + layer.out_panels * lanes
        self.n_multiplications = sum(given.weights.size for given in layers)
        call.input_bytes = widest * call.stride * 4
        call.workspace_bytes = 2 * call.input_bytes + call.stride * 4 * (
            INT8_PANELS + call.layers[call.n_layers - 1].out_panels)

    def predict(self, x, out):
        """Write the outputs for all rows of `x` to `out`; return whether the rows are finite."""
        cdef Int8Prediction call = self.prediction
        cdef source rows = source_of(x)
        cdef bint[MAX_PREDICTING] finite
        cdef ptrdiff_t n_blocks, i
        call.n_rows = len(x)
        n_blocks = (call.n_rows + INT8_ROWS - 1) // INT8_ROWS
        cdef int n_threads = min(
            n_blocks, self.n_threads,
            1 + call.n_rows * self.n_multiplications // (2 * VALUES_PER_MEETING * WAKE_UP))
        if self.n_workspaces < n_threads:
            self.workspaces = Memory(n_threads * call.workspace_bytes)
            self.n_workspaces = n_threads
        call.workspace = self.workspaces.start if n_threads > 0 else NULL
        call.x, call.outputs, call.finite = &rows, address(out), finite
        for i in range(n_threads):
            finite[i] = True  # fewer threads may run than are wanted
        with nogil:
            team_share(n_threads, predict_int8, &call)
        for i in range(1, n_threads):
            finite[0] &= finite[i]
        return n_threads == 0 or bool(finite[0])
