"""The `cython` backend: the flow of a batch here, without the GIL; the kernels in C (native/).

The C kernels are compiled once per instruction set and chosen at import (native/isa_table.h);
FASTMLP_MAX_ISA caps the choice. Matrices are kept as panels (native/kernels.h): the engine holds the
parameters in that form during a call, or from call to call, and writes the flat vector in the end.
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
from libc.string cimport memcpy, memset
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uintptr_t

from . import formulas
from .contract import N_ADJUSTMENTS, Backend, Engine, Gradients, SparseMatrix
from .cpus import available_cpus
from .float32_products import (
    FEW_ZEROS,
    LEAST_STEPS_OF_BYTES,
    bytes_are_whole_numbers,
    layers_for_tiles,
    requested_float32_products,
    tiles_may_be_for_bytes,
)
from .thread_choice import ThreadChoice

include "cython_declarations.pxi"
include "cython_layout.pxi"
include "cython_steps.pxi"
include "cython_normalization.pxi"
include "cython_calls.pxi"


cdef class Workspace:
    """Buffers for a batch of rows that a number of threads work on together.

    An activation takes the place of its weighted sum if the derivative can do without it, unless
    everything is to be kept for the caller; what is normalised takes its place likewise, and the
    activation that of what it takes.
    """

    cdef Native native
    cdef Memory layer_memory, row_memory
    cdef ptrdiff_t rows
    cdef int inputs  # how it takes them: BY_PLAN...

    def __cinit__(self, NativeEngine engine, int n_threads, ptrdiff_t rows, bint keeps_everything,
                  bint predicts=False, int inputs=BY_PLAN):
        cdef Native *native = &self.native
        cdef const strip_products *of_inputs
        cdef NativeLayer *layer
        cdef ptrdiff_t n_bytes, panel_bytes, total, n_strips = 0, strip_bytes = 0
        cdef int index, n_inputs
        native[0] = engine.native
        native.n_threads = n_threads
        self.rows, self.inputs = rows, inputs
        self.layer_memory = Memory(native.n_layers * sizeof(NativeLayer))
        native.layers = <NativeLayer *>self.layer_memory.start
        native.input_is_shared = n_threads > OWN_INPUTS
        n_inputs = 0 if not engine.gathers else 1 if native.input_is_shared else n_threads
        native.input_stride = stride_for(native, rows)
        panel_bytes = native.input_stride * native.value_bytes
        of_inputs = native.strips
        if inputs == AS_WHOLE_NUMBERS:
            of_inputs = tiles_of_float32()
        elif engine.native.layers[0].drops or not keeps_rounded(native):
            of_inputs = NULL
        native.gathers_strips = of_inputs is not NULL
        native.input_bytes = panels(native, engine.native.layers[0].fan_in) * panel_bytes
        native.nonzero_bytes = (
            native.input_bytes // (native.lanes * native.value_bytes) + NONZERO_PADDING
        ) * sizeof(uint16_t)
        if native.gathers_strips:
            native.input_bytes = (rows + LOSS_BLOCK - 1) // LOSS_BLOCK * sizeof(uint32_t) * (
                of_inputs.strip_words(engine.native.layers[0].fan_in))
            native.nonzero_bytes = 0
        native.slope_words = native.gradient_words = 0
        if keeps_rounded(native):
            n_strips = (rows + LOSS_BLOCK - 1) // LOSS_BLOCK
            for index in range(native.n_layers):
                layer = &engine.native.layers[index]
                native.gradient_words = max(  # in panels: all where a thread may own some inputs
                    native.gradient_words, layer.out_panels if layer.out_panels < 4 * n_threads
                    else layer.out_panels // n_threads + 1)
                if index == 0:
                    continue
                strip_bytes += n_strips * native.strips.strip_words(layer.fan_in) * sizeof(uint32_t)
                native.slope_words = max(native.slope_words, native.strips.strip_words(layer.fan_out))
            native.slope_words *= n_strips
            native.gradient_words *= native.strips.strip_words(min(rows, ROOM_ROWS))
            strip_bytes += sizeof(uint32_t) * (
                2 * native.slope_words + n_threads * native.gradient_words)
        total = strip_bytes + n_inputs * (native.input_bytes + native.nonzero_bytes)
        total += (rows // LOSS_BLOCK + 1) * sizeof(double)
        for index in range(native.n_layers):
            native.layers[index] = engine.native.layers[index]
            layer = &native.layers[index]
            if predicts:  # of few rows, which need not be a whole batch
                layer.strips = native.strips
            if index == 0 and inputs != BY_PLAN:
                layer.strips = tiles_of_float32()
                if inputs == AS_WHOLE_NUMBERS:
                    layer.rounded.scale = (<const float *>engine.center)[1]
            total += 4 * layer.out_panels * (panel_bytes + sizeof(double))
            if layer.normalization != NOT_NORMALIZED:
                total += 2 * layer.out_panels * panel_bytes + panel_bytes + 5 * layer.vector_bytes
        self.row_memory = Memory(total)
        cdef char *at = self.row_memory.start
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
            layer.activated = layer.normalized = layer.z
            at += 2 * n_bytes
            if layer.normalization != NOT_NORMALIZED:
                layer.activated = layer.a = at
                at += n_bytes
                layer.mean, layer.variance = at, at + layer.vector_bytes
                layer.vector_gradients = at + 2 * layer.vector_bytes
                layer.factor = at + 4 * layer.vector_bytes
                at += 5 * layer.vector_bytes + panel_bytes
                if keeps_everything:
                    layer.normalized = at
                    at += n_bytes
            if keeps_everything or layer.derivative_in_z or layer.activation == SOFTMAX:
                layer.a = at
                at += n_bytes
            if index < native.n_layers - 1 and native.layers[index + 1].drops:
                native.layers[index + 1].kept = at
                at += n_bytes
            if index > 0 and keeps_rounded(native):
                native.layers[index].input_strips = <uint32_t *>at
                at += n_strips * native.strips.strip_words(layer.fan_in) * sizeof(uint32_t)
        if native.slope_words > 0:
            native.slope_strips = <uint32_t *>at
            at += 2 * native.slope_words * sizeof(uint32_t)
        if native.gradient_words > 0:
            native.gradient_room = <uint32_t *>at
            at += n_threads * native.gradient_words * sizeof(uint32_t)
        native.panel_squares = <double *>at
        for index in range(native.n_layers):
            at += native.layers[index].out_panels * sizeof(double)
        native.block_losses = <double *>at
        at += (rows // LOSS_BLOCK + 1) * sizeof(double)
        native.nonzero = <uint16_t *>at
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
            self.read_vectors(layer, self.native.parameters + layer.packed_biases,
                              layer.vector_bytes)
            layer.w_panel, layer.w_step = layer.w_stride, self.native.lanes
            layer.reads_strips = True

    cdef void read_vectors(self, NativeLayer *layer, const char *biases,
                           ptrdiff_t distance) noexcept:
        """Let it read biases, or beta and, so many bytes after it, gamma."""
        layer.b = layer.beta = biases
        if layer.normalization != NOT_NORMALIZED:
            layer.b, layer.gamma = self.native.zeros, biases + distance

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
            layer.reads_strips = False
            if layer.fan_out % native.lanes == 0:
                self.read_vectors(layer, flat + layer.flat_biases * native.value_bytes,
                                  layer.fan_out * native.value_bytes)
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
    cdef Memory layer_memory, parameter_memory, strip_memory, gradient_memory, zero_memory
    cdef bint may_take_bytes  # as whole numbers, to train
    cdef bint may_take_tiles  # for the inputs, if they have few zeros
    cdef object loss_parameters, group_ends
    cdef OrthogonalMemory orthogonal  # of the weights that are updated as matrices, if any
    cdef Workspace training
    cdef object thread_choice  # of the training
    cdef bint gathers  # whether a call had dense rows: the workspaces have memory for gathered ones
    cdef list predicting  # a Workspace per thread
    cdef bint targets_are_labels
    cdef object input_numbers, wide_input_numbers  # center, then scale: of the plan's type, float64
    cdef ptrdiff_t n_input_numbers  # of each: 1 or n_inputs
    cdef const char *center
    cdef const double *wide_center
    cdef object parameters, state, statistics  # the caller's, whose addresses `native` has
    cdef readonly bint inputs_were_finite  # of the last prediction

    def __cinit__(self, plan, n_threads, parameters, state, statistics):
        cdef Native *native = &self.native
        cdef const kernels *table = kernels_for(plan.precision)
        native.product = &table.product
        native.strips = NULL if float32_products == "auto" and plan.precision == "float32" else table.strips
        may_take_bytes = tiles_may_be_for_bytes if native.strips is NULL else bytes_are_whole_numbers
        self.may_take_bytes = may_take_bytes(plan) and tiles_of_float32() is not NULL
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
        self.group_ends = array.array("q", [group.stop for group in plan.groups])
        native.groups = output_groups(
            count=len(plan.groups), ends=<const int64_t *>address(self.group_ends))
        native.step_formula = formula_number(STEP_NAMES, plan.optimizer)
        native.is_gradient_descent = plan.optimizer == "sgd"
        native.adjusts_gradient = plan.adjusts_gradient
        native.needs_whole_gradient = plan.needs_whole_gradient
        native.clip_norm, native.max_norm = plan.clip_norm, plan.max_norm
        native.loss_is_merged = plan.loss_is_merged
        native.batch_size = plan.batch_size
        native.n_states = plan.n_states
        self.parameters, self.state, self.statistics = parameters, state, statistics
        native.flat_parameters = address(parameters)
        if plan.n_statistics:
            native.flat_statistics = address(statistics)
        if plan.n_states:
            native.flat_state = address(state)
        native.n_coefficients = plan.n_coefficients
        native.n_outputs = plan.n_outputs
        self.targets_are_labels = plan.targets_are_labels
        by = plan.input_center, plan.input_scale
        self.n_input_numbers = len(plan.input_scale)
        self.input_numbers = flat_numbers(by, plan.dtype)
        self.wide_input_numbers = flat_numbers(by, "float64")
        self.center = address(self.input_numbers)
        self.wide_center = <const double *>address(self.wide_input_numbers)
        self.native.n_parameters = plan.n_parameters
        self.predicting = []
        assert plan.n_coefficients + 2 * N_ADJUSTED <= MAX_COEFFICIENTS
        assert N_ADJUSTMENTS == N_ADJUSTED
        self.lay_out_parameters(plan)
        if plan.needs_whole_gradient:
            self.make_gradient()
        if plan.matrix_layers:
            self.make_orthogonal(plan)

    cdef lay_out_parameters(self, plan):
        cdef Native *native = &self.native
        cdef ptrdiff_t offset = 0, longest = 0
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
            layer.vector_bytes = layer.out_panels * native.lanes * native.value_bytes
            layer.normalization = (
                BATCH if described.normalization == "batch" else
                LAYER if described.normalization == "layer" else NOT_NORMALIZED)
            layer.n_vectors = 1 if layer.normalization == NOT_NORMALIZED else 2
            layer.flat_statistics = described.statistics.start
            offset += layer.n_vectors * layer.vector_bytes
            longest = max(longest, layer.vector_bytes)
        native.packed_bytes = offset
        for index in range(native.n_layers):
            native.layers[index].strips = native.strips
        if native.strips is NULL:
            for index in layers_for_tiles(plan):
                native.layers[<int>index].strips = tiles_of_float32()
            if not any(plan.input_center):  # which would leave no zeros
                self.may_take_tiles = native.layers[0].strips is not NULL
                native.layers[0].strips = NULL
        self.lay_out_strips()
        self.parameter_memory = Memory((1 + native.n_states) * offset)
        native.parameters = self.parameter_memory.start
        self.zero_memory = Memory(longest)
        native.zeros = self.zero_memory.start

    cdef lay_out_strips(self):
        """Give the rounded weights their memory, where they are kept; the first layer's slopes do not go back."""
        cdef Native *native = &self.native
        cdef NativeLayer *layer
        cdef ptrdiff_t words = 0
        cdef int index
        for index in range(native.n_layers):
            layer = &native.layers[index]
            layer.rounded = weight_strips(
                fan_in=layer.fan_in, fan_out=layer.fan_out, scale=1.0, strips=NULL, transposed=NULL)
            if keeps_rounded(native):
                words += layer.out_panels * native.strips.strip_words(layer.fan_in)
                if index > 0:
                    words += panels(native, layer.fan_in) * native.strips.strip_words(layer.fan_out)
        if words == 0:
            return
        self.strip_memory = Memory(words * sizeof(uint32_t))
        cdef uint32_t *at = <uint32_t *>self.strip_memory.start
        for index in range(native.n_layers):
            layer = &native.layers[index]
            layer.rounded.strips = at
            at += layer.out_panels * native.strips.strip_words(layer.fan_in)
            if index > 0:
                layer.rounded.transposed = at
                at += panels(native, layer.fan_in) * native.strips.strip_words(layer.fan_out)

    cdef make_orthogonal(self, plan):
        """Make the memory and the steps of the weights that are updated as matrices."""
        cdef Native *native = &self.native
        optimizer = formulas.OPTIMIZERS[plan.optimizer]
        direction, step = optimizer.matrix.direction.update, optimizer.matrix.step.update
        native.direction = native.element.steps[formula_number(STEP_NAMES, direction.__name__)]
        native.matrix_step = native.element.steps[formula_number(STEP_NAMES, step.__name__)]
        _, of_direction, of_step = optimizer.coefficient_slices
        native.direction_coefficients, native.matrix_coefficients = of_direction.start, of_step.start
        shapes = [(plan.layers[i].fan_in, plan.layers[i].fan_out) for i in plan.matrix_layers]
        self.orthogonal = OrthogonalMemory(plan.dtype, shapes)
        native.orthogonal = self.orthogonal.native
        for index, shape in zip(plan.matrix_layers, shapes, strict=True):
            native.layers[index].direction_scale = optimizer.matrix.scale(*shape)

    cdef make_gradient(self):
        """Give the native gradient its memory, if it has none."""
        if self.gradient_memory is None:
            self.gradient_memory = Memory(self.native.packed_bytes)
            self.native.gradient = self.gradient_memory.start

    cdef int threads_for(self, ptrdiff_t n_values, ptrdiff_t n_meetings) noexcept:
        """How many threads pay for so many multiply-adds with so many waits for each other."""
        return min(self.native.n_threads, 1 + n_values // (VALUES_PER_MEETING * n_meetings))

    def train(self, x, wanted, sample_weight, const int64_t[::1] order,
              const double[:, ::1] coefficients, const int64_t[:, ::1] dropout_keys,
              bint is_packed, bint stays_packed, bint is_part):
        cdef Native *native
        cdef source rows
        cdef sparse_rows stored
        cdef wanted_targets goals = self.targets_of(wanted, sample_weight)
        losses = array.array("d", bytes(8 * coefficients.shape[0]))
        cdef double[::1] losses_view = losses
        cdef ptrdiff_t batch_rows = min(self.native.batch_size, order.shape[0])
        cdef int inputs = self.inputs_of(x, is_part)
        self.make_room_for(x)
        if (self.training is None or self.training.rows < batch_rows
                or self.training.inputs != inputs):
            # Forward and back are three products, and the threads meet twice per layer.
            threads = self.threads_for(3 * batch_rows * self.native.n_parameters, 2 * self.native.n_layers)
            self.training = Workspace(self, threads, batch_rows, False, inputs=inputs)
            self.thread_choice = ThreadChoice(threads)
        native = &self.training.native
        cdef int n_threads = self.thread_choice.choose()
        cdef Call call = Call(
            native=native, x=&rows, sparse=NULL, wanted=&goals, order=&order[0],
            n_rows=order.shape[0], coefficients=&coefficients[0, 0],
            dropout_keys=NULL, losses=&losses_view[0], n_losses=0, outputs=NULL, with_loss=True,
            is_packed=is_packed, stays_packed=stays_packed, loss_sum=0.0)
        self.bind(x, &call, &rows, &stored)
        if dropout_keys is not None:
            call.dropout_keys = &dropout_keys[0, 0]
        start = time.perf_counter()
        with nogil:
            team_run(n_threads, train_batches, &call)
        self.thread_choice.learn(n_threads, time.perf_counter() - start, order.shape[0])
        return losses[:call.n_losses]

    def unpack(self):
        """Write parameters and states to the caller's arrays: no batch is trained."""
        cdef Native *native = &self.native  # whose layers have all that is needed
        cdef Call call = Call(
            native=native, x=NULL, sparse=NULL, wanted=NULL, order=NULL, n_rows=0, coefficients=NULL,
            dropout_keys=NULL, losses=NULL, n_losses=0, outputs=NULL, with_loss=False,
            is_packed=True, stays_packed=False, loss_sum=0.0)
        with nogil:
            team_run(native.n_threads, train_batches, &call)

    def predict(self, x, wanted, sample_weight, out):
        """Write the outputs of all rows to `out`; return the sum of the losses if `wanted`."""
        cdef ptrdiff_t n_rows = len(x), i
        cdef source rows
        cdef sparse_rows stored
        cdef wanted_targets goals
        cdef Prediction prediction
        cdef ptrdiff_t n_values = n_rows * self.native.n_parameters
        cdef int n_threads = self.threads_for(
            n_values if self.native.strips is NULL else n_values // TILE_SPEED, WAKE_UP)
        cdef ptrdiff_t n_blocks, block_rows = PREDICTION_ROWS
        cdef Native* natives[MAX_PREDICTING]
        cdef bint[MAX_PREDICTING] finite
        cdef Workspace workspace
        cdef double[::1] losses_view
        cdef double total = 0.0
        if wanted is None:  # else the order in which losses are summed would depend on the threads
            # Whole blocks of the loss, which are whole tiles of AMX: a row's bits may depend on its tile's.
            # Of few rows each thread has two: the others wake up later than the first begins.
            n_blocks = 2 * n_threads if 1 < n_threads and n_rows <= FEW_ROWS else n_threads
            block_rows = (n_rows + n_blocks * LOSS_BLOCK - 1) // (n_blocks * LOSS_BLOCK) * LOSS_BLOCK
            block_rows = max(<ptrdiff_t>LOSS_BLOCK, min(<ptrdiff_t>PREDICTION_ROWS, block_rows))
        n_blocks = (n_rows + block_rows - 1) // block_rows
        n_threads = min(n_threads, n_blocks, MAX_PREDICTING)
        self.make_room_for(x)
        while len(self.predicting) < n_threads:
            self.predicting.append(Workspace(self, 1, PREDICTION_ROWS, False, predicts=True))
        for i in range(n_threads):
            workspace = self.predicting[i]
            natives[i] = &workspace.native
            finite[i] = True  # fewer threads may run than are wanted
        prediction.natives, prediction.finite = natives, finite
        prediction.block_rows = block_rows
        prediction.reads_flat = n_rows <= FEW_ROWS
        prediction.call = Call(
            native=NULL, x=&rows, sparse=NULL, wanted=&goals, order=NULL, n_rows=n_rows,
            coefficients=NULL, dropout_keys=NULL, losses=NULL, n_losses=0, outputs=address(out),
            with_loss=wanted is not None, is_packed=False, stays_packed=False, loss_sum=0.0)
        self.bind(x, &prediction.call, &rows, &stored)
        if prediction.call.with_loss:
            goals = self.targets_of(wanted, sample_weight)
            losses = array.array("d", bytes(8 * n_blocks))
            losses_view = losses
            prediction.call.losses = &losses_view[0]
        if prediction.reads_flat:
            for i in range(n_threads):
                (<Workspace>self.predicting[i]).read_flat()
        else:
            for workspace in self.predicting:
                workspace.read_packed()
        with nogil:
            if prediction.reads_flat:
                team_share(n_threads, predict_rows, &prediction)
            else:  # they meet when the parameters are packed
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
        self.make_room_for(x)
        workspace = Workspace(self, threads, n_rows, True)
        cdef Native *native = &workspace.native
        cdef Call call = Call(
            native=native, x=&rows, sparse=NULL, wanted=&goals, order=&order_view[0], n_rows=n_rows,
            coefficients=NULL, dropout_keys=NULL, losses=NULL, n_losses=0, outputs=NULL,
            with_loss=True, is_packed=False, stays_packed=False, loss_sum=0.0)
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

    cdef int inputs_of(self, x, bint is_part) except -1:
        """How training takes the rows of x: that depends on the whole array alone, so not on a part of it."""
        cdef source rows
        cdef double steps
        cdef bint are_bytes
        if not (self.may_take_bytes or self.may_take_tiles) or isinstance(x, SparseMatrix):
            return BY_PLAN
        rows = source_of(x)
        are_bytes = rows.type == ELEMENT_UINT8
        if self.native.strips is not NULL:
            return AS_WHOLE_NUMBERS if are_bytes else BY_PLAN
        if is_part:
            return BY_PLAN
        steps = share_of_steps(&rows, len(x), self.native.layers[0].fan_in)
        if self.may_take_bytes and are_bytes and (
                steps * self.native.batch_size >= LEAST_STEPS_OF_BYTES):
            return AS_WHOLE_NUMBERS
        return BY_TILES if self.may_take_tiles and steps >= FEW_ZEROS else BY_PLAN

    cdef make_room_for(self, x):
        """Have the workspaces made again if they have no memory for gathered rows, and x is dense."""
        if not self.gathers and not isinstance(x, SparseMatrix):
            self.gathers, self.training, self.predicting = True, None, []

    cdef bind(self, x, Call *call, source *rows, sparse_rows *stored):
        """Let a call read `x`: an array, or a `SparseMatrix`."""
        if isinstance(x, SparseMatrix):
            stored.starts = <const int64_t *>address(x.starts)
            stored.columns = <const int32_t *>address(x.columns)
            stored.values = address(x.values)
            stored.scales_each = self.n_input_numbers > 1
            stored.scale = self.center + self.n_input_numbers * self.native.value_bytes
            call.sparse = stored
            if call.native is not NULL:  # the update may need the gradient laid out
                self.make_gradient()
                call.native.gradient = self.native.gradient
        else:
            rows[0] = source_of(x)
            rows.scales_each = self.n_input_numbers > 1
            if rows.type == ELEMENT_FLOAT64:
                rows.center = self.wide_center
                rows.scale = self.wide_center + self.n_input_numbers
            else:
                rows.center = self.center
                rows.scale = self.center + self.n_input_numbers * self.native.value_bytes

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


cdef bint keeps_rounded(const Native *native) noexcept:
    """Whether inputs and slopes of all layers are kept rounded."""
    return native.strips is not NULL and native.strips.keep_inputs is not NULL


cdef double share_of_steps(const source *x, ptrdiff_t n_rows, ptrdiff_t n_columns) noexcept:
    """What multiply-add does not leave out of a weighted sum, of some rows and columns of x.

    That are steps of the depth at which some row of four is not zero (nonzeros_real.h).
    """
    cdef ptrdiff_t group, column, row, found = 0, columns = min(n_columns, <ptrdiff_t>SAMPLED_COLUMNS)
    cdef const char *rows[4]
    cdef bint is_any
    for group in range(SAMPLED_GROUPS):
        for row in range(4):
            rows[row] = x.data + n_rows * (4 * group + row) // (4 * SAMPLED_GROUPS) * x.row_stride
        for column in range(columns):
            is_any = False
            for row in range(4):
                is_any |= not is_zero(x, rows[row])
                rows[row] += n_columns // columns * x.column_stride
            found += is_any
    return found / <double>(SAMPLED_GROUPS * columns)


cdef bint is_zero(const source *x, const char *value) noexcept:
    if x.type == ELEMENT_UINT8:
        return (<const uint8_t *>value)[0] == 0
    if x.type == ELEMENT_FLOAT32:
        return (<const float *>value)[0] == 0.0
    return (<const double *>value)[0] == 0.0


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


cdef source source_of(x) except *:
    """An array (rows, features) as the kernels read it."""
    cdef Py_buffer view
    cdef source rows
    PyObject_GetBuffer(x, &view, PyBUF_RECORDS_RO)
    rows.data = <const char *>view.buf
    rows.row_stride, rows.column_stride = view.strides[0], view.strides[1]
    rows.type = (ELEMENT_UINT8 if view.format[0] == b"B" else
                 ELEMENT_FLOAT32 if view.format[0] == b"f" else ELEMENT_FLOAT64)
    PyBuffer_Release(&view)
    return rows


class CythonEngine(Engine):
    """Hands the arrays of the contract to the native engine."""

    def __init__(self, plan, parameters, state, statistics):
        super().__init__(plan, parameters, state, statistics)
        self.native = NativeEngine(
            plan, backend.usable_threads(plan.n_threads), parameters, state, statistics)

    def train(self, x, targets, sample_weight, order, coefficients, dropout_keys=None, *,
              stays_packed=False, is_part=False):
        if len(order) == 0:
            return []
        losses = self.native.train(
            x, targets, sample_weight, order, coefficients, dropout_keys, self.is_packed, stays_packed,
            is_part)
        self.is_packed = stays_packed
        return losses

    def unpack(self):
        if self.is_packed:
            self.native.unpack()
            self.is_packed = False

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
        dgamma = [flat[layer.gamma] for layer in plan.layers]
        z, a, dz = (list(each) for each in zip(*kept, strict=True))
        return Gradients(loss, dw, db, z, a, dz, dgamma)

    def predict(self, x, out):
        self.native.predict(x, None, None, out)
        return self.native.inputs_were_finite

    def evaluate(self, x, targets, sample_weight, out):
        return self.native.predict(x, targets, sample_weight, out)


include "cython_int8.pxi"


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
        return kernels_for("bfloat16").product_isa.decode()

    @property
    def bfloat16_note(self):
        return kernels_for("bfloat16").product_note.decode()

    def float32_products(self, plan=None):
        cdef const kernels *table = kernels_for("float32")
        split = "each number as three bfloat16"
        if float32_products == "amx" and table.product_isa[0]:
            return f"by {table.product_isa.decode()}, {split}"
        if float32_products == "amx":
            why = table.product_note.decode() or (
                "this CPU has none, FASTMLP_MAX_ISA leaves it out, or the compiler did not know it")
            return f"by {table.isa.decode()}, not AMX: {why}"
        layers = [0] if plan is None else layers_for_tiles(plan)
        of_bytes = plan is not None and tiles_may_be_for_bytes(plan)
        if not (layers or of_bytes):
            return ""
        if tiles_of_float32() is NULL:
            note = table.product_note.decode()
            return f"by {table.isa.decode()}, not AMX: {note}" if note else ""
        if plan is None:
            return (f"by {table.isa.decode()}, those of large layers and of uint8 inputs in training by amx, "
                    f"{split}")
        names = [str(1 + layer) for layer in layers if layer > 0]
        if any(plan.input_center) and 0 in layers:
            names.insert(0, "1")
        elif 0 in layers:
            names.insert(0, "1 (unless many inputs are zero)")
        elif of_bytes:
            names.insert(0, "1 (if its inputs are uint8, and not mostly zero)")
        several = "s" if len(names) > 1 else ""
        return (f"by {table.isa.decode()}, those of layer{several} {', '.join(names)} in training by amx, "
                f"{split}")

    @property
    def int8_isa(self):
        return kernels_for("float32").int8.isa.decode()

    def usable_threads(self, n_threads):
        return min(n_threads, team_limit())

    def refusal(self, plan):
        wanted = [(plan.loss, LOSS_NAMES), (plan.optimizer, STEP_NAMES)]
        wanted += [(layer.activation, [*ACTIVATION_NAMES, "softmax"]) for layer in plan.layers]
        for name, built in wanted:
            if name not in built:
                return (
                    f"it was built without the formula {name!r}: the other backends take it (and "
                    "if it is fastmlp's own, install fastmlp again)"
                )
        return ""

    def compile(self, plan, parameters, state, statistics):
        return CythonEngine(plan, parameters, state, statistics)

    def compile_int8(self, layers, n_threads):
        return Int8Engine(layers, self.usable_threads(n_threads))

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
        cdef int64_t end = columns
        cdef output_groups outputs = output_groups(count=1, ends=&end)
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
            formula, taken.start, stride, rows, &outputs, &goals, address(numbers), NULL, 1.0,
            slope.start, address(losses))
        table.product.from_panels(slope.start, stride, rows, columns, address(slopes))
        return losses, slopes

    def update(self, name, w, g, state, coefficients):
        import numpy

        values = numpy.array(coefficients, w.dtype)
        kernels_for(w.dtype.name).element.steps[formula_number(STEP_NAMES, name)](
            address(w), address(g), address(state) if len(state) else NULL, w.size,
            address(values), w.size)

    def orthogonalized(self, matrix):
        import numpy

        matrix = numpy.ascontiguousarray(matrix)
        cdef ptrdiff_t rows = matrix.shape[0], columns = matrix.shape[1]
        cdef OrthogonalMemory memory = OrthogonalMemory(matrix.dtype.name, [matrix.shape])
        cdef Orthogonal *own = &memory.native
        cdef ptrdiff_t stride = spaced(rows, own.lanes, own.value_bytes)
        cdef Memory panels = Memory(memory.panel_bytes(rows, columns))
        cdef Alone call = Alone(own=own, stride=stride, rows=rows, columns=columns, out=panels.start)
        cdef int n_threads = available_cpus()
        own.product.to_panels(address(matrix), rows, columns, own.start, stride)
        with nogil:
            team_run(n_threads, orthogonalize_alone, &call)
        found = numpy.empty_like(matrix)
        own.product.from_panels(panels.start, stride, rows, columns, address(found))
        return found


choose_kernels()  # an unknown FASTMLP_MAX_ISA is the reason that the registry shows
backend = CythonBackend()
