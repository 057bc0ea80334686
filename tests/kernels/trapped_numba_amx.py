"""What test_numba_amx.py runs in a process whose AMX is emulated, instruction by instruction."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import ModuleType
from typing import Any

import amx_trap
import numpy as np
import pytest
from amx_products import (
    ADJUST,
    SENTINEL,
    SHAPES,
    STEP,
    Panels,
    Products,
    check,
    empty,
    numbers,
)
from amx_trap import cpu

import fastmlp
from fastmlp.kernels.numba_amx_check import products_fault, tile_products
from fastmlp.kernels.numba_source import load_amx, load_bfloat16

ROWS, INPUTS, OUTPUTS = (1, 2, 15, 16, 17, 128), (1, 2, 31, 32, 33, 784), (1, 10, 16, 17, 30, 128)
# Of all combinations each value of a side with each of another one, and what test_amx.py tries.
SHAPES = [
    *SHAPES,
    *(
        (rows, fan_in, OUTPUTS[(i + j) % 6])
        for i, rows in enumerate(ROWS)
        for j, fan_in in enumerate(INPUTS)
    ),
]
some_shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
VECTOR = 64


@pytest.fixture(scope="module")
def kernels() -> ModuleType:
    return load_amx(cpu)


@pytest.fixture(scope="module")
def emulated() -> ModuleType:
    """The same products by multiplications of float32."""
    return load_bfloat16(cpu)


def weighted_sum(
    kernels: ModuleType, a: Panels, w: np.ndarray, b: np.ndarray | None, z: Panels,
    first: int, last: int,
) -> None:  # fmt: skip
    # As in a layer, biases are one more row of the weights.
    weights = Panels(w if b is None else np.vstack((w, b)))
    bias = 0 if b is None else weights.at + len(w) * VECTOR
    kernels.bfloat16_sum.ctypes(
        a.at, 4 * a.stride, 0, weights.at, 4 * weights.stride, VECTOR, bias, z.at,
        4 * z.stride, a.rows, len(w), first, last,
    )  # fmt: skip


def weight_gradient(
    kernels: ModuleType, x: np.ndarray, dz: np.ndarray, out: Panels,
    inputs: tuple[int, int], panels: tuple[int, int], *how: int,
) -> None:  # fmt: skip
    a, slopes = Panels(x, past=np.nan), Panels(dz)
    kernels.bfloat16_gradient.ctypes(
        a.at, 4 * a.stride, VECTOR, 0, slopes.at, 4 * slopes.stride, out.at, 4 * out.stride,
        len(x), *inputs, *panels, *(how or [0] * 6),
    )  # fmt: skip


# ------------------------------------------------------------------------------------ products


@some_shapes
def test_weighted_sum(
    kernels: ModuleType, emulated: ModuleType, bfloat16_products: Products,
    shape: tuple[int, int, int],
) -> None:  # fmt: skip
    rows, fan_in, fan_out = shape
    x, w, b = numbers(0, rows, fan_in), numbers(1, fan_in, fan_out), numbers(2, fan_out)
    for bias in (b, None):
        z, of_c, other = (empty(rows, fan_out) for _ in range(3))
        weighted_sum(kernels, Panels(x, past=np.nan), w, bias, z, 0, z.n)
        plus = 0.0 if bias is None else bias
        check(z.padded(), x, w, plus)
        a, weights = Panels(x, past=np.nan), Panels(w)
        of_bias = None if bias is None else Panels(bias.reshape(1, -1), spare=0)
        bfloat16_products.weighted_sum(
            a.at, a.stride, None, weights.at, weights.stride, 16, of_bias and of_bias.at, of_c.at,
            of_c.stride, rows, fan_in, 0, z.n,
        )  # fmt: skip
        assert np.array_equal(z.matrix(), of_c.matrix())  # bit by bit as the cython engine
        weighted_sum(emulated, a, w, bias, other, 0, z.n)
        close(z.matrix(), other.matrix(), x, w, plus)


def close(found: np.ndarray, other: np.ndarray, a: np.ndarray, b: np.ndarray, plus: Any) -> None:
    """Two sums of the same terms: each within its bound, see kernels/README.md."""
    check(other, a, b, plus)
    bound = 1.02 * (a.shape[1] + 1) * 2.0**-23 * (abs(a).astype(float) @ abs(b) + abs(plus))
    assert (abs(found.astype(float) - other) <= bound).all()


@some_shapes
def test_weight_gradient(
    kernels: ModuleType, emulated: ModuleType, bfloat16_products: Products,
    shape: tuple[int, int, int],
) -> None:  # fmt: skip
    rows, fan_in, fan_out = shape
    x, dz = numbers(0, rows, fan_in), numbers(1, rows, fan_out)
    dw, of_c, other = (empty(fan_in, fan_out) for _ in range(3))
    weight_gradient(kernels, x, dz, dw, (0, fan_in), (0, dw.n))
    check(dw.padded(), x.T, dz)
    a, slopes = Panels(x, past=np.nan), Panels(dz)
    bfloat16_products.weight_gradient(
        a.at, a.stride, None, slopes.at, slopes.stride, of_c.at, of_c.stride, None, rows, 0,
        fan_in, 0, dw.n,
    )  # fmt: skip
    assert np.array_equal(dw.matrix(), of_c.matrix())
    weight_gradient(emulated, x, dz, other, (0, fan_in), (0, dw.n))
    close(dw.matrix(), other.matrix(), x.T, dz, 0.0)


@some_shapes
def test_gradient_descent(kernels: ModuleType, shape: tuple[int, int, int]) -> None:
    rows, fan_in, fan_out = shape
    x, dz, w = numbers(0, rows, fan_in), numbers(1, rows, fan_out), numbers(2, fan_in, fan_out)
    factor, weights = np.array([-0.25], np.float32), Panels(w)
    weight_gradient(
        kernels, x, dz, weights, (0, fan_in), (0, weights.n), factor.ctypes.data, 0, 0, 0, 0, 0
    )
    check(weights.padded(), -0.25 * x.T, dz, w)


@some_shapes
def test_a_step_after_an_adjustment(kernels: ModuleType, shape: tuple[int, int, int]) -> None:
    rows, fan_in, fan_out = shape
    x, dz, w = numbers(0, rows, fan_in), numbers(1, rows, fan_out), numbers(2, fan_in, fan_out)
    weights, state = Panels(w), Panels(0.0 * w)
    distance = state.at - weights.at

    def values(at: int, n: int) -> np.ndarray:
        return np.ctypeslib.as_array((ctypes.c_float * n).from_address(at))

    def adjust(w: int, g: int, adjustments: int, n: int) -> None:
        assert adjustments == 55
        values(g, n)[:] *= 2.0

    def step(w: int, g: int, state: int, stride: int, given: int, n: int) -> None:
        assert (state - w, stride, given) == (distance, distance, 66)
        values(state, n)[:] += 1.0
        values(w, n)[:] -= values(g, n)

    functions = STEP(step), ADJUST(adjust)
    update, adjustment = (ctypes.cast(each, ctypes.c_void_p).value or 0 for each in functions)
    how = (0, update, 66, distance, adjustment, 55)
    weight_gradient(kernels, x, dz, weights, (0, fan_in), (0, weights.n), *how)
    check(weights.padded(), -2.0 * x.T, dz, w)
    assert (state.matrix() == 1.0).all()  # each of them once


@pytest.mark.parametrize("fan_in", [1, 30, 32, 450])
def test_few_rows_of_a_row_major_matrix(kernels: ModuleType, fan_in: int) -> None:
    # As predictions read the flat vector: a panel is 16 columns of it.
    x, w, z = numbers(0, 5, fan_in), numbers(1, fan_in, 48), empty(5, 48)
    a = Panels(x, past=np.nan)
    kernels.bfloat16_sum.ctypes(
        a.at, 4 * a.stride, 0, w.ctypes.data, VECTOR, 4 * 48, 0, z.at, 4 * z.stride, 5, fan_in, 0, 3
    )
    check(z.matrix(), x, w)


@pytest.mark.parametrize("shape", [(130, 50, 96), (37, 450, 96), (600, 70, 96)], ids=str)
def test_parts_are_parts_of_the_whole(kernels: ModuleType, shape: tuple[int, int, int]) -> None:
    """Bit by bit, for any range of panels, inputs and rows; the others stay as they are."""
    rows, fan_in, fan_out = shape
    x, w, dz = numbers(0, rows, fan_in), numbers(1, fan_in, fan_out), numbers(2, rows, fan_out)
    whole, parts, dw, dw_parts = (
        empty(rows, fan_out), empty(rows, fan_out), empty(fan_in, fan_out), empty(fan_in, fan_out),
    )  # fmt: skip
    weighted_sum(kernels, Panels(x), w, None, whole, 0, 6)
    weighted_sum(kernels, Panels(x), w, None, parts, 1, 4)
    found = parts.matrix()
    assert np.array_equal(found[:, 16:64], whole.matrix()[:, 16:64])
    found[:, 16:64] = SENTINEL
    assert (found == SENTINEL).all()
    weight_gradient(kernels, x, dz, dw, (0, fan_in), (0, 6))
    weight_gradient(kernels, x, dz, dw_parts, (16, 41), (2, 5))
    found = dw_parts.matrix()
    assert np.array_equal(found[16:41, 32:80], dw.matrix()[16:41, 32:80])
    found[16:41, 32:80] = SENTINEL
    assert (found == SENTINEL).all()
    for first, last in ((0, 1), (1, 18), (18, rows)):
        few = empty(last - first, fan_out)
        weighted_sum(kernels, Panels(x[first:last]), w, None, few, 0, 6)
        assert np.array_equal(few.matrix(), whole.matrix()[first:last])


def test_nothing_asked_for(kernels: ModuleType) -> None:
    w = numbers(0, 4, 20)
    z, dw = empty(3, 20), Panels(w)
    weighted_sum(kernels, Panels(numbers(1, 3, 4)), w, None, z, 1, 1)
    weighted_sum(kernels, Panels(numbers(1, 0, 4)), w, None, z, 0, 2)
    assert (z.memory == SENTINEL).all()
    weight_gradient(kernels, numbers(2, 3, 4), numbers(3, 3, 20), dw, (0, 0), (0, 2))
    assert np.array_equal(dw.matrix(), w)


def test_infinity_and_nan_stay_in_their_row_and_column(kernels: ModuleType) -> None:
    x, w, z = np.ones((3, 5), np.float32), np.ones((5, 20), np.float32), empty(3, 20)
    w[2, 0], w[4, 17] = np.nan, np.inf
    x[1, 3] = -np.inf
    with np.errstate(all="ignore"):
        weighted_sum(kernels, Panels(x, past=np.nan), w, None, z, 0, 2)
        assert np.array_equal(z.matrix(), x @ w, equal_nan=True)


# ------------------------------------------------------------------------------- whether it is used


@pytest.fixture
def mistaken() -> Any:
    yield lambda number: setattr(amx_trap.mistake, "value", number)
    amx_trap.mistake.value = 0


# The first mistake is one of the conversions that the C unit alone takes from the CPU.
@pytest.mark.parametrize(
    ("mistake", "fault"), [(0, ""), (2, "a weighted sum"), (3, "a weighted sum")]
)
def test_the_check_finds_wrong_products(
    kernels: ModuleType, mistaken: Callable[[int], None], mistake: int, fault: str
) -> None:
    mistaken(mistake)
    assert products_fault(kernels) == fault


def test_the_check_looks_at_the_gradient(kernels: ModuleType) -> None:
    class Halved:
        bfloat16_sum = kernels.bfloat16_sum

        class bfloat16_gradient:  # noqa: N801
            ctypes = staticmethod(lambda *_: None)

    assert products_fault(Halved) == "a weight gradient"  # type: ignore[arg-type]


def make() -> fastmlp.Trainer:
    return fastmlp.Trainer(fastmlp.Network([2, 2]), precision="bfloat16", backend="numba")


def info() -> fastmlp.backend.BackendInfo:
    return {each.name: each for each in fastmlp.backends()}["numba"]


def test_it_is_used_and_said() -> None:
    tile_products.cache_clear()
    assert (info().bfloat16_isa, info().bfloat16_note) == ("amx", "")
    assert make().backend_reason.endswith("; products of bfloat16 by amx")


@pytest.mark.filterwarnings("ignore:the numba backend emulates bfloat16")
@pytest.mark.parametrize("case", ["refused", "wrong", "capped"])
def test_it_is_left_aside_with_a_reason(
    case: str, monkeypatch: pytest.MonkeyPatch, mistaken: Callable[[int], None]
) -> None:
    tile_products.cache_clear()
    if case == "refused":
        monkeypatch.setenv("FASTMLP_REFUSES_AMX", "no tiles today")
    elif case == "wrong":
        mistaken(2)
    else:
        monkeypatch.setenv("FASTMLP_MAX_ISA", "avx512_bf16")
    wanted = {
        "refused": "no tiles today",
        "wrong": "AMX computes a weighted sum wrong here: a fault of the CPU, an emulator or a "
        "hypervisor",
        "capped": "",
    }[case]
    before = amx_trap.trapped.value
    found = info()
    assert (found.bfloat16_isa, found.bfloat16_note) == ("", wanted)
    assert (amx_trap.trapped.value > before) == (case == "wrong")
    assert f"are emulated{f' ({wanted})' if wanted else ''}, slower" in make().backend_reason
    tile_products.cache_clear()
