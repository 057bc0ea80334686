"""The products of the numba backend on panels of any size, in one piece and in parts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba", reason="Numba is not installed: pip install 'fastmlp[numba]'")

from fastmlp.kernels.numba_backend import usable_cpu
from fastmlp.kernels.numba_memory import Panels, address_of, aligned_zeros, packed_panels
from fastmlp.kernels.numba_source import lanes_of, load_batches, load_products

RunPython = Callable[..., subprocess.CompletedProcess[str]]

few = settings(max_examples=40, deadline=None)  # the first example may compile
sizes, precisions = st.integers(1, 70), st.sampled_from(["float32", "float64"])


class Case:
    """Matrices of one precision, and memory for their panels."""

    def __init__(self, precision: str) -> None:
        self.panels = Panels(precision, lanes_of(precision, usable_cpu()))
        self.products = load_products(precision, usable_cpu())
        self.batches = load_batches(precision, usable_cpu())
        self.random = np.random.default_rng(0)
        self.precision = precision

    def draw(self, *shape: int) -> Any:
        return self.random.normal(size=shape).astype(self.precision)

    def empty(self, rows: int, columns: int) -> Any:
        return aligned_zeros(self.panels.count(columns) * rows * self.panels.vector)

    def stride(self, rows: int) -> int:
        return rows * self.panels.vector

    def bound(self, a: Any, b: Any) -> Any:
        unit = np.finfo(self.precision).eps
        return (a.shape[1] + 1) * unit * (np.abs(a).astype(np.float64) @ np.abs(b) + 1e-30)


@few
@given(rows=sizes, fan_in=sizes, fan_out=st.integers(1, 200), precision=precisions, data=st.data())
def test_weighted_sum(rows: int, fan_in: int, fan_out: int, precision: str, data: Any) -> None:
    case = Case(precision)
    panels, vector = case.panels, case.panels.vector
    a, w, b = case.draw(rows, fan_in), case.draw(fan_in, fan_out), case.draw(1, fan_out)
    a_panels, w_panels = panels.of(a), panels.of(np.vstack([w, b]))  # the biases are one more row
    whole, in_parts = case.empty(rows, fan_out), case.empty(rows, fan_out)
    count, w_stride = panels.count(fan_out), case.stride(fan_in + 1)

    def compute(z: Any, first_row: int, last_row: int, first: int, last: int) -> None:
        offset = first_row * vector
        case.products.weighted_sum.ctypes(
            *(address_of(a_panels) + offset, case.stride(rows), 0),
            *(address_of(w_panels), w_stride, vector, address_of(w_panels) + fan_in * vector),
            *(address_of(z) + offset, case.stride(rows)),
            *(last_row - first_row, fan_in, first, last),
        )

    compute(whole, 0, rows, 0, count)
    z = panels.matrix(whole, case.stride(rows), rows, fan_out)
    exact = a.astype(np.longdouble) @ w + b
    assert (
        np.abs(z - exact) <= case.bound(np.hstack([a, a[:, :1] * 0 + 1]), np.vstack([w, b]))
    ).all()
    row, panel = data.draw(st.integers(0, rows)), data.draw(st.integers(0, count))
    for rows_of_part in ((0, row), (row, rows)):
        for panels_of_part in ((0, panel), (panel, count)):
            compute(in_parts, *rows_of_part, *panels_of_part)
    assert np.array_equal(in_parts, whole)  # bit by bit


@few
@given(rows=sizes, fan_in=sizes, fan_out=st.integers(1, 100), precision=precisions, data=st.data())
def test_weight_gradient(rows: int, fan_in: int, fan_out: int, precision: str, data: Any) -> None:
    case = Case(precision)
    panels, vector = case.panels, case.panels.vector
    a, dz = case.draw(rows, fan_in), case.draw(rows, fan_out)
    a_panels, dz_panels = panels.of(a), panels.of(dz)
    count, stride = panels.count(fan_out), case.stride(rows)
    factor = np.array([-0.25], precision)

    def compute(
        out: Any, first_input: int, last_input: int, first: int, last: int, by: Any = None
    ) -> None:
        case.products.weight_gradient.ctypes(
            *(address_of(a_panels), stride, vector, 0, address_of(dz_panels), stride),
            *(address_of(out), case.stride(fan_in), rows, first_input, last_input, first, last),
            *(address_of(by), 0, 0, 0, 0, 0),
        )

    whole, in_parts = case.empty(fan_in, fan_out), case.empty(fan_in, fan_out)
    compute(whole, 0, fan_in, 0, count)
    dw = panels.matrix(whole, case.stride(fan_in), fan_in, fan_out)
    exact = a.T.astype(np.longdouble) @ dz
    assert (np.abs(dw - exact) <= case.bound(a.T, dz)).all()

    panel = data.draw(st.integers(0, count))
    middle = panels.lanes * data.draw(st.integers(0, panels.count(fan_in) - 1))
    for inputs in ((0, middle), (middle, fan_in)):
        compute(in_parts, *inputs, 0, panel)
        compute(in_parts, *inputs, panel, count)
    assert np.array_equal(in_parts, whole)  # bit by bit

    w = case.draw(fan_in, fan_out)
    updated = panels.of(w)
    compute(updated, 0, fan_in, 0, count, factor)
    found = panels.matrix(updated, case.stride(fan_in), fan_in, fan_out)
    np.testing.assert_allclose(found, w - 0.25 * dw, rtol=1e-5, atol=1e-5)


@few
@given(fan_in=sizes, fan_out=sizes, precision=precisions)
def test_transpose(fan_in: int, fan_out: int, precision: str) -> None:
    case = Case(precision)
    panels, lanes = case.panels, case.panels.lanes
    w = case.draw(fan_in, fan_out)
    w_panels, rows = panels.of(w), -(-fan_out // lanes) * lanes
    transposed = case.empty(rows, fan_in)
    case.products.transpose.ctypes(
        *(address_of(w_panels), case.stride(fan_in), address_of(transposed), case.stride(rows)),
        *(fan_in, fan_out, 0, panels.count(fan_in)),
    )
    padded = panels.matrix(transposed, case.stride(rows), fan_out, panels.count(fan_in) * lanes)
    assert np.array_equal(padded[:, :fan_in], w.T)
    assert not padded[:, fan_in:].any()  # slopes past the last column must be zero


@few
@given(rows=sizes, columns=sizes, precision=precisions, data=st.data())
def test_panels_and_back(rows: int, columns: int, precision: str, data: Any) -> None:
    case = Case(precision)
    matrix = case.draw(rows, columns)
    packed, back = case.empty(rows, columns), np.zeros_like(matrix)
    packed[:] = 0xFF
    middle = data.draw(st.integers(0, rows))
    for first, last in ((0, middle), (middle, rows)):
        case.batches.to_panels.ctypes(
            address_of(matrix), columns, address_of(packed), case.stride(rows), first, last
        )
    assert np.array_equal(packed, case.panels.of(matrix))
    case.batches.from_panels.ctypes(
        address_of(packed), case.stride(rows), columns, address_of(back), 0, rows
    )
    assert np.array_equal(back, matrix)


def test_deep_sums_go_on_where_they_stopped() -> None:
    case = Case("float32")
    rows, depth, columns = 70, 4000, 20  # more than a block of the second-level cache
    a, w = case.draw(rows, depth), case.draw(depth, columns)
    a_panels, w_panels, z = case.panels.of(a), case.panels.of(w), case.empty(rows, columns)
    case.products.weighted_sum.ctypes(
        *(address_of(a_panels), case.stride(rows), 0),
        *(address_of(w_panels), case.stride(depth), case.panels.vector, 0),
        *(address_of(z), case.stride(rows), rows, depth, 0, case.panels.count(columns)),
    )
    found = case.panels.matrix(z, case.stride(rows), rows, columns)
    assert (np.abs(found - a.astype(np.float64) @ w) <= case.bound(a, w)).all()


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(("rows", "fan_in"), [(37, 150), (300, 700)])
def test_packed_rows_give_the_same_bits(precision: str, rows: int, fan_in: int) -> None:
    case = Case(precision)
    lanes, vector, count = case.panels.lanes, case.panels.vector, 101
    a, w = case.draw(rows, fan_in), case.draw(fan_in, count * lanes - 1)
    a_panels, w_panels = case.panels.of(a), case.panels.of(w)
    whole, in_parts = case.empty(rows, count * lanes), case.empty(rows, count * lanes)

    def compute(from_: Any, z: Any, first: int, last: int) -> None:
        case.products.weighted_sum.ctypes(
            *(address_of(from_), case.stride(rows), 0),
            *(address_of(w_panels), case.stride(fan_in), vector, 0),
            *(address_of(z), case.stride(rows), rows, fan_in, first, last),
        )

    compute(a_panels, whole, 0, count)
    for first in range(0, count, 50):  # too few to pack rows for
        compute(a_panels, in_parts, first, min(first + 50, count))
    assert np.array_equal(in_parts, whole)
    if fan_in == 150:  # one block: once it is packed, sums may take its place
        in_place = case.empty(rows, count * lanes)
        in_place[: len(a_panels)] = a_panels
        compute(in_place, in_place, 0, count)
        assert np.array_equal(in_place, whole) == (packed_panels(vector) > 0)


LISTS = """
import json, numpy as np
from numba import njit
from fastmlp.kernels import numba_intrinsics as intrinsics
found = {}
for lanes in (4, 8, 16):
    add_steps = intrinsics.list_of_lanes(lanes)
    nonzero_rows = intrinsics.rows_with_lanes(lanes)

    @njit
    def look(flags, step, increment, place, words, some):
        return add_steps(flags, step, increment, place), nonzero_rows(words, some)

    room = np.zeros(lanes + 1, np.int64)
    words = (np.arange(lanes) * 37 % 19).astype(np.uint16)
    found[lanes] = []
    for flags in (0, 1, 0b1010, (1 << lanes) - 1, 1 << (lanes - 1)):
        n, rows = look(flags, 5, 3 + (7 << 32), room.ctypes.data, words.ctypes.data, flags & 0x15)
        found[lanes].append([flags, room[:n].tolist(), rows, words.tolist()])
    assert room[lanes] == 0  # nothing is written past as many numbers as there are lanes
print(json.dumps(found))
"""


@pytest.mark.parametrize("cpu", ["", "generic"])
def test_lists_are_of_the_lanes_that_are_set(run_python: RunPython, cpu: str) -> None:
    # LLVM would end the process at AVX-512's compression, if Numba's target had none.
    result = run_python(LISTS, **({"NUMBA_CPU_NAME": cpu} if cpu else {}))
    assert result.returncode == 0, result.stderr
    for lanes, lists in json.loads(result.stdout).items():
        for flags, steps, rows, words in lists:
            taken = [lane for lane in range(int(lanes)) if flags >> lane & 1]
            assert steps == [5 + lane * (3 + (7 << 32)) for lane in taken]
            assert rows == sum(1 << row for row, word in enumerate(words) if word & flags & 0x15)
