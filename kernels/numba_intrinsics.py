"""What the compiled loops need beyond Numba's Python: addresses, calls, vectors, atomics.

The register tiles of the products have a file of their own, `numba_tiles`.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils as numba_cgutils
from numba.core import types as numba_types
from numba.extending import intrinsic

from .formulas import scaled_input
from .numba_cpu import target_features

cgutils: Any = numba_cgutils  # Numba has type hints in places only
types: Any = numba_types

ADDRESS = ir.IntType(64)


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


def memory_for(name: str, count: int) -> Any:
    """Return a compiled function that gives a pointer to `count` numbers on the stack.

    Each place that calls it has memory of its own, which LLVM may keep in registers.
    """
    kind = types.CPointer(getattr(types, name))

    def memory(typing_context):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return _on_stack(context, builder, name, count)

        return kind(), generate

    return intrinsic(memory)


def address_for(name: str, count: int) -> Any:
    """Return the same as `memory_for`, but the compiled function gives the address."""

    def address(typing_context):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return builder.ptrtoint(_on_stack(context, builder, name, count), ADDRESS)

        return types.intp(), generate

    return intrinsic(address)


def block_for(name: str, count: int) -> Any:
    """Return the same as `address_for`, for more numbers than should be cleared at each call.

    Numba clears what it takes from the stack, which LLVM writes as so many instructions.
    """

    def block(typing_context):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            number = context.get_value_type(getattr(types, name))
            with builder.goto_entry_block():
                memory = builder.alloca(ir.ArrayType(number, count))
            memory.align = 64
            return builder.ptrtoint(memory, ADDRESS)

        return types.intp(), generate

    return intrinsic(block)


def _on_stack(context: Any, builder: Any, name: str, count: int) -> Any:
    number = context.get_value_type(getattr(types, name))
    memory = cgutils.alloca_once(builder, ir.ArrayType(number, count))
    memory.align = 64
    return builder.bitcast(memory, number.as_pointer())


def _call_address(typing_context, address, numbers):  # type: ignore[no-untyped-def]
    """Call the C function at an address with a tuple of integers (addresses are integers too)."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        values = cgutils.unpack_tuple(builder, arguments[1], numbers.count)
        function_type = ir.FunctionType(ir.VoidType(), [each.type for each in values])
        builder.call(builder.inttoptr(arguments[0], function_type.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(types.intp, types.UniTuple(types.intp, numbers.count)), generate


call_address = intrinsic(_call_address)


# ---- Vectors. Those of the caller's rows may start anywhere; panels are aligned.


def vector_copy(precision: str, lanes: int) -> Any:
    """Return a compiled function ``copy(source, to)`` of one vector; both may start anywhere."""

    def copy(typing_context, source, to):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            vector = Vectors(context, builder, precision, lanes)
            vector.store(vector.load(arguments[0]), arguments[1])
            return context.get_dummy_value()

        return types.void(types.intp, types.intp), generate

    return intrinsic(copy)


def vector_nonzeros(precision: str, lanes: int) -> Any:
    """Return a compiled function ``nonzeros(source)``: a bit per lane, the first one's lowest.

    A bit is set if the number is not zero.
    """

    def nonzeros(typing_context, source):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            vectors = Vectors(context, builder, precision, lanes)
            zeros = ir.Constant(vectors.kind, None)
            flags = builder.fcmp_unordered("!=", vectors.load(arguments[0]), zeros)
            return builder.zext(builder.bitcast(flags, ir.IntType(lanes)), ADDRESS)

        return types.int64(types.intp), generate

    return intrinsic(nonzeros)


def list_of_lanes(lanes: int) -> Any:
    """Return a compiled function ``add_steps(flags, step, increment, place)`` -> how many.

    It writes the numbers of the lanes that are set in `flags`, int64, to `place`: the first lane's
    is `step`, the others follow an `increment` apart. As many as there are lanes are written.
    """
    at_once = 8

    def add_steps(typing_context, flags, step, increment, place):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            flags, step, increment, place = arguments
            n = ir.Constant(ADDRESS, 0)
            if lanes % at_once or "+avx512f" not in target_features():
                # No branch could be foreseen: every step is written, and the next may take its
                # place.
                for lane in range(lanes):
                    to = builder.add(place, builder.shl(n, ir.Constant(ADDRESS, 3)))
                    builder.store(step, builder.inttoptr(to, ADDRESS.as_pointer()))
                    flag = builder.lshr(flags, ir.Constant(ADDRESS, lane))
                    n = builder.add(n, builder.and_(flag, ir.Constant(ADDRESS, 1)))
                    step = builder.add(step, increment)
                return n
            kind, count = ir.VectorType(ADDRESS, at_once), ir.Constant(ADDRESS, at_once)
            flags_kind = ir.VectorType(ir.IntType(1), at_once)
            vectors = Vectors(context, builder, "int64", at_once)
            steps = builder.mul(vectors.spread(increment), ir.Constant(kind, list(range(at_once))))
            steps = builder.add(steps, vectors.spread(step))
            further = vectors.spread(builder.mul(increment, count))
            compress = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(kind, [kind, kind, flags_kind]),
                "llvm.x86.avx512.mask.compress.v8i64",
            )
            for lane in range(0, lanes, at_once):
                some = builder.trunc(
                    builder.lshr(flags, ir.Constant(ADDRESS, lane)), ir.IntType(at_once)
                )
                taken = builder.call(
                    compress, [steps, ir.Constant(kind, None), builder.bitcast(some, flags_kind)]
                )
                to = builder.add(place, builder.shl(n, ir.Constant(ADDRESS, 3)))
                builder.store(taken, builder.inttoptr(to, kind.as_pointer()), align=8)
                n = builder.add(n, builder.zext(builder.ctpop(some), ADDRESS))
                steps = builder.add(steps, further)
            return n

        return types.int64(*[types.int64] * 4), generate

    return intrinsic(add_steps)


def rows_with_lanes(count: int) -> Any:
    """Return a compiled function ``nonzero_rows(source, lanes)``: a bit for each of `count` uint16.

    A bit is set if the number has one of the bits of `lanes`.
    """
    kind = ir.VectorType(ir.IntType(16), count)

    def nonzero_rows(typing_context, source, lanes):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            vectors = Vectors(context, builder, "uint16", count)
            some = vectors.spread(builder.trunc(arguments[1], ir.IntType(16)))
            found = builder.and_(vectors.load(arguments[0]), some)
            flags = builder.icmp_unsigned("!=", found, ir.Constant(kind, None))
            return builder.zext(builder.bitcast(flags, ir.IntType(count)), ADDRESS)

        return types.int64(types.intp, types.int64), generate

    return intrinsic(nonzero_rows)


def vector_conversion(name: str, precision: str, lanes: int) -> Any:
    """Return a compiled function ``convert(source, center, scale, to)``, all addresses of vectors.

    It makes a vector of numbers real by ``formulas.scaled_input``: what `gather` does to a row.
    `center` and `scale` are of the wider of the two types, in which it is computed.
    """
    wide = "float64" if "float64" in (name, precision) else "float32"

    def convert(typing_context, source, center, scale, to):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            vectors = Vectors(context, builder, wide, lanes)
            given = Vectors(context, builder, name, lanes).load(arguments[0])
            if name != wide:
                change = builder.uitofp if name == "uint8" else builder.fpext
                given = change(given, vectors.kind)
            by = map(vectors.load, arguments[1:3])
            scaled = scaled_input(*(Operand(builder, each) for each in (given, *by))).value
            to = Vectors(context, builder, precision, lanes)
            if wide != precision:
                scaled = builder.fptrunc(scaled, to.kind)
            to.store(scaled, arguments[3])
            return context.get_dummy_value()

        return types.void(*[types.intp] * 4), generate

    return intrinsic(convert)


class Operand:
    """A value of LLVM that a formula is run over: its operators write instructions."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: Any) -> Any:
        return Operand(self.builder, self.builder.fadd(self.value, other.value))

    def __sub__(self, other: Any) -> Any:
        return Operand(self.builder, self.builder.fsub(self.value, other.value))

    def __mul__(self, other: Any) -> Any:
        return Operand(self.builder, self.builder.fmul(self.value, other.value))


def vector_transpose(precision: str, lanes: int) -> Any:
    """Return a compiled function ``transpose(source, source_step, to, to_step)``.

    It transposes a square of `lanes` vectors, which lie a step apart (in bytes). In round d = 1, 2,
    4, ... each pair of vectors d apart exchanges the lanes whose number has the bit d: one of the
    first for one of the second.
    """

    def transpose(typing_context, source, source_step, to, to_step):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            vectors = Vectors(context, builder, precision, lanes)
            source, source_step, to, to_step = arguments
            rows = [vectors.load(vectors.moved(source, i, source_step)) for i in range(lanes)]
            distance = 1
            while distance < lanes:
                first = [j - distance + lanes if j & distance else j for j in range(lanes)]
                second = [j + lanes if j & distance else j + distance for j in range(lanes)]
                for i in range(lanes):
                    if not i & distance:
                        x, y = rows[i], rows[i + distance]
                        rows[i] = vectors.shuffle(x, y, first)
                        rows[i + distance] = vectors.shuffle(x, y, second)
                distance *= 2
            for i in range(lanes):
                vectors.store(rows[i], vectors.moved(to, i, to_step))
            return context.get_dummy_value()

        return types.void(*[types.intp] * 4), generate

    return intrinsic(transpose)


def vector_group(precision: str, lanes: int, count: int) -> tuple[Any, Any, Any, Any]:
    """Return what is done with `count` vectors that stay in registers, if there are so many.

    load(source, step, vectors), store(vectors, to, step)
        Vectors in memory lie a step apart (in bytes); `vectors` is a pointer of `memory_for`.
    add(number, source, step, vectors), scatter(number, vectors, to, step)
        ``vectors += number * source`` and ``to += number * vectors``.
    """
    number, pointer = getattr(types, precision), types.CPointer(getattr(types, precision))

    class Group(Vectors):
        """The vectors of one call, and their places in memory."""

        def __init__(self, context: Any, builder: Any, memory: Any, address: Any, step: Any):
            super().__init__(context, builder, precision, lanes)
            self.places = []
            for i in range(count):
                lane_0 = builder.gep(memory, [ir.Constant(ir.IntType(32), i * lanes)])
                self.places.append(builder.bitcast(lane_0, self.kind.as_pointer()))
            self.addresses = [self.moved(address, i, step) for i in range(count)]

        def multiply_add(self, x: Any, y: Any, z: Any) -> Any:
            kind = ir.FunctionType(self.kind, [self.kind] * 3)
            name = f"llvm.fmuladd.v{lanes}f{8 * self.size}"
            function = cgutils.get_or_insert_function(self.builder.module, kind, name)
            return self.builder.call(function, [x, y, z])

    def load(typing_context, source, step, vectors):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            source, step, vectors = arguments
            group = Group(context, builder, vectors, source, step)
            for place, address in zip(group.places, group.addresses, strict=True):
                builder.store(group.load(address), place)
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, pointer), generate

    def store(typing_context, vectors, to, step):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            group = Group(context, builder, *arguments)
            for place, address in zip(group.places, group.addresses, strict=True):
                group.store(builder.load(place), address)
            return context.get_dummy_value()

        return types.void(pointer, types.intp, types.intp), generate

    def add(typing_context, by, source, step, vectors):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            by, source, step, vectors = arguments
            group = Group(context, builder, vectors, source, step)
            by = group.spread(by)
            for place, address in zip(group.places, group.addresses, strict=True):
                total = group.multiply_add(by, group.load(address), builder.load(place))
                builder.store(total, place)
            return context.get_dummy_value()

        return types.void(number, types.intp, types.intp, pointer), generate

    def scatter(typing_context, by, vectors, to, step):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            group = Group(context, builder, *arguments[1:])
            by = group.spread(arguments[0])
            for place, address in zip(group.places, group.addresses, strict=True):
                total = group.multiply_add(by, builder.load(place), group.load(address))
                group.store(total, address)
            return context.get_dummy_value()

        return types.void(number, pointer, types.intp, types.intp), generate

    return intrinsic(load), intrinsic(store), intrinsic(add), intrinsic(scatter)


class Vectors:
    """Vectors of one kind of number."""

    def __init__(self, context: Any, builder: Any, name: str, lanes: int) -> None:
        self.builder, self.lanes = builder, lanes
        self.number = context.get_value_type(getattr(types, name))
        self.size = {"uint8": 1, "uint16": 2, "float32": 4, "int64": 8, "float64": 8}[name]
        self.kind = ir.VectorType(self.number, lanes)

    def pointer(self, address: Any) -> Any:
        return self.builder.inttoptr(address, self.kind.as_pointer())

    def load(self, address: Any) -> Any:
        return self.builder.load(self.pointer(address), align=self.size)

    def store(self, value: Any, address: Any) -> None:
        self.builder.store(value, self.pointer(address), align=self.size)

    def moved(self, address: Any, count: int, step: Any) -> Any:
        """Return the address `count` steps further."""
        return self.builder.add(address, self.builder.mul(ir.Constant(ADDRESS, count), step))

    def shuffle(self, x: Any, y: Any, lanes: list[int]) -> Any:
        """Return these lanes of x (from 0) and y (from `self.lanes`)."""
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), lanes)
        return self.builder.shuffle_vector(x, y, mask)

    def spread(self, number: Any) -> Any:
        undefined = ir.Constant(self.kind, ir.Undefined)
        lane_0 = self.builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
        return self.shuffle(lane_0, undefined, [0] * self.lanes)


# ---- The CPU: fetching ahead, and what threads meet with.


def _prefetch(typing_context, address):  # type: ignore[no-untyped-def]
    """Fetch the cache line of an address, which will be read soon."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        byte_pointer, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte_pointer, flag, flag, flag]),
            "llvm.prefetch",
        )
        # To be read; to the second level, which can wait for more at a time; data.
        flags = [ir.Constant(flag, number) for number in (0, 2, 1)]
        builder.call(function, [builder.inttoptr(arguments[0], byte_pointer), *flags])
        return context.get_dummy_value()

    return types.void(types.intp), generate


def _add_one(typing_context, address):  # type: ignore[no-untyped-def]
    """Add one to an int64 that threads share; return the new value."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        one = ir.Constant(ADDRESS, 1)
        pointer = builder.inttoptr(arguments[0], ADDRESS.as_pointer())
        return builder.add(builder.atomic_rmw("add", pointer, one, "acq_rel"), one)

    return types.int64(types.intp), generate


def _read_shared(typing_context, address):  # type: ignore[no-untyped-def]
    """Read an int64 that threads share: what they wrote before is visible then."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = builder.inttoptr(arguments[0], ADDRESS.as_pointer())
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(types.intp), generate


def _pause(typing_context):  # type: ignore[no-untyped-def]
    """Tell the CPU that this thread is waiting in a loop."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        triple = llvm.get_process_triple()
        if triple.startswith(("x86_64", "i686", "amd64")):
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(
                cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), []
            )
        elif triple.startswith(("aarch64", "arm64")):
            kind = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
            hint = cgutils.get_or_insert_function(builder.module, kind, "llvm.aarch64.hint")
            builder.call(hint, [ir.Constant(ir.IntType(32), 1)])
        return context.get_dummy_value()

    return types.void(), generate


def _give_way(typing_context, address):  # type: ignore[no-untyped-def]
    """Call the system's function at an address, which lets another thread have the CPU."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.intp), generate


prefetch = intrinsic(_prefetch)
add_one = intrinsic(_add_one)
read_shared = intrinsic(_read_shared)
pause = intrinsic(_pause)
give_way = intrinsic(_give_way)
