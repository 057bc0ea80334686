"""Write and load the modules that the `numba` backend compiles.

A module's text is the formulas that it needs and functions of `numba_kernels`. It is kept as a file
in the user's cache, because Numba keeps compiled code only for functions that come from a file: the
second time nothing is compiled. There is a module for the batches, and one per activation, loss and
optimizer, so that a new combination of known parts compiles nothing either.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import inspect
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from . import formulas, numba_intrinsics, numba_kernels
from .cache_folder import cache_folder
from .numba_cpu import Cpu
from .subset import formula_trees

SOFTMAX = "softmax"


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
POWER_OF_TWO_NUMBERS: dict[str, dict[str, object]] = {
    "float32": {"shifter": 1.5 * 2.0**23, "integer": "int32", "bias": 127, "mantissa": 23},
    "float64": {"shifter": 1.5 * 2.0**52, "integer": "int64", "bias": 1023, "mantissa": 52},
}

PRELUDE = '''"""Written by fastmlp for {cpu}, {precision}; do not edit."""

from __future__ import annotations

import math

import numpy as np
from numba import cfunc, njit, types

from {package}.numba_intrinsics import call_address, pointer_to, product_tile

real = np.{precision}
reals = pointer_to("{precision}")
float32s = pointer_to("float32")
float64s = pointer_to("float64")
uint8s = pointer_to("uint8")
int64s = pointer_to("int64")
formula = njit(error_model="numpy", forceinline=True)
compiled = njit(cache=True, nogil=True, error_model="numpy")


def exported(function):
    signature = types.void(*[types.intp] * function.__code__.co_argcount)
    return cfunc(signature, cache=True, error_model="numpy")(function)


@formula
def sqrt(x):
    return math.sqrt(x)

'''

TILES = """
tile_full = product_tile("{precision}", TILE_ROWS, TILE_VECTORS, LANES)
tile_full_row = product_tile("{precision}", 1, TILE_VECTORS, LANES)
tile_narrow = product_tile("{precision}", TILE_ROWS, 1, LANES)
tile_narrow_row = product_tile("{precision}", 1, 1, LANES)


"""

ACTIVATION = """
@exported
def activate(z, a, n_rows, stride, n_columns):
    z, a = reals(z), reals(a)
    for i in range(n_rows * stride):
        a[i] = {value}(z[i])


@exported
def differentiate(derived_from, dz, n):
    derived_from, dz = reals(derived_from), reals(dz)
    for i in range(n):
        dz[i] = dz[i] * {derivative}(derived_from[i])
"""

EXPONENT = """
@formula
def exponent(x):
    return real((real(x).view(np.{integer}) >> np.{integer}({mantissa})) - np.{integer}({bias}))

"""

LOSS = """
@formula
def loss_value(taken, y, parameters, k, n_outputs):
    return {value}(taken, y{parameters})


@formula
def loss_slope(taken, y, parameters, k, n_outputs):
    return {slope}(taken, y{parameters})


targets_at = pointer_to("{targets}")


@formula
def target_of(targets, row, output, n_outputs):
    return {target}


"""
LABEL = "real(1.0) if targets[row] == output else real(0.0)"
VALUE = "targets[row * n_outputs + output]"


def lanes_of(precision: str, cpu: Cpu) -> int:
    """Return how many numbers a vector register holds."""
    return cpu.vector_bits // (32 if precision == "float32" else 64)


def _prelude(precision: str, cpu: Cpu, functions: Iterable[Callable[..., Any]]) -> str:
    """Return the start of every module: the names that it needs, then the formulas."""
    constants: dict[str, object] = {
        name: value for name, value in vars(numba_kernels).items() if name.isupper()
    }
    constants["SIZE"] = 4 if precision == "float32" else 8
    constants["LANES"] = lanes_of(precision, cpu)
    constants["TILE_ROWS"] = 8 if cpu.n_registers >= 32 else 4
    constants["TILE_VECTORS"] = 2
    numbers = POWER_OF_TWO_NUMBERS[precision]
    trees = formula_trees(formulas, functions, precision)
    return "".join(
        [
            PRELUDE.format(cpu=cpu.name, precision=precision, package=__package__),
            *(f"{name} = {value}\n" for name, value in constants.items()),
            "\n",
            POWER_OF_TWO.format(precision=precision, **numbers),
            EXPONENT.format(**numbers),
            *(write_formula(tree) for tree in trees.values()),
        ]
    )


def _sources(*functions: Callable[..., Any]) -> str:
    return "\n\n".join(map(inspect.getsource, functions))


@cache
def load_batches(precision: str, cpu: Cpu) -> ModuleType:
    """Return the module of `run_batches`, which is the same for all plans of a precision."""
    k = numba_kernels
    text = _sources(
        k.add_product,
        k.gather_row,
        k.fill,
        k.copy_rows,
        k.transpose,
        k.weighted_sum,
        k.weight_gradient,
        k.input_gradient,
        k.weigh_rows,
        k.run_batches,
    )
    return load_module(_prelude(precision, cpu, ()) + TILES.format(precision=precision) + text)


@cache
def load_activation(name: str, precision: str, cpu: Cpu) -> ModuleType:
    """Return a module with `activate` and `differentiate`; for "softmax" without the latter."""
    if name == SOFTMAX:
        text = _sources(numba_kernels.exponentials, numba_kernels.softmax_rows)
        text += "\n\nactivate = softmax_rows\n"
        return load_module(_prelude(precision, cpu, [formulas.exp]) + text)
    formula = formulas.ACTIVATIONS[name]
    text = ACTIVATION.format(value=formula.value.__name__, derivative=formula.derivative.__name__)
    return load_module(_prelude(precision, cpu, [formula.value, formula.derivative]) + text)


@cache
def load_loss(name: str, targets_are_labels: bool, precision: str, cpu: Cpu) -> ModuleType:
    """Return a module with `loss_rows`."""
    loss = formulas.LOSSES[name]
    names = LOSS.format(
        value=loss.value.__name__,
        slope=loss.slope.__name__,
        parameters="".join(
            f", parameters[{i} * n_outputs + k]" for i in range(len(loss.parameters))
        ),
        targets="int32" if targets_are_labels else precision,
        target=LABEL if targets_are_labels else VALUE,
    )
    if loss.of == "logits":
        text = _sources(numba_kernels.loss_of_logits_rows)
    else:
        text = _sources(numba_kernels.exponentials, numba_kernels.loss_of_log_softmax_rows)
    text += f"\n\nloss_rows = loss_of_{loss.of}_rows\n"
    functions = [formulas.exp, loss.value, loss.slope]
    return load_module(_prelude(precision, cpu, functions) + names + text)


@cache
def load_optimizer(name: str, precision: str, cpu: Cpu) -> ModuleType:
    """Return a module with `update`."""
    optimizer = formulas.OPTIMIZERS[name]
    text = _prelude(precision, cpu, [optimizer.update]) + _write_update(optimizer)
    return load_module(text)


def _write_update(optimizer: formulas.Optimizer) -> str:
    """Return `update`: the loop over all parameters."""
    coefficients = [f"c_{i}" for i in range(optimizer.n_coefficients)]
    lines = ["@exported", "def update(w, g, state, coefficients, n):"]
    lines += [
        f"    {name} = reals(state + {i} * n * SIZE)" for i, name in enumerate(optimizer.states)
    ]
    lines += ["    w, g, coefficients = reals(w), reals(g), float64s(coefficients)"]
    lines += [f"    {name} = real(coefficients[{i}])" for i, name in enumerate(coefficients)]
    changed = ["w[i]", *(f"{name}[i]" for name in optimizer.states)]
    arguments = ", ".join([changed[0], "g[i]", *changed[1:], *coefficients])
    results = ", ".join(changed) + ("," if len(changed) == 1 else "")
    lines.append("    for i in range(n):")
    lines.append(f"        {results} = {optimizer.update.__name__}({arguments})")
    return "\n".join(lines) + "\n"


def load_module(text: str) -> ModuleType:
    """Return the module of this text, from the cache if it is there."""
    # Compiled code depends on these too; Numba itself looks at the module's file alone.
    versions = (
        importlib.metadata.version("numba"),
        sys.version,
        inspect.getsource(numba_intrinsics),
    )
    key = hashlib.sha256("\0".join((text, *versions)).encode()).hexdigest()[:24]
    name = f"fastmlp_numba_{key}"
    path = write_module(text, key)
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # compiled code is looked up by its module's name
    specification.loader.exec_module(module)
    return module


def write_module(text: str, key: str) -> Path:
    """Keep `text` under `key` in the user's cache, or in a temporary folder; return its path."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home
        return _write_once(cache_folder() / "numba" / key, text)
    return _write_once(_temporary_folder() / key, text)


@cache
def _temporary_folder() -> Path:
    """Return a new folder of this process's own: a shared name could be somebody else's."""
    return Path(tempfile.mkdtemp(prefix="fastmlp_numba_"))


def _write_once(folder: Path, text: str) -> Path:
    """Write the file unless it is there with this text; other processes may do the same."""
    path = folder / "kernels.py"
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):  # then Numba could keep nothing beside it
        raise PermissionError(f"{folder} is not writable")
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if path.read_text(encoding="utf-8") == text:
            return path
    number, temporary = tempfile.mkstemp(suffix=".tmp", dir=folder)
    try:
        with os.fdopen(number, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return path
