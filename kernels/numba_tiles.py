"""The register tiles: the innermost loops of all products, written in LLVM's own language.

A tile is `n_rows` rows of `n_panels` vectors that stay in registers while the loop runs along the
depth. Each step takes one number per row, spreads it over a vector, and does
``sum[row][panel] += number * b[panel]`` with fused multiply-add where the CPU has it. LLVM's own
vectoriser does not find this form: it would load and store the sums at every step. Two numbers of
bfloat16 may take the place of one: AVX512-BF16 adds up both products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba.core import cgutils as numba_cgutils
from numba.core import types as numba_types
from numba.extending import intrinsic

cgutils: Any = numba_cgutils  # Numba has type hints in places only
types: Any = numba_types

ADDRESS = ir.IntType(64)
NOTHING = ir.Constant(ADDRESS, 0)

ARGUMENTS = (
    *("a", "a_step", "a_segment", "b", "b_panel", "b_step", "depth", "list"),
    *("start", "start_row", "start_panel", "factor", "out", "out_panel"),
)
"""What a tile is called with, addresses and bytes:

a, a_step, a_segment
    The first row's first number; to the next step; to the next segment.
b, b_panel, b_step, depth
    The first vector; to the next panel; to the next step; how many steps.
list
    Of steps that alone are taken, `depth` of them, int64: how far each one's numbers are from the
    first and, in the upper half, its vectors. 0: all steps, one after the other.
start, start_row, start_panel
    What the sums begin with, and how far apart that is: bias or earlier sums; 0: zeros.
factor
    Of a number. 0: the sums are written to `out`; else ``out += factor * sum``.
out, out_panel
    Where the tile is written: the rows of a panel lie side by side.
"""


@dataclass(frozen=True)
class TileKind:
    """How the tiles of one product walk through `a`.

    Attributes
    ----------
    name : str
    row_step : int
        Bytes from a row's number to the next row's.
    segment : int
        Steps along the depth that lie side by side, before `a` goes on by `a_segment` bytes; 0: all
        of them, `a_step` bytes apart.
    pair : int
        How many numbers of bfloat16 a number stands for: 2, or 1 if it is an ordinary one.
    """

    name: str
    row_step: int
    segment: int
    pair: int


def register_tiles(
    precision: str, lanes: int, kind: TileKind, shapes: Sequence[tuple[int, int]]
) -> Any:
    """Return a compiled function ``tile(n_rows, n_panels, arguments)`` for these shapes.

    `arguments` is a tuple of integers, in the order of `ARGUMENTS`.
    """

    def tile(typing_context, n_rows, n_panels, arguments):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, values):  # type: ignore[no-untyped-def]
            number = context.get_value_type(getattr(types, precision))
            numbers = cgutils.unpack_tuple(builder, values[2], len(ARGUMENTS))
            end = builder.append_basic_block("tile.end")
            shape_number = builder.add(builder.shl(values[0], ir.Constant(ADDRESS, 8)), values[1])
            switch = builder.switch(shape_number, end)
            for shape in shapes:
                function = _TileWriter(builder.module, number, lanes, kind, shape).function
                block = builder.append_basic_block(function.name)
                switch.add_case(ir.Constant(ADDRESS, (shape[0] << 8) + shape[1]), block)
                with builder.goto_block(block):
                    builder.call(function, numbers)
                    builder.branch(end)
            builder.position_at_end(end)
            return context.get_dummy_value()

        arguments_type = types.UniTuple(types.intp, len(ARGUMENTS))
        return types.void(types.intp, types.intp, arguments_type), generate

    return intrinsic(tile)


class _TileWriter:
    """Writes the function of one tile. It is not inlined: it has the registers for itself."""

    def __init__(
        self, module: Any, number: Any, lanes: int, kind: TileKind, shape: tuple[int, int]
    ) -> None:
        self.number, self.lanes, self.kind = number, lanes, kind
        self.n_rows, self.n_panels = shape
        self.places = [(row, panel) for row in range(shape[0]) for panel in range(shape[1])]
        self.vector = ir.VectorType(number, lanes)
        self.size = 4 if isinstance(number, ir.FloatType) else 8
        self.multiply_add = cgutils.get_or_insert_function(
            module,
            ir.FunctionType(self.vector, [self.vector] * 3),
            f"llvm.fmuladd.v{lanes}f{8 * self.size}",
        )
        function_type = ir.FunctionType(ir.VoidType(), [ADDRESS] * len(ARGUMENTS))
        name = f"{kind.name}_{shape[0]}_{shape[1]}"
        self.function = ir.Function(module, function_type, name)
        self.function.linkage = "internal"
        self.function.attributes.add("noinline")
        self.given = dict(zip(ARGUMENTS, self.function.args, strict=True))
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.write()

    def moved(self, address: Any, count: int, distance: Any) -> Any:
        """Return the address `count` times a distance further."""
        if isinstance(distance, int):
            return self.builder.add(address, ir.Constant(ADDRESS, count * distance))
        return self.builder.add(address, self.builder.mul(ir.Constant(ADDRESS, count), distance))

    def load(self, address: Any, kind: Any) -> Any:
        pointer = self.builder.inttoptr(address, kind.as_pointer())
        return self.builder.load(pointer, align=self.size)

    def spread(self, number: Any) -> Any:
        """Return a vector with `number` in every lane."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        lane_0 = self.builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(lane_0, undefined, lanes)

    def write(self) -> None:
        """Write the sums' start, the loops, and the end.

        Blocks: entry, [with_start], begin, then segment -> steps -> loop -> after -> segment, or
        listed -> listed_loop; then done.
        """
        builder, given = self.builder, self.given
        blocks = {
            name: self.function.append_basic_block(name)
            for name in (
                *("with_start", "begin", "segment", "steps", "loop", "after"),
                *("listed", "listed_loop", "done"),
            )
        }
        entry = builder.block
        has_start = builder.icmp_unsigned("!=", given["start"], NOTHING)
        builder.cbranch(has_start, blocks["with_start"], blocks["begin"])
        builder.position_at_end(blocks["with_start"])
        started = [self.load(self.start_of(*place), self.vector) for place in self.places]
        builder.branch(blocks["begin"])

        builder.position_at_end(blocks["begin"])
        zeros = [ir.Constant(self.vector, None) for _ in self.places]
        first_sums = self.joined({entry: zeros, blocks["with_start"]: started})
        has_list = builder.icmp_unsigned("!=", given["list"], NOTHING)
        builder.cbranch(has_list, blocks["listed"], blocks["segment"])

        builder.position_at_end(blocks["segment"])
        sums = [builder.phi(self.vector) for _ in self.places]
        a, b, left = (builder.phi(ADDRESS) for _ in range(3))
        for total, first in zip(sums, first_sums, strict=True):
            total.add_incoming(first, blocks["begin"])
        for value, name in ((a, "a"), (b, "b"), (left, "depth")):
            value.add_incoming(given[name], blocks["begin"])
        is_left = builder.icmp_signed(">", left, NOTHING)
        builder.cbranch(is_left, blocks["steps"], blocks["done"])

        builder.position_at_end(blocks["steps"])
        n_steps = left
        if self.kind.segment:
            length = ir.Constant(ADDRESS, self.kind.segment)
            n_steps = builder.select(builder.icmp_signed("<", left, length), left, length)
        builder.branch(blocks["loop"])
        new_sums, b_next = self.write_loop(blocks, a, b, n_steps, sums)

        builder.position_at_end(blocks["after"])
        a.add_incoming(builder.add(a, given["a_segment"]), blocks["after"])
        b.add_incoming(b_next, blocks["after"])
        left.add_incoming(builder.sub(left, n_steps), blocks["after"])
        for total, new in zip(sums, new_sums, strict=True):
            total.add_incoming(new, blocks["after"])
        builder.branch(blocks["segment"])

        begun_sums, listed_sums = self.write_listed_loop(blocks, first_sums)
        builder.position_at_end(blocks["done"])
        ends = {"segment": sums, "listed": begun_sums, "listed_loop": listed_sums}
        self.write_end(self.joined({blocks[name]: each for name, each in ends.items()}))

    def joined(self, sums_of_blocks: dict[Any, list[Any]]) -> list[Any]:
        """Return the sums of whichever block comes before the one that is written."""
        joined = [self.builder.phi(self.vector) for _ in self.places]
        for block, sums in sums_of_blocks.items():
            for total, each in zip(joined, sums, strict=True):
                total.add_incoming(each, block)
        return joined

    def write_step(self, a: Any, b: Any, sums: list[Any]) -> list[Any]:
        """Write the products of one step; return the new sums."""
        of_panel = [
            self.load(self.moved(b, panel, self.given["b_panel"]), self.vector)
            for panel in range(self.n_panels)
        ]
        new_sums = []
        for (row, panel), total in zip(self.places, sums, strict=True):
            if panel == 0:
                of_row = self.spread(self.load(self.moved(a, row, self.kind.row_step), self.number))
            new_sums.append(self.add_product(of_row, of_panel[panel], total))
        return new_sums

    def add_product(self, x: Any, y: Any, total: Any) -> Any:
        """Return total + x * y; of pairs, the sum of two products."""
        if self.kind.pair == 1:
            return self.builder.call(self.multiply_add, [x, y, total])
        # Pairs as integers: LLVM has them so up to 15, and takes them for bfloat16 from then on.
        pairs = ir.VectorType(ir.IntType(32), self.lanes)
        multiply = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(self.vector, [self.vector, pairs, pairs]),
            "llvm.x86.avx512bf16.dpbf16ps.512",
        )
        return self.builder.call(
            multiply, [total, self.builder.bitcast(x, pairs), self.builder.bitcast(y, pairs)]
        )

    def write_loop(
        self, blocks: dict[str, Any], a_start: Any, b_start: Any, n_steps: Any, old: list[Any]
    ) -> tuple[list[Any], Any]:
        """Write the steps of one segment; return the new sums and where b goes on."""
        builder = self.builder
        builder.position_at_end(blocks["loop"])
        a, b, left = (builder.phi(ADDRESS) for _ in range(3))
        sums = [builder.phi(self.vector) for _ in self.places]
        new_sums = self.write_step(a, b, sums)
        step = ir.Constant(ADDRESS, self.size) if self.kind.segment else self.given["a_step"]
        a_next, b_next = builder.add(a, step), builder.add(b, self.given["b_step"])
        left_next = builder.sub(left, ir.Constant(ADDRESS, 1))
        firsts, nexts = (a_start, b_start, n_steps, *old), (a_next, b_next, left_next, *new_sums)
        for value, first, following in zip((a, b, left, *sums), firsts, nexts, strict=True):
            value.add_incoming(first, blocks["steps"])
            value.add_incoming(following, blocks["loop"])
        is_left = builder.icmp_unsigned("!=", left_next, NOTHING)
        builder.cbranch(is_left, blocks["loop"], blocks["after"])
        return new_sums, b_next

    def write_listed_loop(
        self, blocks: dict[str, Any], old: list[Any]
    ) -> tuple[list[Any], list[Any]]:
        """Write the steps of a list; return the sums before and after them."""
        builder, given = self.builder, self.given
        builder.position_at_end(blocks["listed"])
        if self.kind.pair > 1:
            # A step of zeros, as if none was left out: it takes a sum below 2^-126 for zero.
            zeros = ir.Constant(self.vector, None)
            old = [self.add_product(zeros, zeros, each) for each in old]
        is_left = builder.icmp_signed(">", given["depth"], NOTHING)
        builder.cbranch(is_left, blocks["listed_loop"], blocks["done"])
        builder.position_at_end(blocks["listed_loop"])
        place, left = (builder.phi(ADDRESS) for _ in range(2))
        sums = [builder.phi(self.vector) for _ in self.places]
        step = builder.load(builder.inttoptr(place, ADDRESS.as_pointer()))
        a = builder.add(given["a"], builder.and_(step, ir.Constant(ADDRESS, (1 << 32) - 1)))
        b = builder.add(given["b"], builder.lshr(step, ir.Constant(ADDRESS, 32)))
        new_sums = self.write_step(a, b, sums)
        place_next = builder.add(place, ir.Constant(ADDRESS, 8))
        left_next = builder.sub(left, ir.Constant(ADDRESS, 1))
        firsts, nexts = (given["list"], given["depth"], *old), (place_next, left_next, *new_sums)
        for value, first, following in zip((place, left, *sums), firsts, nexts, strict=True):
            value.add_incoming(first, blocks["listed"])
            value.add_incoming(following, blocks["listed_loop"])
        is_left = builder.icmp_unsigned("!=", left_next, NOTHING)
        builder.cbranch(is_left, blocks["listed_loop"], blocks["done"])
        return old, new_sums

    def write_end(self, sums: list[Any]) -> None:
        """Write the sums to `out`, or add them to it times the factor."""
        builder = self.builder
        with builder.if_else(builder.icmp_unsigned("!=", self.given["factor"], NOTHING)) as (
            with_factor,
            without,
        ):
            with with_factor:
                factor = self.spread(self.load(self.given["factor"], self.number))
                for place, total in zip(self.places, sums, strict=True):
                    before = self.load(self.out_of(*place), self.vector)
                    self.store(builder.call(self.multiply_add, [factor, total, before]), place)
            with without:
                for place, total in zip(self.places, sums, strict=True):
                    self.store(total, place)
        builder.ret_void()

    def start_of(self, row: int, panel: int) -> Any:
        of_panel = self.moved(self.given["start"], panel, self.given["start_panel"])
        return self.moved(of_panel, row, self.given["start_row"])

    def out_of(self, row: int, panel: int) -> Any:
        of_panel = self.moved(self.given["out"], panel, self.given["out_panel"])
        return self.moved(of_panel, row, self.lanes * self.size)

    def store(self, value: Any, place: tuple[int, int]) -> None:
        pointer = self.builder.inttoptr(self.out_of(*place), self.vector.as_pointer())
        self.builder.store(value, pointer, align=self.size)
