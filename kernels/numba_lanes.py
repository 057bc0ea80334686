"""Formulas, sums and rounding over the lanes of vectors: intrinsics.

As loops over the lanes they would run one number at a time: LLVM unrolls a loop of constant length
before it looks for vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils as numba_cgutils
from numba.core import types as numba_types
from numba.extending import intrinsic

from .bfloat16 import QUIET_NAN, SIGN, rounded_bits
from .numba_intrinsics import Operand, Vectors

cgutils: Any = numba_cgutils  # Numba has type hints in places only
types: Any = numba_types


def vector_formula(formula: Callable[..., Any], precision: str, lanes: int) -> Any:
    """Return a compiled function ``apply(sources, to)``: to = formula(sources), lane by lane.

    `sources` is a tuple of addresses of vectors; `to` may be one of them.
    """

    def apply(typing_context, sources, to):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            vectors = Vectors(context, builder, precision, lanes)
            addresses = cgutils.unpack_tuple(builder, arguments[0], sources.count)
            given = [Operand(builder, vectors.load(address)) for address in addresses]
            vectors.store(formula(*given).value, arguments[1])
            return context.get_dummy_value()

        return types.void(types.UniTuple(types.intp, sources.count), types.intp), generate

    return intrinsic(apply)


def vector_sum(term: Callable[..., Any], kinds: Sequence[str], lanes: int) -> Any:
    """Return a compiled function ``add(sources, sums)``: sums += term(sources), in float64.

    `sources` is a tuple of addresses of vectors, of one of the `kinds` each; `sums` is a pointer to
    float64, of `memory_for`: LLVM keeps it in registers.
    """
    pointer = types.CPointer(types.float64)

    def add(typing_context, sources, sums):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            wide = Vectors(context, builder, "float64", lanes)
            given = []
            for address, kind in zip(
                cgutils.unpack_tuple(builder, arguments[0], len(kinds)), kinds, strict=True
            ):
                value = Vectors(context, builder, kind, lanes).load(address)
                if kind != "float64":
                    value = builder.fpext(value, wide.kind)
                given.append(Operand(builder, value))
            place = builder.bitcast(arguments[1], wide.kind.as_pointer())
            total = Operand(builder, builder.load(place, align=8))
            builder.store((total + term(*given)).value, place, align=8)
            return context.get_dummy_value()

        return types.void(types.UniTuple(types.intp, len(kinds)), pointer), generate

    return intrinsic(add)


def vector_rounding(lanes: int) -> Any:
    """Return a compiled function ``round_vector(source, to)``: a vector of float32 to bfloat16.

    It stays a vector of float32 (see `bfloat16`).
    """

    def round_vector(typing_context, source, to):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            vectors = Vectors(context, builder, "float32", lanes)
            found = _rounded(builder, vectors.load(arguments[0])).value
            vectors.store(builder.bitcast(found, vectors.kind), arguments[1])
            return context.get_dummy_value()

        return types.void(types.intp, types.intp), generate

    return intrinsic(round_vector)


def vector_pairing(lanes: int) -> tuple[Any, Any]:
    """Return compiled functions that round two vectors of float32 to a vector of pairs of bfloat16.

    A pair is 32 bits, its first number in the lower half.

    pair_rows(above, below, to)
        Of two rows, number i of the one and number i of the other are pair i.
    pair_columns(source, stride, count, to)
        Of a row of two panels, neighbours are paired; what lies past `count` numbers counts as
        zero, whatever it is, and the second panel is not read if nothing of it counts.
    """

    def store_pairs(builder: Any, vectors: Vectors, first: Bits, second: Bits, to: Any) -> None:
        pairs = ((first >> 16) | second).value
        vectors.store(builder.bitcast(pairs, vectors.kind), to)

    def rows(typing_context, above, below, to):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            vectors = Vectors(context, builder, "float32", lanes)
            above, below = (_rounded(builder, vectors.load(each)) for each in arguments[:2])
            store_pairs(builder, vectors, above, below, arguments[2])
            return context.get_dummy_value()

        return types.void(*[types.intp] * 3), generate

    def columns(typing_context, source, stride, count, to):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            vectors = Vectors(context, builder, "float32", lanes)
            source, stride, count, to = arguments
            of_panel = count.type(lanes)
            has_next = builder.icmp_signed(">", count, of_panel)
            following = builder.select(has_next, builder.add(source, stride), source)
            bits = []
            for address, left in ((source, count), (following, builder.sub(count, of_panel))):
                number = ir.VectorType(left.type, lanes)
                every = builder.insert_element(number(ir.Undefined), left, ir.IntType(32)(0))
                every = vectors.shuffle(every, every, [0] * lanes)
                counts = builder.icmp_signed("<", number(list(range(lanes))), every)
                value = builder.select(counts, vectors.load(address), vectors.kind([0.0] * lanes))
                bits.append(_rounded(builder, value).value)
            first, second = (
                vectors.shuffle(bits[0], bits[1], list(range(start, 2 * lanes, 2)))
                for start in (0, 1)
            )
            store_pairs(builder, vectors, Bits(builder, first), Bits(builder, second), to)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 4), generate

    return intrinsic(rows), intrinsic(columns)


def pairs_of_rounded_rows() -> Any:
    """Return a compiled function ``pair_rounded(above, below, first, second)``.

    Of two rows of 32 bfloat16 each, numbers one below the other become pairs: those of the first
    16 columns, and those of the others.
    """

    def pair_rounded(typing_context, above, below, first, second):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            n = 32
            row = ir.VectorType(ir.IntType(16), n)
            pointers = [builder.inttoptr(each, row.as_pointer()) for each in arguments]
            above, below = (builder.load(each, align=2) for each in pointers[:2])
            for start, pointer in zip((0, n // 2), pointers[2:], strict=True):
                order = [start + i // 2 + i % 2 * n for i in range(n)]
                mask = ir.Constant(ir.VectorType(ir.IntType(32), n), order)
                builder.store(builder.shuffle_vector(above, below, mask), pointer, align=2)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 4), generate

    return intrinsic(pair_rounded)


def nonzero_bits(lanes: int) -> Any:
    """Return a compiled function ``nonzero(source)``: a bit per number of a rounded vector.

    It is set if one of the number's two halves is something but a zero. A pair may look like a
    float below 2^-126, which some processes have compared as zero: so bits are compared.
    """

    def nonzero(typing_context, source):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            vectors = Vectors(context, builder, "float32", lanes)
            kind = ir.VectorType(ir.IntType(32), lanes)
            bits = Bits(builder, builder.bitcast(vectors.load(arguments[0]), kind))
            without_signs = (bits & 0x7FFF7FFF).value
            flags = builder.icmp_unsigned("!=", without_signs, ir.Constant(kind, None))
            return builder.zext(builder.bitcast(flags, ir.IntType(lanes)), ir.IntType(64))

        return types.int64(types.intp), generate

    return intrinsic(nonzero)


def _rounded(builder: Any, value: Any) -> Bits:
    """Return the bits of a vector of float32, rounded to bfloat16."""
    bits = Bits(builder, builder.bitcast(value, ir.VectorType(ir.IntType(32), value.type.count)))
    is_nan = builder.fcmp_unordered("uno", value, value)
    nan = (bits & SIGN) | QUIET_NAN
    return Bits(builder, builder.select(is_nan, nan.value, rounded_bits(bits).value))


class Bits:
    """Vectors of integers that a formula is run over: its operators write instructions."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def of(self, other: Any) -> Any:
        """Return another vector's value, or a vector of a number."""
        if isinstance(other, Bits):
            return other.value
        return ir.Constant(self.value.type, [other] * self.value.type.count)

    def __add__(self, other: Any) -> Bits:
        return Bits(self.builder, self.builder.add(self.value, self.of(other)))

    __radd__ = __add__

    def __and__(self, other: Any) -> Bits:
        return Bits(self.builder, self.builder.and_(self.value, self.of(other)))

    def __or__(self, other: Any) -> Bits:
        return Bits(self.builder, self.builder.or_(self.value, self.of(other)))

    def __rshift__(self, other: Any) -> Bits:
        return Bits(self.builder, self.builder.lshr(self.value, self.of(other)))


def moved_pointer(typing_context, numbers, count):  # type: ignore[no-untyped-def]
    """Return a pointer to float64, `count` numbers further."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.gep(arguments[0], [arguments[1]])

    pointer = types.CPointer(types.float64)
    return pointer(pointer, types.intp), generate


moved = intrinsic(moved_pointer)


def itself(x: Any) -> Any:
    """Return x."""
    return x


def product(x: Any, y: Any) -> Any:
    """Return x * y."""
    return x * y


def square_of_rest(x: Any, mean: Any) -> Any:
    """Return the square of x less its mean."""
    rest = x - mean
    return rest * rest
