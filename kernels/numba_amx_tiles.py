"""The instructions of AMX: intrinsics on tile registers, which are named by constants.

A tile is a matrix in a register, of up to 16 rows of 64 bytes; there are eight.

They are written as assembly, which LLVM leaves as it is. It has intrinsics for them, too
(`llvm.x86.tdpbf16ps`), but takes the tiles that they name for registers it may rename: compiled for
Zen 3, an unrolled loop had tile 1 in the place of tile 6, which is of another shape. LLVM ends the
process if the target that Numba compiles for has no AMX: see `numba_amx_check`.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import types as numba_types
from numba.extending import intrinsic

types: Any = numba_types  # Numba has type hints in places only


def _write(builder: Any, text: str, *numbers: Any) -> None:
    """Write an instruction whose operands $0, $1 are these numbers, in its place in the order."""
    llvm.initialize_native_asmparser()  # without a parser LLVM ends the process, too
    kind = ir.FunctionType(ir.VoidType(), [each.type for each in numbers])
    constraints = ",".join(["r"] * len(numbers) + ["~{memory}"])
    builder.call(ir.InlineAsm(kind, text, constraints, side_effect=True), numbers)


def _name(tile: Any) -> str:
    return f"%tmm{tile.literal_value}"


def _configure(typing_context, configuration):  # type: ignore[no-untyped-def]
    """Take the 64 bytes at an address: how many rows of how many bytes each tile has."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        _write(builder, "ldtilecfg ($0)", arguments[0])
        return context.get_dummy_value()

    return types.void(types.intp), generate


def _release(typing_context):  # type: ignore[no-untyped-def]
    """Give all tiles back: the thread has no state of them any more."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        _write(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), generate


def _zero(typing_context, tile):  # type: ignore[no-untyped-def]
    """Fill a tile with zeros."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        _write(builder, f"tilezero {_name(tile)}")
        return context.get_dummy_value()

    return types.void(tile), generate


def _load(typing_context, tile, source, step):  # type: ignore[no-untyped-def]
    """Load a tile, whose rows lie `step` bytes apart; 0: the same row again and again."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        _write(builder, f"tileloadd ($0,$1), {_name(tile)}", *arguments[1:])
        return context.get_dummy_value()

    return types.void(tile, types.intp, types.intp), generate


def _load_once(typing_context, tile, source, step):  # type: ignore[no-untyped-def]
    """Load what is not read again soon: it takes no room in the cache from what is."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        _write(builder, f"tileloaddt1 ($0,$1), {_name(tile)}", *arguments[1:])
        return context.get_dummy_value()

    return types.void(tile, types.intp, types.intp), generate


def _store(typing_context, tile, to, step):  # type: ignore[no-untyped-def]
    """Store a tile."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        _write(builder, f"tilestored {_name(tile)}, ($0,$1)", *arguments[1:])
        return context.get_dummy_value()

    return types.void(tile, types.intp, types.intp), generate


def _multiply(typing_context, sums, a, b):  # type: ignore[no-untyped-def]
    """Compute sums += a @ b.

    a: (rows, 16 pairs of bfloat16 along the depth); b: (16 pairs along the depth, columns); sums:
    (rows, columns) of float32.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        _write(builder, f"tdpbf16ps {_name(b)}, {_name(a)}, {_name(sums)}")
        return context.get_dummy_value()

    return types.void(sums, a, b), generate


configure = intrinsic(_configure)
release = intrinsic(_release)
zero = intrinsic(prefer_literal=True)(_zero)
load = intrinsic(prefer_literal=True)(_load)
load_once = intrinsic(prefer_literal=True)(_load_once)
store = intrinsic(prefer_literal=True)(_store)
multiply = intrinsic(prefer_literal=True)(_multiply)
