"""What the compiled loops need beyond Numba's Python: addresses, calls, and the innermost loop.

The loops pass plain addresses (int64), not arrays: that compiles in a fraction of the time, and one
compiled function serves every kind of plan, because the formulas' loops are called by address.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils as numba_cgutils
from numba.core import types as numba_types
from numba.extending import intrinsic

cgutils: Any = numba_cgutils  # Numba has type hints in places only
types: Any = numba_types

VECTOR_NAMES = {"float32": "f32", "float64": "f64"}


def pointer_to(name: str) -> Any:
    """Return a compiled function that turns an address into a pointer to numbers of a NumPy type.

    A pointer is indexed like an array: ``numbers(address)[i]``.
    """
    kind = types.CPointer(getattr(types, name))

    def pointer(typing_context, address):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return builder.inttoptr(arguments[0], context.get_value_type(kind))

        return kind(types.intp), generate

    return intrinsic(pointer)


def _call_address(typing_context, address, numbers):  # type: ignore[no-untyped-def]
    """Call the C function at an address with a tuple of integers (addresses are integers too)."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        values = cgutils.unpack_tuple(builder, arguments[1], numbers.count)
        function_type = ir.FunctionType(ir.VoidType(), [each.type for each in values])
        builder.call(builder.inttoptr(arguments[0], function_type.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(types.intp, types.UniTuple(types.intp, numbers.count)), generate


call_address = intrinsic(_call_address)


def product_tile(precision: str, n_rows: int, n_vectors: int, lanes: int) -> Any:
    """Return a compiled function for a tile of `n_rows` rows and `n_vectors` * `lanes` columns.

    It is called as ``tile(a, a_row, a_column, b, b_row, c, c_row, first, last)`` and does
    ``c += a[:, first:last] @ b[first:last]`` on the tile that starts at the addresses a, b and c.
    ``a_row`` and so on are the bytes from a row (a column) to the next; the columns of b and c are
    contiguous.

    The tile of c stays in registers while the loop runs along the depth: LLVM's own vectoriser
    would load and store it at every step, and gives up where it cannot prove that the rows do not
    overlap. Multiply and add are fused where the CPU can (``llvm.fmuladd``).
    """

    def tile(typing_context, a, a_row, a_column, b, b_row, c, c_row, first, last):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            number = context.get_value_type(getattr(types, precision))
            _write_tile(builder, arguments, (n_rows, n_vectors, lanes), number, precision)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 9), generate

    return intrinsic(tile)


def _write_tile(
    builder: Any, arguments: Sequence[Any], shape: tuple[int, int, int], number: Any, precision: str
) -> None:
    a, a_row, a_column, b, b_row, c, c_row, first, last = arguments
    n_rows, n_vectors, lanes = shape
    vector = ir.VectorType(number, lanes)
    size = 4 if precision == "float32" else 8  # bytes; also the alignment: rows start anywhere
    multiply_add = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(vector, [vector] * 3),
        f"llvm.fmuladd.v{lanes}{VECTOR_NAMES[precision]}",
    )
    undefined = ir.Constant(vector, ir.Undefined)
    all_lane_0 = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)

    def moved(address: Any, count: int, step: Any) -> Any:
        return builder.add(address, builder.mul(ir.Constant(address.type, count), step))

    def pointer(address: Any, kind: Any) -> Any:
        return builder.inttoptr(address, kind.as_pointer())

    vector_size = ir.Constant(a.type, lanes * size)
    tile = [(r, v) for r in range(n_rows) for v in range(n_vectors)]
    places = {(r, v): pointer(moved(moved(c, r, c_row), v, vector_size), vector) for r, v in tile}
    sums = {each: cgutils.alloca_once(builder, vector) for each in tile}  # LLVM: registers
    for each in tile:
        builder.store(builder.load(places[each], align=size), sums[each])
    one = ir.Constant(a.type, 1)
    with cgutils.for_range_slice(builder, first, last, one) as (step, _):
        b_start = builder.add(b, builder.mul(step, b_row))
        a_start = builder.add(a, builder.mul(step, a_column))
        b_vectors = [
            builder.load(pointer(moved(b_start, v, vector_size), vector), align=size)
            for v in range(n_vectors)
        ]
        for r in range(n_rows):
            value = builder.load(pointer(moved(a_start, r, a_row), number))
            lane_0 = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
            everywhere = builder.shuffle_vector(lane_0, undefined, all_lane_0)
            for v in range(n_vectors):
                old = builder.load(sums[r, v])
                builder.store(
                    builder.call(multiply_add, [everywhere, b_vectors[v], old]), sums[r, v]
                )
    for each in tile:
        builder.store(builder.load(sums[each]), places[each], align=size)
