"""Write the modules that the `numba` backend compiles.

A module's text is the formulas that it needs and functions of the templates (`numba_names`). There
is a module for products, one for batches, and one per activation, loss and optimizer, so that a new
combination of known parts compiles nothing. `numba_cache` keeps them, and `numba_ahead` has some of
them compiled at the same time.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable
from functools import cache
from types import ModuleType
from typing import Any

from . import (
    formulas,
    numba_amx,
    numba_batches,
    numba_bfloat16,
    numba_losses,
    numba_names,
    numba_normalization,
    numba_orthogonal,
    numba_panels,
    numba_products,
    numba_regularization,
    numba_sparse,
)
from .numba_ahead import compile_ahead, load_module
from .numba_cpu import Cpu, multiplies_pairs
from .numba_linking import LinkedModule
from .numba_memory import SOFTMAX, packed_panels
from .subset import formula_trees


class _WrapConstants(ast.NodeTransformer):
    """Give every constant the plan's real type: Numba takes a literal for a float64."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        name = ast.Name("real", ast.Load())
        return ast.Call(name, [ast.Constant(float(node.value))], [])  # type: ignore[arg-type]


def write_formula(tree: ast.FunctionDef) -> str:
    """Return the text of one formula, its constants wrapped, without its docstring."""
    if isinstance(tree.body[0], ast.Expr):
        tree.body = tree.body[1:]
    tree.decorator_list = [ast.Name("formula", ast.Load())]
    return ast.unparse(ast.fix_missing_locations(_WrapConstants().visit(tree))) + "\n\n"


# Adding 1.5 * 2**(mantissa bits) puts an integer into the lowest bits of a number: no conversion,
# which AVX2 lacks for 64 bits, and nothing undefined for a NaN.
POWER_OF_TWO = """
@formula
def power_of_two(n):
    bits = np.{precision}(n + real({shifter!r})).view(np.{integer})
    shifted = np.{integer}((bits + np.{integer}({bias})) << np.{integer}({mantissa}))
    return shifted.view(np.{precision})

"""
POWER_OF_TWO_NUMBERS: dict[str, dict[str, Any]] = {
    "float32": {"shifter": 1.5 * 2.0**23, "integer": "int32", "bias": 127, "mantissa": 23},
    "float64": {"shifter": 1.5 * 2.0**52, "integer": "int64", "bias": 1023, "mantissa": 52},
}

EXPONENT = """
@formula
def exponent(x):
    return real((real(x).view(np.{integer}) >> np.{integer}({mantissa})) - np.{integer}({bias}))

"""

PRELUDE = '''"""Written by fastmlp for {cpu}, {precision}; do not edit."""

from __future__ import annotations

import math

import numpy as np
from numba import cfunc, njit, types

from {package} import formulas
from {package} import numba_amx_tiles as amx, numba_intrinsics as intrinsics
from {package} import numba_lanes as lanes, numba_tiles as tiles

real, plain = np.{precision}, np.int64
reals = intrinsics.pointer_to("{precision}")
float32s = intrinsics.pointer_to("float32")
float64s = intrinsics.pointer_to("float64")
uint8s = intrinsics.pointer_to("uint8")
int64s = intrinsics.pointer_to("int64")
uint16s = intrinsics.pointer_to("uint16")
bits = intrinsics.pointer_to("{integer}")
call_address = intrinsics.call_address
formula = inlined = njit(
    error_model="numpy", forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True
)
compiled = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


def exported(function):
    signature = types.void(*[types.intp] * function.__code__.co_argcount)
    return cfunc(signature, error_model="numpy")(function)


@formula
def sqrt(x):
    return math.sqrt(x)

'''

PANELS_OF_ROWS = """
copy_vector = intrinsics.vector_copy("{precision}", LANES)
convert_float64s = intrinsics.vector_conversion("float64", "{precision}", LANES)
convert_float32s = intrinsics.vector_conversion("float32", "{precision}", LANES)
convert_uint8s = intrinsics.vector_conversion("uint8", "{precision}", LANES)
prefetch = intrinsics.prefetch
nonzero_lanes = intrinsics.vector_nonzeros("{precision}", LANES)
coefficient_memory = intrinsics.address_for("{precision}", MAX_COEFFICIENTS)


"""

PRODUCTS = """
transpose_vectors = intrinsics.vector_transpose("{precision}", LANES)
gradient_memory = intrinsics.address_for(
    "{precision}",
    max(GRADIENT_ROWS * GRADIENT_PANELS, LISTED_INPUTS * LISTED_INPUT_PANELS) * LANES,
)
memory_of_depths = intrinsics.block_for(
    "int64", BLOCK_BYTES // (BLOCK_DEPTH * SIZE) // LISTED_ROWS + 1
)
memory_of_packed = intrinsics.block_for("{precision}", 2 * BLOCK_BYTES // SIZE)
# The numbers of a step lie side by side, the next step's behind them.
packed_tile = tiles.register_tiles(
    "{precision}",
    LANES,
    tiles.TileKind("packed_tile", SIZE, 0, 1),
    [(TILE_ROWS - less, panel) for less in (1, 0) for panel in (1, 2) if PACKED_PANELS],
)


"""

ZEROS = """
prefetch = intrinsics.prefetch
nonzero_rows = intrinsics.rows_with_lanes(LANES)
add_steps = intrinsics.list_of_lanes(LANES)
memory_of_lists = intrinsics.block_for("int64", LISTED_STEPS + LANES)


"""

TILES = """
# Rows of a panel lie VECTOR apart, their numbers side by side.
sum_tile = tiles.register_tiles(
    "{precision}",
    LANES,
    tiles.TileKind("sum_tile", VECTOR, LANES, PAIR),
    sorted(
        {{(row + 1, panel) for row in range(TILE_ROWS) for panel in (1, 2)}}
        | {{(1, WIDE_PANELS), (LISTED_ROWS - 1, LISTED_PANELS), (LISTED_ROWS, LISTED_PANELS)}}
    ),
)
gradient_tile = tiles.register_tiles(
    "{precision}",
    LANES,
    tiles.TileKind("gradient_tile", SIZE, 0, PAIR),
    sorted(
        {{(row + 1, panel) for row in range(min(GRADIENT_ROWS, LANES)) for panel in (1, 2)}}
        | {{(min(LISTED_INPUTS, LANES), LISTED_INPUT_PANELS)}}
        | {{(min(GRADIENT_ROWS, LANES), GRADIENT_PANELS)}}
    ),
)


"""

BFLOAT16 = """
PAIR = {pair}
round_vector = lanes.vector_rounding(LANES)
pair_rows, pair_columns = lanes.vector_pairing(LANES)
nonzero_numbers = lanes.nonzero_bits(LANES)
memory_of_zeros = intrinsics.address_for("float32", LANES)
# Of rounded numbers, one row more than there are: see `bfloat16_sum`.
memory_of_rows = intrinsics.block_for("float32", (SUM_ROWS * PAIR + 1) * SUM_DEPTH // PAIR)
memory_of_weights = intrinsics.block_for("float32", LISTED_PANELS * SUM_DEPTH // PAIR * LANES)
memory_of_nonzeros = intrinsics.block_for(
    "uint16",
    max((LISTED_BLOCK_ROWS * PAIR + 1) * SUM_DEPTH // LANES, GRADIENT_DEPTH) // PAIR + LANES,
)
memory_of_inputs = intrinsics.block_for("float32", GRADIENT_DEPTH // PAIR * LANES)
memory_of_slopes = intrinsics.block_for("float32", GRADIENT_VALUES)
memory_of_gradients = intrinsics.block_for("float32", ROUNDED_PANELS * LANES * LANES)
memory_of_depths = intrinsics.block_for("int64", LISTED_BLOCK_ROWS * PAIR // LISTED_ROWS + 1)


"""

AMX = """
configure_tiles, release_tiles, zero_tile = amx.configure, amx.release, amx.zero
load_tile, load_tile_once = amx.load, amx.load_once
store_tile, multiply_tiles = amx.store, amx.multiply
pair_rows, pair_columns = lanes.vector_pairing(LANES)
pair_rounded = lanes.pairs_of_rounded_rows()
transpose_vectors = intrinsics.vector_transpose("float32", LANES)
memory_of_tile_shapes = intrinsics.address_for("uint8", 64)
memory_of_zeros = intrinsics.address_for("float32", LANES)
memory_of_pairs = intrinsics.block_for("uint8", 2 * TILE_BYTES)
memory_of_columns = intrinsics.address_for("float32", PIECE_COLUMNS)
memory_of_sums = intrinsics.block_for("uint8", 4 * TILE_BYTES)
memory_of_rows = intrinsics.block_for("uint8", SUM_ROWS * TILE_SUM_DEPTH * 2)
memory_of_weights = intrinsics.block_for("uint8", 2 * LANES * TILE_SUM_DEPTH * 2)
memory_of_inputs = intrinsics.block_for("uint8", 2 * LANES * GRADIENT_DEPTH * 2)
memory_of_slopes = intrinsics.block_for("uint8", TILE_GRADIENT_BYTES)
memory_of_gradients = intrinsics.block_for(
    "uint8", TILE_GRADIENT_BYTES // (GRADIENT_DEPTH // TILE_DEPTH) * 2
)


"""

MEETINGS = """
pause, give_way = intrinsics.pause, intrinsics.give_way
add_one, read_shared = intrinsics.add_one, intrinsics.read_shared


"""

REGULARIZATION = """
copy_vector = intrinsics.vector_copy("{precision}", LANES)
memory_of_counters = intrinsics.block_for("int64", LOSS_BLOCK * LANES)
sums_of_lanes = intrinsics.memory_for("float64", LANES)


"""

NORMALIZATION = """
normalize_vector = lanes.vector_formula(formulas.normalized, "{precision}", LANES)
scale_vector = lanes.vector_formula(formulas.scaled_and_shifted, "{precision}", LANES)
slope_of_vector = lanes.vector_formula(formulas.normalization_slope, "{precision}", LANES)
multiply_vectors = lanes.vector_formula(lanes.product, "{precision}", LANES)
add_vector = lanes.vector_sum(lanes.itself, ["{precision}"], LANES)
add_product = lanes.vector_sum(lanes.product, ["{precision}"] * 2, LANES)
add_square = lanes.vector_sum(lanes.square_of_rest, ["{precision}", "float64"], LANES)
moved = lanes.moved
sums_of_lanes = intrinsics.memory_for("float64", LANES)
sums_of_rows = intrinsics.memory_for("float64", LOSS_BLOCK * LANES)
numbers_of_rows = intrinsics.memory_for("float64", LOSS_BLOCK)
vectors_of_rows = intrinsics.address_for("{precision}", LOSS_BLOCK * LANES)
doubles_of_rows = intrinsics.address_for("float64", LOSS_BLOCK * LANES)


"""

SPARSE = """
int32s = intrinsics.pointer_to("int32")


@formula
def bits_of_real(number):
    return np.int64(real(number).view(np.{integer}))


"""
PANELS = """
load_{name}, store_{name}, add_{name}, scatter_{name} = intrinsics.vector_group(
    "{precision}", LANES, {count}
)
memory_of_{name} = intrinsics.memory_for("{precision}", {count} * LANES)


"""

ACTIVATION = """
@exported
def activate(z, a, stride, n, panels, groups):
    if a != z:
        for panel in range(panels):
            source, to = reals(z + panel * stride), reals(a + panel * stride)
            for i in range(n):
                to[i] = source[i]
    for panel in range(panels):  # in place: LLVM need not fear that two arrays overlap
        numbers = reals(a + panel * stride)
        for i in range(n):
            numbers[i] = {value}(numbers[i])


@exported
def differentiate(derived_from, dz, stride, n, panels):
    for panel in range(panels):
        source, slopes = reals(derived_from + panel * stride), reals(dz + panel * stride)
        for i in range(n):
            slopes[i] = slopes[i] * {derivative}(source[i])
"""

LOSS = """
@formula
def loss_value(taken, y, parameters, k, n_outputs):
    return {value}(taken, y{parameters})


@formula
def loss_slope(taken, y, parameters, k, n_outputs):
    return {slope}(taken, y{parameters})


targets_at = intrinsics.pointer_to("{targets}")
"""

LOSS_BLOCKS = """
block_of_reals = intrinsics.memory_for("{precision}", LOSS_BLOCK)
block_of_int64s = intrinsics.memory_for("int64", LOSS_BLOCK)
columns_memory = intrinsics.address_for("{precision}", LANES * LOSS_BLOCK)
transpose_vectors = intrinsics.vector_transpose("{precision}", LANES)


"""

TARGET = """
@formula
def place_of(targets, row, n_outputs, n_groups, group, begin):
    return {place}


@formula
def target_of(targets, place, output):
    return {target}


"""
LABEL = {
    "place": "np.int64(targets[row * n_groups + group]) + begin",
    "target": "real(1.0) if place == output else real(0.0)",
}
VALUE = {"place": "row * n_outputs", "target": "targets[place + output]"}


TEMPLATES = (
    *(numba_names, numba_products, numba_panels, numba_batches, numba_sparse),
    numba_orthogonal,
    *(numba_bfloat16, numba_amx),
)
"""The modules whose constants the generated ones begin with: no two may differ in one."""


def lanes_of(precision: str, cpu: Cpu) -> int:
    """Return how many numbers a vector register holds."""
    return cpu.vector_bits // (32 if precision == "float32" else 64)


def _prelude(precision: str, cpu: Cpu, functions: Iterable[Callable[..., Any]]) -> str:
    """Return the start of every module: the names that it needs, then the formulas."""
    constants: dict[str, Any] = {}
    for template in TEMPLATES:
        constants |= {name: value for name, value in vars(template).items() if name.isupper()}
    constants["SIZE"] = 4 if precision == "float32" else 8
    constants["LANES"] = lanes_of(precision, cpu)
    constants["VECTOR"] = cpu.vector_bits // 8
    numbers = POWER_OF_TWO_NUMBERS[precision]
    constants["LARGEST_BITS"] = (1 << (8 * constants["SIZE"] - 1)) - 1
    constants["INFINITE_BITS"] = (2 * numbers["bias"] + 1) << numbers["mantissa"]
    # Sizes of tiles as in native/tile_real.h: as many sums as fit the registers. With lists lower
    # and wider, where that fits: the fewer values of a, the more steps have zeros alone.
    if cpu.n_registers >= 32:
        constants |= {"TILE_ROWS": 13, "GRADIENT_ROWS": 8, "GRADIENT_PANELS": 2}
        constants |= {"LISTED_ROWS": 4, "LISTED_PANELS": 4}
        constants |= {"LISTED_INPUTS": 4, "LISTED_INPUT_PANELS": 4}
    else:
        constants |= {"TILE_ROWS": 6, "GRADIENT_ROWS": 4, "GRADIENT_PANELS": 3}
        constants |= {"LISTED_ROWS": 6, "LISTED_PANELS": 2}
        constants |= {"LISTED_INPUTS": 4, "LISTED_INPUT_PANELS": 3}
    constants["PACKED_PANELS"] = packed_panels(constants["VECTOR"])
    trees = formula_trees(formulas, functions, precision)
    return "".join(
        [
            PRELUDE.format(cpu=cpu.name, precision=precision, package=__package__, **numbers),
            *(f"{name} = {value}\n" for name, value in constants.items()),
            "\n",
            POWER_OF_TWO.format(precision=precision, **numbers),
            EXPONENT.format(**numbers),
            *(write_formula(tree) for tree in trees.values()),
        ]
    )


def _text_of(*functions: Callable[..., Any]) -> str:
    return "\n\n".join(map(_source_of, functions))


def _source_of(function: Callable[..., Any]) -> str:
    """Return what inspect.getsource does, but that one looks at every token, which takes longer."""
    lines, first = inspect.findsource(function)
    last = next(i for i in range(first, len(lines)) if lines[i].startswith("def "))
    end = last + 1
    while end < len(lines) and lines[end][0] in " )\n":  # only the next thing begins at the margin
        end += 1
    return "".join(lines[first:end]).rstrip("\n") + "\n"


def _functions_of(template: ModuleType) -> list[Callable[..., Any]]:
    """Return what a module defines, in order."""
    return [
        value
        for value in vars(template).values()
        if inspect.isfunction(value) and value.__module__ == template.__name__
    ]


@cache
def start_compiling(
    loss: str, targets_are_labels: bool, precision: str, cpu: Cpu, n_threads: int
) -> None:
    """Start to compile what takes long: the products, which are asked for first, are left."""
    texts = (products_text(precision, cpu), batches_text(precision, cpu))
    compile_ahead((*texts, loss_text(loss, targets_are_labels, precision, cpu)), n_threads)


@cache
def products_text(precision: str, cpu: Cpu) -> str:
    """Return the module of the matrix products, the same for all plans of a precision."""
    names = (PRODUCTS + ZEROS + TILES).format(precision=precision)
    text = _text_of(*_functions_of(numba_products))
    return _prelude(precision, cpu, ()) + names + text


@cache
def load_products(precision: str, cpu: Cpu) -> LinkedModule:
    """Return the module of `products_text`."""
    return load_module(products_text(precision, cpu))


@cache
def batches_text(precision: str, cpu: Cpu) -> str:
    """Return the module of panels and batches, the same for all plans of a precision."""
    names = PANELS_OF_ROWS.format(precision=precision) + MEETINGS
    text = _text_of(*_functions_of(numba_panels), *_functions_of(numba_batches))
    return _prelude(precision, cpu, [formulas.scaled_input]) + names + text


@cache
def load_batches(precision: str, cpu: Cpu) -> LinkedModule:
    """Return the module of `batches_text`."""
    return load_module(batches_text(precision, cpu))


@cache
def load_bfloat16(cpu: Cpu) -> LinkedModule:
    """Return a module with `bfloat16_sum` and `bfloat16_gradient`."""
    names = BFLOAT16.format(pair=2 if multiplies_pairs(cpu) else 1)
    names += (ZEROS + TILES).format(precision="float32")
    k = numba_products
    text = _text_of(
        *(k.some_lanes, k.panels_of_tile, k.has_many_zeros, k.list_inputs),
        *(k.list_rows, k.fetch_weights, *_functions_of(numba_bfloat16)),
    )
    return load_module(_prelude("float32", cpu, ()) + names + text)


@cache
def load_amx(cpu: Cpu) -> LinkedModule:
    """Return the same by the tiles of AMX: for a CPU with vectors of 512 bits that has them."""
    p = numba_panels
    of_rows: list[Callable[..., Any]] = [p.convert_columns, p.row_ahead, p.fetch_columns]
    text = _text_of(*of_rows, *_functions_of(numba_amx))
    names = PANELS_OF_ROWS.format(precision="float32") + AMX
    return load_module(_prelude("float32", cpu, [formulas.scaled_input]) + names + text)


@cache
def load_dropout(precision: str, cpu: Cpu) -> LinkedModule:
    """Return a module with `drop`."""
    text = "@formula\n" + _text_of(formulas.random_bits, numba_regularization.drop)
    names = REGULARIZATION.format(precision=precision)
    return load_module(_prelude(precision, cpu, ()) + names + text)


@cache
def load_normalization(kind: str, precision: str, cpu: Cpu) -> LinkedModule:
    """Return a module with `normalize` and `normalize_slopes`, for a batch with two more.

    These are `update_running` and `load_running`.
    """
    of_batches, k = numba_batches, numba_normalization
    text = _text_of(
        *(numba_panels.share, of_batches.meet, of_batches.layer_of, of_batches.share_rows),
        *(k.gamma_of, k.clear, k.sum_slopes),
    )
    of_kind: tuple[Callable[..., Any], ...]
    if kind == "batch":
        of_kind = (k.normalize_columns, k.slopes_of_columns, k.update_running, k.load_running)
    else:
        of_kind = (k.means_of_rows, k.spread_doubles, k.spread, k.normalize_rows, k.slopes_of_rows)
    text += "\n\n" + _text_of(*of_kind)
    lines = "columns" if kind == "batch" else "rows"
    text += f"\n\nnormalize, normalize_slopes = normalize_{lines}, slopes_of_{lines}\n"
    names = MEETINGS + NORMALIZATION.format(precision=precision)
    return load_module(_prelude(precision, cpu, formulas.NORMALIZATION_FORMULAS) + names + text)


@cache
def load_sparse(precision: str, cpu: Cpu) -> LinkedModule:
    """Return a module with `look_at_stored`, `sparse_sum` and `sparse_gradient`."""
    k = numba_sparse
    text = SPARSE.format(**POWER_OF_TWO_NUMBERS[precision])
    text += "@formula\n" + _text_of(formulas.random_bits, numba_batches.layer_of, k.kept, k.stored)
    of_four = "\n\n" + _text_of(k.sum_of_four, k.gradient_of_four) + "\n\n"
    for name, count in (("one", 1), ("four", k.PANELS_AT_ONCE)):
        text += PANELS.format(name=name, count=count, precision=precision)
        text += of_four.replace("_four", f"_{name}")
    text += _text_of(k.look_at_stored, k.sparse_sum, k.sparse_gradient)
    return load_module(_prelude(precision, cpu, [formulas.scaled_input]) + text)


@cache
def load_limits(precision: str, cpu: Cpu) -> LinkedModule:
    """Return a module with `adjust` and `update_whole`."""
    k = numba_regularization
    text = _text_of(numba_panels.share, numba_batches.meet, numba_batches.layer_of)
    text += "\n\n" + _text_of(k.adjust, k.sum_of_squares, k.scale, k.limit_norm, k.update_whole)
    names = REGULARIZATION.format(precision=precision) + MEETINGS
    return load_module(_prelude(precision, cpu, [formulas.adjusted_gradient]) + names + text)


@cache
def load_orthogonal(precision: str, cpu: Cpu) -> LinkedModule:
    """Return a module with `find_direction` and `orthogonalize_alone`."""
    k = numba_regularization
    text = _text_of(numba_panels.share, numba_batches.meet, numba_batches.layer_of)
    text += "\n\n" + _text_of(k.sum_of_squares, k.scale, *_functions_of(numba_orthogonal))
    names = REGULARIZATION.format(precision=precision) + MEETINGS
    return load_module(_prelude(precision, cpu, [formulas.gram_polynomial]) + names + text)


@cache
def load_activation(name: str, precision: str, cpu: Cpu) -> LinkedModule:
    """Return a module with `activate` and `differentiate`; for "softmax" without the latter."""
    if name == SOFTMAX:
        k = numba_losses
        of_blocks = (k.lanes_for, k.load_panel, k.store_panel, k.column_of, k.store_complete)
        text = _text_of(*of_blocks, k.load_next, k.shift_and_sum, k.softmax_rows)
        text = LOSS_BLOCKS.format(precision=precision) + text + "\n\nactivate = softmax_rows\n"
        return load_module(_prelude(precision, cpu, [formulas.exp]) + text)
    formula = formulas.ACTIVATIONS[name]
    text = ACTIVATION.format(value=formula.value.__name__, derivative=formula.derivative.__name__)
    return load_module(_prelude(precision, cpu, [formula.value, formula.derivative]) + text)


@cache
def load_loss(name: str, targets_are_labels: bool, precision: str, cpu: Cpu) -> LinkedModule:
    """Return the module of `loss_text`."""
    return load_module(loss_text(name, targets_are_labels, precision, cpu))


@cache
def loss_text(name: str, targets_are_labels: bool, precision: str, cpu: Cpu) -> str:
    """Return a module with `loss_rows`."""
    loss, k = formulas.LOSSES[name], numba_losses
    text = LOSS.format(
        value=loss.value.__name__,
        slope=loss.slope.__name__,
        parameters="".join(
            f", parameters[{i} * n_outputs + k]" for i in range(len(loss.parameters))
        ),
        targets="int32" if targets_are_labels else precision,
    )
    text += LOSS_BLOCKS.format(precision=precision)
    text += TARGET.format(**(LABEL if targets_are_labels else VALUE))
    text += _text_of(k.lanes_for, k.load_panel, k.store_panel, k.column_of)
    text += "\n\n" + _text_of(k.load_block, k.load_places, k.store_complete, k.store_losses)
    if loss.of == "logits":
        text += "\n\n" + _text_of(k.loss_of_logits_rows)
    else:
        text += "\n\n" + _text_of(k.load_next, k.shift_and_sum, k.loss_of_log_softmax_rows)
    text += f"\n\nloss_rows = loss_of_{loss.of}_rows\n"
    return _prelude(precision, cpu, [formulas.exp, formulas.log, loss.value, loss.slope]) + text


@cache
def load_optimizer(name: str, precision: str, cpu: Cpu) -> LinkedModule:
    """Return a module with `update`, of a step of ``formulas.STEPS``."""
    step = formulas.STEPS[name]
    text = _prelude(precision, cpu, [step.update]) + _write_update(step)
    return load_module(text)


def _write_update(optimizer: formulas.Step) -> str:
    """Return `update`: the loop over some parameters; a state lies `state_stride` after another."""
    coefficients = [f"c_{i}" for i in range(optimizer.n_coefficients)]
    lines = ["@exported", "def update(w, g, state, state_stride, coefficients, n):"]
    lines += [
        f"    {name} = reals(state + {i} * state_stride)" for i, name in enumerate(optimizer.states)
    ]
    lines += ["    w, g, coefficients = reals(w), reals(g), reals(coefficients)"]
    lines += [f"    {name} = coefficients[{i}]" for i, name in enumerate(coefficients)]
    changed = ["w[i]", *(f"{name}[i]" for name in optimizer.states)]
    arguments = ", ".join([changed[0], "g[i]", *changed[1:], *coefficients])
    results = ", ".join(changed) + ("," if len(changed) == 1 else "")
    lines.append("    for i in range(n):")
    lines.append(f"        {results} = {optimizer.update.__name__}({arguments})")
    return "\n".join(lines) + "\n"
