"""The memory of a plan for the `numba` backend, and the words that describe it to compiled code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import formulas
from . import numba_names as names
from .contract import N_ADJUSTMENTS, Array, Plan, SparseMatrix
from .numba_linking import LinkedModule
from .numba_names import CACHE_LINE

TRANSPOSED_BYTES = 1 << 20  # of transposed weights at a time
ROWS_TO_PACK = 128  # for so many it is worth that these come from a cache that is further away
OWN_INPUTS = 4  # so many threads gather their own input
SOFTMAX = "softmax"
NORMALIZATIONS = {None: names.NOT_NORMALIZED, "batch": names.BATCH, "layer": names.LAYER}
X_TYPES = {"float32": names.FLOAT32, "float64": names.FLOAT64, "uint8": names.UINT8}


def aligned_zeros(n_bytes: int) -> Array:
    """Return zeroed bytes that start at a cache line."""
    memory = np.zeros(n_bytes + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + n_bytes]


def address_of(array: Array | None) -> int:
    """Return where an array starts; 0 if there is none."""
    return 0 if array is None else int(array.ctypes.data)


def bits_of(number: float) -> int:
    """Return the bits of a float64 as an integer."""
    return int(np.float64(number).view(np.int64))


def round_up(n: int, multiple: int) -> int:
    """Return the smallest multiple that is at least `n`."""
    return -(-n // multiple) * multiple


def groups_of_outputs(ends: Sequence[int]) -> Array:
    """Return groups of outputs as compiled code reads them: how many, and where each ends."""
    return np.array([len(ends), *ends], np.int64)


def packed_panels(vector: int) -> int:
    """Return for how many panels of outputs a weighted sum packs rows; 0: for none.

    Else the rows of a tile lie in as many places as they have panels. The tiles of 64 bytes per
    vector take twice as much of each.
    """
    return 96 if vector < 64 else 0


class Panels:
    """How matrices lie in memory as panels; see `numba_products`."""

    def __init__(self, precision: str, lanes: int) -> None:
        self.precision, self.lanes = precision, lanes
        self.size = np.dtype(precision).itemsize
        self.vector = lanes * self.size

    def count(self, columns: int) -> int:
        """Return how many panels so many columns are."""
        return -(-columns // self.lanes)

    def stride(self, rows: int) -> int:
        """Return how far apart, in bytes, panels of so many rows lie.

        Never a multiple of 4096, which would put the same row of every panel in the same cache set.
        """
        stride = rows * self.vector
        return stride + self.vector if stride % 4096 == 0 else stride

    def matrix(self, memory: Array, stride: int, rows: int, columns: int) -> Array:
        """Return a row-major copy (rows, columns) of panels."""
        numbers = memory[: self.count(columns) * stride].view(self.precision)
        panels = numbers.reshape(self.count(columns), -1)[:, : rows * self.lanes]
        by_row = panels.reshape(-1, rows, self.lanes).swapaxes(0, 1)
        return np.ascontiguousarray(by_row.reshape(rows, -1)[:, :columns])

    def of(self, matrix: Array) -> Array:
        """Return the panels of a matrix (rows, columns), `rows * vector` bytes apart."""
        rows, columns = matrix.shape
        n_panels = self.count(columns)
        memory = aligned_zeros(n_panels * rows * self.vector)
        panels = memory.view(self.precision).reshape(n_panels, rows, self.lanes)
        padded = np.zeros((rows, n_panels * self.lanes), self.precision)
        padded[:, :columns] = matrix
        panels[...] = padded.reshape(rows, n_panels, self.lanes).swapaxes(0, 1)
        return memory


class OrthogonalMemory:
    """The memory of `numba_orthogonal` for matrices of some shapes (rows, columns); its words."""

    def __init__(
        self, panels: Panels, shapes: list[tuple[int, int]], functions: dict[str, int]
    ) -> None:
        def n_bytes(rows: int, columns: int) -> int:
            return round_up(panels.count(columns) * panels.stride(rows), CACHE_LINE)

        large_and_small = [(max(shape), min(shape)) for shape in shapes]
        # It lies as a layer's weights do, panels of which end with biases, or with beta and gamma.
        of_start = max(n_bytes(rows + 2, columns) for rows, columns in shapes)
        of_x = max(n_bytes(*pair) for pair in large_and_small)
        of_gram = max(n_bytes(small, small) for _, small in large_and_small)
        self.memory = aligned_zeros(of_start + 2 * of_x + 2 * of_gram)
        self.squares = np.zeros(max(panels.count(columns) for _, columns in shapes))
        self.words = np.zeros(names.ORTHOGONAL_WORDS, np.int64)
        start = address_of(self.memory)
        first, second, third = map(bits_of, formulas.NEWTON_SCHULZ)
        set_words(
            self.words,
            {
                "ORTHOGONAL_START": start,
                "ORTHOGONAL_X": start + of_start,
                "ORTHOGONAL_NEXT_X": start + of_start + of_x,
                "GRAM": start + of_start + 2 * of_x,
                "TERMS": start + of_start + 2 * of_x + of_gram,
                "SQUARES": address_of(self.squares),
                "FIRST_FACTOR": first,
                "SECOND_FACTOR": second,
                "THIRD_FACTOR": third,
                "N_ITERATIONS": formulas.NEWTON_SCHULZ_STEPS,
                "SMALLEST_NORM": bits_of(formulas.SMALLEST_NORM),
                **functions,
            },
        )


class Parameters:
    """The packed parameters and states of a plan, and what is the same for all of its calls."""

    def __init__(
        self,
        plan: Plan,
        parameters: Array,
        state: Array,
        statistics: Array,
        panels: Panels,
        modules: tuple[LinkedModule, LinkedModule],
        functions: dict[str, int],
        activations: list[Any],
        tiles: LinkedModule | None,
    ) -> None:
        self.panels = panels
        self.tiles = tiles  # the module of products by tiles, if they multiply
        self.layers = np.zeros((len(plan.layers), names.LAYER_WORDS), np.int64)
        packed_bytes = 0
        for layer, words in zip(plan.layers, self.layers, strict=True):
            assert layer.biases.start == layer.weights.stop  # the biases are one more row, ...
            assert layer.gamma.start == layer.biases.stop  # ... and gamma another
            words[names.FAN_IN], words[names.FAN_OUT] = layer.fan_in, layer.fan_out
            words[names.OUT_PANELS] = panels.count(layer.fan_out)
            words[names.FLAT] = layer.weights.start * panels.size
            words[names.PACKED] = packed_bytes
            words[names.N_VECTORS] = 1 if layer.normalization is None else 2
            words[names.NORMALIZATION] = NORMALIZATIONS[layer.normalization]
            words[names.STATISTICS] = (
                address_of(statistics) + layer.statistics.start * statistics.itemsize
            )
            words[names.PACKED_STRIDE] = panels.stride(layer.fan_in + words[names.N_VECTORS])
            packed_bytes += words[names.OUT_PANELS] * words[names.PACKED_STRIDE]
            rate = plan.dropout[layer.index]
            words[names.THRESHOLD] = formulas.dropout_threshold(rate)
            words[names.KEPT_FACTOR] = bits_of(1.0 / (1.0 - rate))
            if layer.index > 0:  # the input gradient of the first layer is not needed
                stride = panels.stride(round_up(layer.fan_out, panels.lanes))
                words[names.TRANSPOSED_STRIDE] = stride
                most = max(2, TRANSPOSED_BYTES // stride // 2 * 2)
                if plan.batch_size >= ROWS_TO_PACK:  # equal parts of two such are large enough
                    most = max(most, 2 * packed_panels(panels.vector))
                words[names.TRANSPOSED_PANELS] = min(most, panels.count(layer.fan_in))
        for index, module in enumerate(activations):
            self.set_activation(index, module)
        self.packed = aligned_zeros(int(packed_bytes) * (1 + plan.n_states))
        self.one, self.zeros = np.ones(1, plan.dtype), aligned_zeros(panels.vector)
        self.loss_parameters = np.array(plan.loss_parameters, plan.dtype)
        self.groups = groups_of_outputs([group.stop for group in plan.groups])
        by = np.array([plan.input_center, plan.input_scale])
        is_each = by.shape[1] > 1
        if not is_each:
            by = np.repeat(by, panels.lanes, axis=1)
        self.input_numbers = by.astype(plan.dtype), by
        # INPUT_CENTER, INPUT_SCALE and INPUT_STEP by the type of x.
        self.input_words = {}
        for name, x_type in X_TYPES.items():
            numbers = self.input_numbers[x_type == names.FLOAT64]
            step = numbers.itemsize * is_each
            self.input_words[name] = (*map(address_of, numbers), step)
        self.gradient = self.packed
        if plan.needs_whole_gradient:
            self.gradient = aligned_zeros(int(packed_bytes))
        self.first_gradient: Array | None = None  # of sparse rows
        self.panel_squares = np.zeros(self.layers[:, names.OUT_PANELS].sum())
        at_once = not (plan.adjusts_gradient or plan.needs_whole_gradient)
        self.call = np.zeros(names.CALL_WORDS, np.int64)
        self.set(
            N_LAYERS=len(plan.layers),
            LOSS_IS_MERGED=plan.loss_is_merged,
            PARAMETERS=address_of(self.packed),
            GRADIENT=address_of(self.gradient),
            PANEL_SQUARES=address_of(self.panel_squares),
            CLIP_NORM=bits_of(plan.clip_norm),
            MAX_NORM=bits_of(plan.max_norm),
            RESULT=address_of(self.packed),
            PACKED_BYTES=packed_bytes,
            FLAT_PARAMETERS=address_of(parameters),
            FLAT_RESULT=address_of(parameters),
            FLAT_STATE=address_of(state),
            FLAT_BYTES=plan.n_parameters * panels.size,
            N_STATES=plan.n_states,
            N_COEFFICIENTS=plan.n_coefficients + plan.adjusts_gradient * N_ADJUSTMENTS,
            ADJUSTMENTS=plan.n_coefficients * panels.size,
            IS_GRADIENT_DESCENT=plan.optimizer == "sgd" and at_once,
            LOSS_PARAMETERS=address_of(self.loss_parameters),
            GROUPS=address_of(self.groups),
            ONE=address_of(self.one),
            ZEROS=address_of(self.zeros),
            **(functions_of(*modules) | functions),
        )

    def set(self, **words: int) -> None:
        set_words(self.call, words)

    def sparse_words(self, kernels: LinkedModule) -> dict[str, int]:
        """Return the words of a call on sparse rows, by the module of those."""
        if self.first_gradient is None:
            n_bytes = int(self.layers[0, names.OUT_PANELS] * self.layers[0, names.PACKED_STRIDE])
            self.first_gradient = aligned_zeros(n_bytes)
        return {
            "LOOK_AT_STORED": kernels.look_at_stored.address,
            "SPARSE_SUM": kernels.sparse_sum.address,
            "SPARSE_GRADIENT": kernels.sparse_gradient.address,
            "FIRST_GRADIENT": address_of(self.first_gradient),
        }

    def set_activation(self, index: int, module: Any) -> None:
        """Name the compiled functions of a layer's activation."""
        words = self.layers[index]
        words[names.ACTIVATE] = module.activate.address
        if hasattr(module, "differentiate"):  # softmax has none: its way back is the loss's
            words[names.DIFFERENTIATE] = module.differentiate.address


def functions_of(products: LinkedModule, batches: LinkedModule) -> dict[str, int]:
    """Return the words of a call that name functions of the modules of products and batches."""
    names_of = {
        products: ("transpose", "weighted_sum", "weight_gradient"),
        batches: ("to_panels", "from_panels", "gather"),
    }
    found = {
        name.upper(): getattr(module, name).address
        for module, all_of in names_of.items()
        for name in all_of
    }
    return found | {
        "LAYER_SUM": found["WEIGHTED_SUM"],
        "LAYER_GRADIENT": found["WEIGHT_GRADIENT"],
    }


def set_words(call: Array, words: dict[str, int]) -> None:
    """Set words of a call by their names in `numba_names`."""
    for name, value in words.items():
        call[getattr(names, name)] = value


class Workspace:
    """Memory for a batch of rows that a number of threads work on together.

    An activation takes the place of its weighted sum if the derivative can do without it, unless
    everything is to be kept for the caller, or outputs are wanted besides the losses; what is
    normalised takes its place likewise, and the activation that of what it takes.
    """

    def __init__(
        self,
        plan: Plan,
        parameters: Parameters,
        n_threads: int,
        n_rows: int,
        *,
        keeps_everything: bool = False,
        has_slopes: bool = True,
    ) -> None:
        panels = parameters.panels
        self.panels, self.parameters, self.n_threads, self.n_rows = (
            panels,
            parameters,
            n_threads,
            n_rows,
        )
        self.layers = parameters.layers.copy()
        self.call = parameters.call.copy()
        # The losses write whole blocks of rows.
        self.stride = stride = panels.stride(round_up(n_rows, names.LOSS_BLOCK))
        input_is_shared = n_threads > OWN_INPUTS
        input_bytes, strips = panels.count(plan.n_inputs) * stride, {}
        tiles = parameters.tiles
        if tiles is not None and has_slopes and plan.dropout[0] == 0.0:
            # As many bytes per 16 rows as tiles of 16 rows and 32 columns take.
            strip = round_up(plan.n_inputs, 32) * names.LOSS_BLOCK * 2
            input_bytes = -(-n_rows // names.LOSS_BLOCK) * strip
            strips = {
                "INPUT_STRIP": strip,
                "GATHER": tiles.gather_strips.address,
                "STRIP_SUM": tiles.sum_of_strips.address,
                "STRIP_GRADIENT": tiles.gradient_of_strips.address,
            }
        self.inputs = aligned_zeros(input_bytes * (1 if input_is_shared else n_threads))
        notes_zeros = tiles is None  # tiles multiply everything
        self.nonzero = aligned_zeros(2 * len(self.inputs) // panels.vector * notes_zeros)
        self.z: list[Array] = []
        self.activated: list[Array] = []
        self.statistics: list[Array] = []
        self.a: list[Array] = []
        self.dz: list[Array] = []
        self.kept: list[Array] = []
        last = len(plan.layers) - 1
        for layer, words in zip(plan.layers, self.layers, strict=True):
            n_bytes = int(words[names.OUT_PANELS]) * stride
            self.z.append(aligned_zeros(n_bytes))
            softmax = layer.activation == SOFTMAX
            in_z = not softmax and (formulas.ACTIVATIONS[layer.activation].derivative_input == "z")
            needs_both = in_z or keeps_everything or (layer.index == last and not has_slopes)
            activated = self.z[-1]
            if layer.normalization is not None:
                activated = aligned_zeros(n_bytes)
                self.normalize(words, n_bytes, keeps_everything)
            self.activated.append(activated)
            self.a.append(aligned_zeros(n_bytes) if needs_both else activated)
            words[names.Z], words[names.A] = address_of(self.z[-1]), address_of(self.a[-1])
            words[names.ACTIVATED] = address_of(activated)
            if has_slopes and layer.index > 0 and plan.dropout[layer.index] > 0.0:
                self.kept.append(aligned_zeros(panels.count(layer.fan_in) * stride))
                words[names.KEPT] = address_of(self.kept[-1])
            if has_slopes:
                self.dz.append(aligned_zeros(n_bytes))
                words[names.DZ] = address_of(self.dz[-1])
            words[names.DERIVED_FROM] = words[names.ACTIVATED if in_z else names.A]
            # The last layer's rows go on to the loss: it is split by outputs only if it is wide.
            enough = n_threads * (4 if layer.index == last else 1)
            words[names.OUTPUTS_ARE_SPLIT] = words[names.OUT_PANELS] >= enough
        at_a_time = (
            self.layers[:, names.TRANSPOSED_PANELS] * self.layers[:, names.TRANSPOSED_STRIDE]
        )
        transposed_bytes = int(at_a_time.max()) if has_slopes else 0
        self.transposed = aligned_zeros(n_threads * transposed_bytes)
        self.block_losses = np.zeros(n_rows // names.LOSS_BLOCK + 1)
        self.reads_flat = True
        self.read(flat=False)
        splits = self.layers[:, names.OUTPUTS_ARE_SPLIT].tolist()
        self.set(
            LAYERS=address_of(self.layers),
            N_THREADS=n_threads,
            INPUT=address_of(self.inputs),
            INPUT_BYTES=input_bytes,
            INPUT_IS_SHARED=input_is_shared,
            NONZERO=address_of(self.nonzero) if notes_zeros else 0,
            TRANSPOSED=address_of(self.transposed),
            TRANSPOSED_BYTES=transposed_bytes,
            STRIDE=stride,
            BLOCK_LOSSES=address_of(self.block_losses),
            BATCHES_TOUCH=input_is_shared or splits != [1, 0],
            USES_RUNNING=not has_slopes,
            **strips,
        )

    def normalize(self, words: Array, n_bytes: int, keeps_z: bool) -> None:
        """Make the memory of a normalised layer."""
        panels = self.panels
        normalized = aligned_zeros(n_bytes) if keeps_z else self.z[-1]
        row_bytes = int(words[names.OUT_PANELS]) * panels.vector
        of_factor = max(row_bytes, round_up(self.n_rows, names.LOSS_BLOCK) * panels.size)
        statistics = aligned_zeros(4 * row_bytes + of_factor)
        self.statistics += [normalized, statistics]
        words[names.NORMALIZED] = address_of(normalized)
        start = address_of(statistics)
        words[names.MEAN], words[names.VARIANCE] = start, start + row_bytes
        words[names.VECTOR_GRADIENTS] = start + 2 * row_bytes
        words[names.FACTOR] = start + 4 * row_bytes

    def set(self, **words: int) -> None:
        set_words(self.call, words)

    def read(self, *, flat: bool) -> None:
        """Let the way forward read the packed parameters.

        Or, where a row of weights is whole vectors, the flat vector itself: the other layers must
        be packed.
        """
        if flat == self.reads_flat:
            return
        self.reads_flat = flat
        for words in self.layers:
            is_flat = flat and words[names.FAN_OUT] % self.panels.lanes == 0
            words[names.IS_READ_FLAT] = is_flat
            if is_flat:
                words[names.W] = self.call[names.FLAT_PARAMETERS] + words[names.FLAT]
                words[names.W_STRIDE] = self.panels.vector
                words[names.W_STEP] = words[names.FAN_OUT] * self.panels.size
            else:
                words[names.W] = self.call[names.PARAMETERS] + words[names.PACKED]
                words[names.W_STRIDE] = words[names.PACKED_STRIDE]
                words[names.W_STEP] = self.panels.vector

    def describe(
        self,
        x: Array | SparseMatrix,
        targets: Array | None,
        sample_weight: Array | None,
        order: Array,
        n_rows: int,
        loss_sums: Array | None,
        out: Array | None,
    ) -> None:
        """Write what a call is about. The arrays must stay alive, and be contiguous but for x."""
        if isinstance(x, SparseMatrix):
            x_type = x.values.dtype.name
            rows = (address_of(x.values), 0, 0, 0, address_of(x.starts), address_of(x.columns))
        else:
            x_type = x.dtype.name
            rows = (address_of(x), *x.strides, X_TYPES[x_type], 0, 0)
        self.call[names.X : names.OUT + 1] = (
            *rows,
            *self.parameters.input_words[x_type],
            address_of(targets),
            address_of(sample_weight),
            address_of(order),
            n_rows,
            address_of(loss_sums),
            address_of(out),
        )
