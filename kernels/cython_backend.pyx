"""The `cython` backend: the flow of a batch here, without the GIL; the kernels in C (native/).

The C kernels are compiled once per instruction set and chosen at import (native/isa_table.h);
FASTMLP_MAX_ISA caps the choice. Matrices are kept as panels (native/kernels.h): the engine holds the
parameters in that form during a call and writes the flat vector before it returns.
"""

from __future__ import annotations

import array
import os

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.math cimport isfinite
from libc.stdint cimport int32_t, int64_t, uint8_t, uintptr_t

from .contract import Backend, Engine, Gradients
from . import formulas


cdef extern from "kernels.h":
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

    struct targets:
        const int32_t *labels
        const void *values
        const void *weights

    struct product_kernels:
        void (*gather)(const source *x, const int64_t *order, ptrdiff_t n_rows,
                       ptrdiff_t n_columns, void *panels, ptrdiff_t stride) noexcept nogil
        void (*to_panels)(const void *matrix, ptrdiff_t rows, ptrdiff_t columns, void *panels,
                          ptrdiff_t stride) noexcept nogil
        void (*from_panels)(const void *panels, ptrdiff_t stride, ptrdiff_t rows,
                            ptrdiff_t columns, void *matrix) noexcept nogil
        void (*weighted_sum)(const void *a, ptrdiff_t a_stride, const void *w, ptrdiff_t w_stride,
                             const void *b, void *z, ptrdiff_t z_stride, ptrdiff_t rows,
                             ptrdiff_t fan_in, ptrdiff_t first, ptrdiff_t last) noexcept nogil
        void (*weight_gradient)(const void *a, ptrdiff_t a_stride, const void *dz,
                                ptrdiff_t dz_stride, void *dw, ptrdiff_t dw_stride, ptrdiff_t rows,
                                ptrdiff_t fan_in, ptrdiff_t first, ptrdiff_t last) noexcept nogil
        void (*bias_gradient)(const void *dz, ptrdiff_t dz_stride, void *db, ptrdiff_t rows,
                              ptrdiff_t first, ptrdiff_t last) noexcept nogil
        void (*transpose)(const void *w, ptrdiff_t w_stride, void *w_transposed,
                          ptrdiff_t transposed_stride, ptrdiff_t fan_in,
                          ptrdiff_t fan_out) noexcept nogil

    struct element_kernels:
        void (*activation)(int formula, const void *z, void *a, ptrdiff_t n) noexcept nogil
        void (*activation_derivative)(int formula, const void *z, const void *a, void *slope,
                                      ptrdiff_t n) noexcept nogil
        void (*activation_slope)(int formula, const void *z, const void *a, const void *da, void *dz,
                                 ptrdiff_t n) noexcept nogil
        void (*softmax)(const void *z, void *p, ptrdiff_t stride, ptrdiff_t rows,
                        ptrdiff_t columns) noexcept nogil
        double (*loss)(int formula, const void *taken, ptrdiff_t stride, ptrdiff_t rows,
                       ptrdiff_t columns, const targets *targets, const int64_t *order,
                       double factor, void *slopes) noexcept nogil
        void (*update)(int formula, void *w, const void *g, void *state, ptrdiff_t state_stride,
                       const double *coefficients, ptrdiff_t n) noexcept nogil

    struct kernels:
        const char *isa
        int lanes
        int value_bytes
        product_kernels product
        element_kernels element

    const kernels *fastmlp_kernels(const char *cap, int use_double)
    const char *fastmlp_isa_name(int i)
    int fastmlp_isa_runs(int i)
    const char *fastmlp_activation_name(int i)
    const char *fastmlp_loss_name(int i)
    const char *fastmlp_optimizer_name(int i)


cdef enum:
    ALIGNMENT = 64
    SOFTMAX = -1  # the one output activation that is not element-wise
    PREDICTION_ROWS = 128


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


cdef const kernels *kernels_for(str precision) except NULL:
    """Return the table for a precision, capped by FASTMLP_MAX_ISA."""
    cap = os.environ.get("FASTMLP_MAX_ISA", "").strip().lower()
    cdef bytes name = cap.encode()
    cdef const kernels *table = fastmlp_kernels(<const char *>name if cap else NULL,
                                                precision == "float64")
    if table is NULL:
        raise ValueError(
            f"the environment variable FASTMLP_MAX_ISA must be one of {', '.join(ISA_NAMES)}; "
            f"got {cap!r}"
        )
    return table


cdef int formula_number(list names, str name) except -2:
    if name not in names:
        raise ValueError(
            f"the extension was built without the formula {name!r}; reinstall fastmlp to build it "
            "from the present formulas.py, or use another backend"
        )
    return names.index(name)


cdef class Memory:
    """Zeroed memory that starts on a cache line, and frees itself."""

    cdef void *allocated
    cdef char *start

    def __cinit__(self, size_t n_bytes):
        self.allocated = PyMem_Calloc(n_bytes + ALIGNMENT, 1)
        if self.allocated is NULL:
            raise MemoryError(f"fastmlp could not allocate {n_bytes:,} bytes")
        self.start = <char *>((<uintptr_t>self.allocated + ALIGNMENT - 1) & ~<uintptr_t>(ALIGNMENT - 1))

    def __dealloc__(self):
        PyMem_Free(self.allocated)


cdef struct NativeLayer:
    ptrdiff_t fan_in
    ptrdiff_t fan_out
    ptrdiff_t out_panels
    int activation
    bint derivative_in_z
    # Where its parameters lie in the flat vector, in values.
    ptrdiff_t flat_weights
    ptrdiff_t flat_biases
    # Parameters as panels: w (fan_in rows), b (one row), and the gradient likewise.
    ptrdiff_t w_stride
    ptrdiff_t packed_weights  # where they lie in the packed vectors, in bytes
    ptrdiff_t packed_biases
    ptrdiff_t transposed_stride
    char *w_transposed
    # The batch, as panels: (rows, fan_out) each; they may share memory (see `bind_rows`).
    ptrdiff_t stride
    char *z
    char *a
    char *dz


cdef class NativeEngine:
    """A plan's buffers and the steps of a batch."""

    cdef const kernels *table
    cdef const product_kernels *product
    cdef const element_kernels *element
    cdef ptrdiff_t bytes_per_value, lanes
    cdef NativeLayer *layers
    cdef int n_layers
    cdef Memory layer_memory, parameter_memory, row_memory
    cdef int loss_formula, optimizer_formula
    cdef bint loss_is_merged, targets_are_labels
    cdef double input_scale
    cdef ptrdiff_t batch_size, n_states, n_coefficients, n_outputs
    # The packed vectors: parameters, gradient, states; `packed_bytes` each.
    cdef ptrdiff_t packed_bytes
    cdef char *parameters
    cdef char *gradient
    cdef char *state
    # The batch.
    cdef ptrdiff_t rows_capacity
    cdef bint keeps_everything
    cdef char *input
    cdef ptrdiff_t input_stride
    cdef const char *flat_parameters
    cdef const char *flat_state
    cdef ptrdiff_t n_parameters

    def __cinit__(self, plan):
        self.table = kernels_for(plan.precision)
        self.product = &self.table.product
        self.element = &self.table.element
        self.bytes_per_value = self.table.value_bytes
        self.lanes = self.table.lanes
        self.n_layers = len(plan.layers)
        self.layer_memory = Memory(self.n_layers * sizeof(NativeLayer))
        self.layers = <NativeLayer *>self.layer_memory.start
        self.loss_formula = formula_number(LOSS_NAMES, plan.loss)
        self.optimizer_formula = formula_number(OPTIMIZER_NAMES, plan.optimizer)
        self.loss_is_merged = plan.loss_is_merged
        self.targets_are_labels = plan.targets_are_labels
        self.input_scale = plan.input_scale
        self.batch_size = plan.batch_size
        self.n_states = plan.n_states
        self.n_coefficients = plan.n_coefficients
        self.n_outputs = plan.n_outputs
        self.n_parameters = plan.n_parameters
        self.lay_out_parameters(plan)

    cdef ptrdiff_t panels(self, ptrdiff_t columns) noexcept nogil:
        return (columns + self.lanes - 1) // self.lanes

    cdef ptrdiff_t stride_for(self, ptrdiff_t rows) noexcept nogil:
        """How far apart panels of so many rows lie: never a multiple of 4096 bytes, which would
        put the same row of every panel in the same cache set."""
        cdef ptrdiff_t stride = rows * self.lanes
        if stride * self.bytes_per_value % 4096 == 0:
            stride += self.lanes
        return stride

    cdef lay_out_parameters(self, plan):
        cdef ptrdiff_t offset = 0, transposed_bytes = 0
        cdef NativeLayer *layer
        for index, described in enumerate(plan.layers):
            layer = &self.layers[index]
            layer.fan_in, layer.fan_out = described.fan_in, described.fan_out
            layer.out_panels = self.panels(layer.fan_out)
            if described.activation == "softmax":
                layer.activation = SOFTMAX
                layer.derivative_in_z = False
            else:
                layer.activation = formula_number(ACTIVATION_NAMES, described.activation)
                formula = formulas.ACTIVATIONS[described.activation]
                layer.derivative_in_z = formula.derivative_input == "z"
            layer.flat_weights = described.weights.start
            layer.flat_biases = described.biases.start
            layer.w_stride = self.stride_for(layer.fan_in)
            layer.packed_weights = offset
            offset += layer.out_panels * layer.w_stride * self.bytes_per_value
            layer.packed_biases = offset
            offset += layer.out_panels * self.lanes * self.bytes_per_value
            if index > 0:  # the input gradient of the first layer is not needed
                layer.transposed_stride = self.stride_for(layer.fan_out)
                transposed_bytes += (
                    self.panels(layer.fan_in) * layer.transposed_stride * self.bytes_per_value
                )
        self.packed_bytes = offset
        self.parameter_memory = Memory((2 + self.n_states) * offset + transposed_bytes)
        self.parameters = self.parameter_memory.start
        self.gradient = self.parameters + offset
        self.state = self.gradient + offset
        cdef char *transposed = self.state + self.n_states * offset
        for index in range(1, self.n_layers):
            layer = &self.layers[index]
            layer.w_transposed = transposed
            transposed += self.panels(layer.fan_in) * layer.transposed_stride * self.bytes_per_value

    cdef bind_rows(self, ptrdiff_t rows, bint keep_everything):
        """Make room for a batch of so many rows.

        An activation takes the place of its weighted sum if the derivative can do without it,
        unless everything is to be kept for the caller.
        """
        if rows <= self.rows_capacity and keep_everything == self.keeps_everything:
            return
        cdef ptrdiff_t stride = self.stride_for(rows), n_bytes, total
        cdef ptrdiff_t panel_bytes = stride * self.bytes_per_value
        cdef NativeLayer *layer
        cdef int index
        total = self.panels(self.layers[0].fan_in) * panel_bytes
        for index in range(self.n_layers):
            total += 3 * self.layers[index].out_panels * panel_bytes
        self.rows_capacity = 0  # stays so if there is no memory
        self.row_memory = None
        self.row_memory = Memory(total)
        cdef char *at = self.row_memory.start
        self.input, self.input_stride = at, stride
        at += self.panels(self.layers[0].fan_in) * panel_bytes
        for index in range(self.n_layers):
            layer = &self.layers[index]
            n_bytes = layer.out_panels * panel_bytes
            layer.stride = stride
            layer.z, layer.a, layer.dz = at, at, at + n_bytes
            at += 2 * n_bytes
            if keep_everything or layer.derivative_in_z or layer.activation == SOFTMAX:
                layer.a = at
                at += n_bytes
        self.rows_capacity = rows
        self.keeps_everything = keep_everything

    # ----------------------------------------------------------------- flat vectors and panels

    cdef void load(self, const char *flat, char *packed) noexcept nogil:
        """Pack one flat vector (parameters or a state)."""
        cdef int index
        cdef NativeLayer *layer
        for index in range(self.n_layers):
            layer = &self.layers[index]
            self.product.to_panels(
                flat + layer.flat_weights * self.bytes_per_value, layer.fan_in, layer.fan_out,
                packed + layer.packed_weights, layer.w_stride)
            self.product.to_panels(
                flat + layer.flat_biases * self.bytes_per_value, 1, layer.fan_out,
                packed + layer.packed_biases, self.lanes)

    cdef void store(self, const char *packed, char *flat) noexcept nogil:
        """Unpack one packed vector."""
        cdef int index
        cdef NativeLayer *layer
        for index in range(self.n_layers):
            layer = &self.layers[index]
            self.product.from_panels(
                packed + layer.packed_weights, layer.w_stride, layer.fan_in, layer.fan_out,
                flat + layer.flat_weights * self.bytes_per_value)
            self.product.from_panels(
                packed + layer.packed_biases, self.lanes, 1, layer.fan_out,
                flat + layer.flat_biases * self.bytes_per_value)

    # ------------------------------------------------------------------ the steps of a batch

    cdef void forward(self, const source *x, const int64_t *order, ptrdiff_t rows) noexcept nogil:
        """Gather the rows; per layer the weighted sum and the activation, up to what the loss takes."""
        cdef int index
        cdef NativeLayer *layer
        cdef const char *a_in = self.input
        cdef ptrdiff_t a_stride = self.input_stride
        self.product.gather(x, order, rows, self.layers[0].fan_in, self.input, self.input_stride)
        for index in range(self.n_layers):
            layer = &self.layers[index]
            self.product.weighted_sum(
                a_in, a_stride, self.parameters + layer.packed_weights, layer.w_stride,
                self.parameters + layer.packed_biases, layer.z, layer.stride, rows,
                layer.fan_in, 0, layer.out_panels)
            if index < self.n_layers - 1 or not self.loss_is_merged:
                self.activate(layer, rows)
            a_in, a_stride = layer.a, layer.stride

    cdef void activate(self, NativeLayer *layer, ptrdiff_t rows) noexcept nogil:
        """a = f(z)."""
        cdef ptrdiff_t panel, offset
        if layer.activation == SOFTMAX:
            self.element.softmax(layer.z, layer.a, layer.stride, rows, layer.fan_out)
            return
        for panel in range(layer.out_panels):
            offset = panel * layer.stride * self.bytes_per_value
            self.element.activation(
                layer.activation, layer.z + offset, layer.a + offset, rows * self.lanes)

    cdef double loss(self, const targets *wanted, const int64_t *order, ptrdiff_t rows,
                     bint with_slopes) noexcept nogil:
        """The sum of the losses; the slopes go to dz of the last layer, scaled for the mean."""
        cdef NativeLayer *layer = &self.layers[self.n_layers - 1]
        cdef double total = self.total_weight(wanted, order, rows)
        cdef double factor = 1.0 / total if total > 0.0 else 0.0
        return self.element.loss(
            self.loss_formula, layer.z if self.loss_is_merged else layer.a, layer.stride, rows,
            layer.fan_out, wanted, order, factor, layer.dz if with_slopes else NULL)

    cdef double total_weight(self, const targets *wanted, const int64_t *order,
                             ptrdiff_t rows) noexcept nogil:
        cdef double total = 0.0
        cdef ptrdiff_t i
        if wanted.weights is NULL:
            return rows
        for i in range(rows):
            if self.bytes_per_value == 4:
                total += (<const float *>wanted.weights)[order[i]]
            else:
                total += (<const double *>wanted.weights)[order[i]]
        return total

    cdef void backward(self, ptrdiff_t rows) noexcept nogil:
        """From the loss's slopes: per layer dw and db, then dz of the layer before."""
        cdef int index
        cdef NativeLayer *layer
        cdef NativeLayer *before
        cdef const char *a_in
        cdef ptrdiff_t a_stride
        if not self.loss_is_merged:
            self.activation_slope(&self.layers[self.n_layers - 1], rows)
        for index in range(self.n_layers - 1, -1, -1):
            layer = &self.layers[index]
            before = &self.layers[index - 1] if index > 0 else NULL
            a_in = self.input if index == 0 else before.a
            a_stride = self.input_stride if index == 0 else before.stride
            self.product.weight_gradient(
                a_in, a_stride, layer.dz, layer.stride, self.gradient + layer.packed_weights,
                layer.w_stride, rows, layer.fan_in, 0, layer.out_panels)
            self.product.bias_gradient(
                layer.dz, layer.stride, self.gradient + layer.packed_biases, rows, 0,
                layer.out_panels)
            if index > 0:
                # da of the layer before = dz @ w.T, a weighted sum of slopes
                self.product.transpose(
                    self.parameters + layer.packed_weights, layer.w_stride, layer.w_transposed,
                    layer.transposed_stride, layer.fan_in, layer.fan_out)
                self.product.weighted_sum(
                    layer.dz, layer.stride, layer.w_transposed, layer.transposed_stride, NULL,
                    before.dz, before.stride, rows, layer.fan_out, 0, before.out_panels)
                self.activation_slope(before, rows)

    cdef void activation_slope(self, NativeLayer *layer, ptrdiff_t rows) noexcept nogil:
        """dz = da * f'(z), in place."""
        cdef ptrdiff_t panel, offset
        for panel in range(layer.out_panels):
            offset = panel * layer.stride * self.bytes_per_value
            self.element.activation_slope(
                layer.activation, layer.z + offset, layer.a + offset, layer.dz + offset,
                layer.dz + offset, rows * self.lanes)

    cdef void update(self, const double *coefficients) noexcept nogil:
        """One optimizer step of all parameters; padding has gradient 0 and stays 0."""
        self.element.update(
            self.optimizer_formula, self.parameters, self.gradient, self.state,
            self.packed_bytes // self.bytes_per_value, coefficients,
            self.packed_bytes // self.bytes_per_value)

    # ------------------------------------------------------------------ what the engine offers

    cdef ptrdiff_t train_batches(
        self, const source *x, const targets *wanted, const int64_t *order, ptrdiff_t n_rows,
        const double *coefficients, double *losses,
    ) noexcept nogil:
        """Train on the rows in order; return how many batches have a loss."""
        cdef ptrdiff_t start = 0, rows, done = 0
        while start < n_rows:
            rows = min(self.batch_size, n_rows - start)
            self.forward(x, order + start, rows)
            losses[done] = self.loss(wanted, order + start, rows, True)
            if not isfinite(losses[done]):
                return done + 1
            self.backward(rows)
            self.update(coefficients + done * self.n_coefficients)
            start += rows
            done += 1
        return done

    def train(self, x, wanted, sample_weight, const int64_t[::1] order,
              const double[:, ::1] coefficients, flat_parameters, flat_state):
        cdef source rows = source_of(x, self.input_scale)
        cdef targets goals = self.targets_of(wanted, sample_weight)
        losses = array.array("d", bytes(8 * coefficients.shape[0]))
        cdef double[::1] losses_view = losses
        cdef char *parameters = address(flat_parameters)
        cdef ptrdiff_t flat_bytes = self.n_parameters * self.bytes_per_value
        cdef ptrdiff_t n_rows = order.shape[0], done, i
        cdef char *state = address(flat_state) if self.n_states else NULL
        if n_rows == 0:
            return losses
        self.bind_rows(min(self.batch_size, n_rows), False)
        with nogil:
            self.load(parameters, self.parameters)
            for i in range(self.n_states):
                self.load(state + i * flat_bytes, self.state + i * self.packed_bytes)
            done = self.train_batches(&rows, &goals, &order[0], n_rows, &coefficients[0, 0],
                                      &losses_view[0])
            self.store(self.parameters, parameters)
            for i in range(self.n_states):
                self.store(self.state + i * self.packed_bytes, state + i * flat_bytes)
        return losses[:done]

    def predict(self, x, wanted, sample_weight, flat_parameters, out):
        """Write the outputs of all rows to `out`; return the sum of the losses if `wanted`."""
        cdef source rows = source_of(x, self.input_scale)
        cdef bint with_loss = wanted is not None
        cdef targets goals
        cdef const char *parameters = address(flat_parameters)
        cdef char *outputs = address(out)
        cdef ptrdiff_t n_rows = len(x), start = 0, count, i
        cdef NativeLayer *last = &self.layers[self.n_layers - 1]
        cdef int64_t[PREDICTION_ROWS] order
        cdef double total = 0.0
        if with_loss:
            goals = self.targets_of(wanted, sample_weight)
        self.bind_rows(max(self.rows_capacity, min(n_rows, PREDICTION_ROWS)), False)
        with nogil:
            self.load(parameters, self.parameters)
            while start < n_rows:
                count = min(<ptrdiff_t>PREDICTION_ROWS, n_rows - start)
                for i in range(count):
                    order[i] = start + i
                self.forward(&rows, order, count)
                if with_loss:
                    total += self.loss(&goals, order, count, False)
                if self.loss_is_merged:
                    self.activate(last, count)
                self.product.from_panels(
                    last.a, last.stride, count, self.n_outputs,
                    outputs + start * self.n_outputs * self.bytes_per_value)
                start += count
        return total

    def gradients(self, x, wanted, sample_weight, flat_parameters, flat_gradient, kept):
        """Write dL/d(parameters), and per layer (z, a, dz) of `kept`; return the mean loss."""
        cdef source rows = source_of(x, self.input_scale)
        cdef targets goals = self.targets_of(wanted, sample_weight)
        cdef const char *parameters = address(flat_parameters)
        cdef char *gradient = address(flat_gradient)
        order = array.array("q", range(len(x)))
        cdef const int64_t[::1] order_view = order
        cdef ptrdiff_t n_rows = len(x)
        cdef double total
        cdef NativeLayer *layer
        self.bind_rows(n_rows, True)
        with nogil:
            self.load(parameters, self.parameters)
            self.forward(&rows, &order_view[0], n_rows)
            total = self.loss(&goals, &order_view[0], n_rows, True)
            self.backward(n_rows)
            if self.loss_is_merged:
                self.activate(&self.layers[self.n_layers - 1], n_rows)
            self.store(self.gradient, gradient)
        for index, (z, a, dz) in enumerate(kept):
            layer = &self.layers[index]
            for out, panels in ((z, <uintptr_t>layer.z), (a, <uintptr_t>layer.a),
                                (dz, <uintptr_t>layer.dz)):
                self.product.from_panels(
                    <const char *><uintptr_t>panels, layer.stride, n_rows, layer.fan_out,
                    address(out))
        self.row_memory = None  # as large as all rows: not worth keeping
        self.rows_capacity = 0
        weight = self.total_weight(&goals, &order_view[0], n_rows)
        return total / weight if weight > 0.0 else 0.0

    cdef targets targets_of(self, wanted, sample_weight) except *:
        cdef targets goals
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


cdef char *address(array) except NULL:
    """Where an array's data begins. The caller keeps the array alive and knows its layout."""
    return <char *><uintptr_t>array.ctypes.data


cdef source source_of(x, double scale) except *:
    cdef source rows
    rows.data = address(x)
    rows.row_stride, rows.column_stride = x.strides
    rows.type = {"uint8": ELEMENT_UINT8, "float32": ELEMENT_FLOAT32,
                 "float64": ELEMENT_FLOAT64}[x.dtype.name]
    rows.scale = scale
    return rows


class CythonEngine(Engine):
    """Hands the arrays of the contract to the native engine."""

    def __init__(self, plan, parameters, state):
        super().__init__(plan, parameters, state)
        self.native = NativeEngine(plan)

    def train(self, x, targets, sample_weight, order, coefficients):
        return self.native.train(
            x, targets, sample_weight, order, coefficients, self.parameters, self.state)

    def gradients(self, x, targets, sample_weight):
        import numpy

        plan = self.plan
        flat = numpy.empty_like(self.parameters)
        kept = [
            tuple(numpy.empty((len(x), layer.fan_out), plan.precision) for _ in range(3))
            for layer in plan.layers
        ]
        loss = self.native.gradients(x, targets, sample_weight, self.parameters, flat, kept)
        shapes = [(layer.fan_in, layer.fan_out) for layer in plan.layers]
        dw = [flat[layer.weights].reshape(s) for layer, s in zip(plan.layers, shapes, strict=True)]
        db = [flat[layer.biases] for layer in plan.layers]
        z, a, dz = (list(each) for each in zip(*kept, strict=True))
        return Gradients(loss, dw, db, z, a, dz)

    def predict(self, x, out):
        self.native.predict(x, None, None, self.parameters, out)

    def evaluate(self, x, targets, sample_weight, out):
        return self.native.predict(x, targets, sample_weight, self.parameters, out)


class CythonBackend(Backend):
    """The registry's entry."""

    name = "cython"

    @property
    def isa(self):
        return kernels_for("float32").isa.decode()

    def usable_threads(self, n_threads):
        return 1

    def compile(self, plan, parameters, state):
        return CythonEngine(plan, parameters, state)

    def matmul(self, a, b):
        import numpy

        cdef const kernels *table = kernels_for(a.dtype.name)
        cdef ptrdiff_t rows = a.shape[0], inner = a.shape[1], columns = b.shape[1]
        cdef ptrdiff_t lanes = table.lanes, size = table.value_bytes
        cdef ptrdiff_t inner_panels = (inner + lanes - 1) // lanes
        cdef ptrdiff_t out_panels = (columns + lanes - 1) // lanes
        a, b = numpy.ascontiguousarray(a), numpy.ascontiguousarray(b)
        out = numpy.zeros((rows, columns), a.dtype)
        if out.size == 0 or inner == 0:
            return out
        cdef Memory a_panels = Memory(inner_panels * rows * lanes * size)
        cdef Memory b_panels = Memory(out_panels * inner * lanes * size)
        cdef Memory c_panels = Memory(out_panels * rows * lanes * size)
        table.product.to_panels(address(a), rows, inner, a_panels.start, rows * lanes)
        table.product.to_panels(address(b), inner, columns, b_panels.start, inner * lanes)
        table.product.weighted_sum(
            a_panels.start, rows * lanes, b_panels.start, inner * lanes, NULL, c_panels.start,
            rows * lanes, rows, inner, 0, out_panels)
        table.product.from_panels(c_panels.start, rows * lanes, rows, columns, address(out))
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

    def loss(self, name, z, targets_):
        import numpy

        cdef const kernels *table = kernels_for(z.dtype.name)
        cdef ptrdiff_t rows = z.shape[0], columns = z.shape[1], row
        cdef ptrdiff_t panel_values = (columns + table.lanes - 1) // table.lanes * table.lanes
        cdef int formula = formula_number(LOSS_NAMES, name)
        cdef targets goals
        z = numpy.ascontiguousarray(z)
        targets_ = numpy.ascontiguousarray(targets_, z.dtype)
        losses, slopes = numpy.empty(rows, z.dtype), numpy.empty_like(z)
        cdef Memory taken = Memory(panel_values * table.value_bytes)
        cdef Memory slope = Memory(panel_values * table.value_bytes)
        goals.labels = NULL
        goals.weights = NULL
        for row in range(rows):
            goals.values = address(targets_[row])
            table.product.to_panels(address(z[row]), 1, columns, taken.start, table.lanes)
            losses[row] = table.element.loss(
                formula, taken.start, table.lanes, 1, columns, &goals, NULL, 1.0, slope.start)
            table.product.from_panels(slope.start, table.lanes, 1, columns, address(slopes[row]))
        return losses, slopes

    def update(self, name, w, g, state, coefficients):
        values = array.array("d", coefficients)
        cdef const double[::1] view = values
        kernels_for(w.dtype.name).element.update(
            formula_number(OPTIMIZER_NAMES, name), address(w), address(g),
            address(state) if len(state) else NULL, w.size, &view[0], w.size)


backend = CythonBackend()
kernels_for("float32")  # an unknown FASTMLP_MAX_ISA is the reason that the registry shows
