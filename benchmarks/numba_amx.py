"""What of AMX Numba's LLVM writes: three ways to `tdpbf16ps`, compiled and never run.

    python -m fastmlp.benchmarks.numba_amx

On any x86-64 machine it prints the tile instructions of each way, or the error. Each has a process
of its own: where LLVM cannot select an instruction it ends the process. For the findings see
`kernels/README.md`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

TARGET = {"NUMBA_CPU_NAME": "x86-64-v4", "NUMBA_CPU_FEATURES": "+amx-tile,+amx-bf16"}
TILE_BYTES = 1024  # 16 rows of 64 bytes

Way = Callable[[Any, Any, Any, Any, Any], None]
"""Writes out += a @ w with a builder, given pointers, and a count or a tile configuration."""


def ways() -> dict[str, Way]:
    """Return the three ways; imported late, for Numba reads the environment on import."""
    from llvmlite import ir
    from numba.core import cgutils as numba_cgutils

    cgutils: Any = numba_cgutils  # Numba has type hints in places only
    byte, short, long, nothing = ir.IntType(8), ir.IntType(16), ir.IntType(64), ir.VoidType()
    pointer, stride = byte.as_pointer(), ir.Constant(long, 64)

    # llvmlite has no class for it, and needs none: types are text.
    class Tile(ir.Type):  # type: ignore[misc]
        def _to_string(self) -> str:
            return "x86_amx"

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Tile)

        __hash__ = object.__hash__

    def call(builder: Any, name: str, arguments: list[Any], result: Any = nothing) -> Any:
        kind = ir.FunctionType(result, [each.type for each in arguments])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}")
        return builder.call(function, arguments)

    def numbered(builder: Any, a: Any, w: Any, out: Any, configuration: Any) -> None:
        """Name the tile registers by constants; the configuration is the caller's."""
        first, second, third = (ir.Constant(byte, number) for number in range(3))
        call(builder, "ldtilecfg", [configuration])
        for number, source in ((first, out), (second, a), (third, w)):
            call(builder, "tileloadd64", [number, source, stride])
        call(builder, "tdpbf16ps", [first, second, third])
        call(builder, "tilestored64", [first, out, stride])
        call(builder, "tilerelease", [])

    def allocated(builder: Any, a: Any, w: Any, out: Any, count: Any) -> None:
        """Tiles as values: LLVM allocates registers and configures; 2 x 2 sums through a loop."""
        shape, tile, places = [ir.Constant(short, 16), ir.Constant(short, 64)], Tile(), range(4)
        zeros = [call(builder, "tilezero.internal", shape, tile) for _ in places]
        entry, loop = builder.block, builder.append_basic_block("loop")
        done = builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        step, sums = builder.phi(long), [builder.phi(tile) for _ in places]

        def load(start: Any, number: int) -> Any:  # two tiles of each step lie side by side
            place = builder.add(builder.mul(step, ir.Constant(long, 2)), ir.Constant(long, number))
            address = builder.gep(start, [builder.mul(place, ir.Constant(long, TILE_BYTES))])
            return call(builder, "tileloadd64.internal", [*shape, address, stride], tile)

        rows, columns = [load(a, 0), load(a, 1)], [load(w, 0), load(w, 1)]
        new = []
        for place in places:
            operands = [*shape, shape[1], sums[place], rows[place // 2], columns[place % 2]]
            new.append(call(builder, "tdpbf16ps.internal", operands, tile))
        following = builder.add(step, ir.Constant(long, 1))
        starts, ends = [ir.Constant(long, 0), *zeros], [following, *new]
        for value, start, end in zip([step, *sums], starts, ends, strict=True):
            value.add_incoming(start, entry)
            value.add_incoming(end, loop)
        left = builder.icmp_unsigned("!=", following, builder.ptrtoint(count, long))
        builder.cbranch(left, loop, done)
        builder.position_at_end(done)
        for place, value in enumerate(new):
            address = builder.gep(out, [ir.Constant(long, place * TILE_BYTES)])
            call(builder, "tilestored64.internal", [*shape, address, stride, value])

    def inline(builder: Any, a: Any, w: Any, out: Any, configuration: Any) -> None:
        """Write the assembly."""
        text = """
        ldtilecfg ($3)
        tileloadd ($2,$4), %tmm0
        tileloadd ($0,$4), %tmm1
        tileloadd ($1,$4), %tmm2
        tdpbf16ps %tmm2, %tmm1, %tmm0
        tilestored %tmm0, ($2,$4)
        tilerelease"""
        kind = ir.FunctionType(nothing, [pointer] * 4 + [long])
        constraints = "r,r,r,r,r,~{memory},~{tmm0},~{tmm1},~{tmm2}"
        assembly = ir.InlineAsm(kind, text, constraints, side_effect=True)
        builder.call(assembly, [a, w, out, configuration, stride])

    return {"numbered": numbered, "allocated": allocated, "inline": inline}


def assembly_of(way: str) -> str:
    """Return what Numba compiles of one way; `inline` needs LLVM's parser of assembly."""
    import llvmlite.binding as llvm
    from llvmlite import ir
    from numba import njit, types
    from numba.extending import intrinsic

    write: Way = ways()[way]
    if way == "inline":
        llvm.initialize_native_asmparser()

    def product(typing_context, a, w, out, last):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            pointer = ir.IntType(8).as_pointer()
            write(builder, *(builder.inttoptr(each, pointer) for each in arguments))
            return context.get_dummy_value()

        return types.void(*[types.intp] * 4), generate

    multiply: Any = intrinsic(product)

    @njit(types.void(*[types.intp] * 4))
    def run(a: int, w: int, out: int, last: int) -> None:
        multiply(a, w, out, last)

    return "\n".join(run.inspect_asm().values())


def tile_instructions(way: str) -> list[str]:
    """Return the tile instructions of a way, compiled in a process of its own, or the error."""
    result = subprocess.run(
        [sys.executable, "-P", "-m", f"{__package__}.numba_amx", way],
        env=os.environ | TARGET,
        capture_output=True,
        text=True,
    )
    if result.returncode != 0:
        return (result.stderr.strip() or f"ended with {result.returncode}").splitlines()[-1:]
    lines = (line.strip() for line in result.stdout.splitlines())
    return [line for line in lines if line.startswith(("ldtile", "tile", "tdp"))]


def main(arguments: list[str]) -> None:
    """Print the assembly of one way, or the tile instructions of all."""
    if arguments:
        print(assembly_of(arguments[0]))
        return
    for way in ("numbered", "allocated", "inline"):
        print(way, *tile_instructions(way), sep="\n    ")


if __name__ == "__main__":
    main(sys.argv[1:])
