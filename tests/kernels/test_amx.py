"""The units of AMX, compiled with emulated tiles: right, within bounds, nothing left behind.

No CPU with AMX is needed: kernels/native/product_amx.h is the file that the extension is built
from; only what amx.h says of these CPUs comes from amx_emulation.h here. On a CPU that has AMX, the
tests of test_bfloat16.py run the instructions themselves. What is particular to float32 by split
products is in test_amx_float32.py.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amx_products import (
    ADJUST,
    LANES,
    SENTINEL,
    SHAPES,
    STEP,
    Panels,
    Products,
    Update,
    check,
    empty,
    input_gradient,
    numbers,
    product_of,
    products_of,
    weight_gradient,
    weighted_sum,
)

from fastmlp.kernels.bfloat16 import rounded_array


@pytest.fixture(params=["bfloat16", "float32"])
def products(
    amx_library: ctypes.CDLL, without_faults: None, request: pytest.FixtureRequest
) -> Products:
    return products_of(amx_library, request.param)


N_CHECKED = 3 * 34 * 16
"""Numbers in the panels of a matrix of the check."""

some_shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


@pytest.fixture
def fault_of(
    amx_library: ctypes.CDLL, products: Products
) -> Iterator[Callable[[int], bytes | None]]:
    """What the check of the products says where the tiles make one of the emulation's mistakes."""
    mistake = ctypes.c_int.in_dll(amx_library, "emulated_mistake")
    amx_library.products_fault.restype = ctypes.c_char_p

    def check_with(number: int) -> bytes | None:
        mistake.value = number
        found: bytes | None = amx_library.products_fault(ctypes.byref(products), products.rounds)
        return found

    yield check_with
    mistake.value = 0


# ------------------------------------------------------------------------------------ products


@some_shapes
def test_weighted_sum(products: Products, shape: tuple[int, int, int]) -> None:
    rows, fan_in, fan_out = shape
    x, w, b = numbers(0, rows, fan_in), numbers(1, fan_in, fan_out), numbers(2, fan_out)
    for bias in (b, None):
        z = empty(rows, fan_out)
        weighted_sum(products, Panels(x, past=np.nan), Panels(w), bias, z, 0, z.n)
        check(z.padded(), x, w, 0.0 if bias is None else bias, rounds=products.rounds)


@some_shapes
def test_input_gradient(products: Products, shape: tuple[int, int, int]) -> None:
    rows, fan_in, fan_out = shape
    dz, w = numbers(0, rows, fan_out), numbers(1, fan_in, fan_out)
    da = input_gradient(products, dz, w)
    check(da.padded(), dz, w.T, rounds=products.rounds)


@some_shapes
def test_weight_gradient(products: Products, shape: tuple[int, int, int]) -> None:
    rows, fan_in, fan_out = shape
    x, dz = numbers(0, rows, fan_in), numbers(1, rows, fan_out)
    dw = empty(fan_in, fan_out)
    weight_gradient(products, x, dz, dw, None, (0, fan_in), (0, dw.n))
    check(dw.padded(), x.T, dz, rounds=products.rounds)


@some_shapes
def test_gradient_descent(products: Products, shape: tuple[int, int, int]) -> None:
    rows, fan_in, fan_out = shape
    x, dz, w = numbers(0, rows, fan_in), numbers(1, rows, fan_out), numbers(2, fan_in, fan_out)
    rate = np.array([0.25], np.float32)
    update = Update(is_gradient_descent=1, coefficients=rate.ctypes.data)
    weights = Panels(w)
    weight_gradient(products, x, dz, weights, update, (0, fan_in), (0, weights.n))
    check(weights.padded(), -0.25 * x.T, dz, w, rounds=products.rounds)


@some_shapes
@pytest.mark.parametrize("is_gradient_descent", [0, 1])
def test_a_step_after_an_adjustment(
    products: Products, shape: tuple[int, int, int], is_gradient_descent: int
) -> None:
    rows, fan_in, fan_out = shape
    x, dz, w = numbers(0, rows, fan_in), numbers(1, rows, fan_out), numbers(2, fan_in, fan_out)
    weights, state, coefficients = Panels(w), Panels(0.0 * w), np.zeros(1, np.float32)

    def values(at: int, n: int) -> np.ndarray:
        return np.ctypeslib.as_array((ctypes.c_float * n).from_address(at))

    def adjust(w: int, g: int, adjustments: int, n: int) -> None:
        values(g, n)[:] *= 2.0

    def step(w: int, g: int, state: int, stride: int, given: int, n: int) -> None:
        assert (stride, given) == (77, coefficients.ctypes.data)
        values(state, n)[:] += 1.0
        values(w, n)[:] -= values(g, n)

    update = Update(
        STEP(step), ADJUST(adjust), coefficients.ctypes.data, None, is_gradient_descent,
        state.at - weights.at, 77, coefficients.ctypes.data,
    )  # fmt: skip
    weight_gradient(products, x, dz, weights, update, (0, fan_in), (0, weights.n))
    check(weights.padded(), -2.0 * x.T, dz, w, rounds=products.rounds)
    assert (state.matrix() == 1.0).all()  # each of them once


# ------------------------------------------------------------------------- what is asked for alone


@pytest.mark.parametrize("fan_in", [1, 30, 32, 450])
def test_few_rows_of_a_row_major_matrix(products: Products, fan_in: int) -> None:
    # As predictions read the flat vector: a panel is 16 columns of it.
    x, w, z = numbers(0, 5, fan_in), numbers(1, fan_in, 48), empty(5, 48)
    a = Panels(x, past=np.nan)
    products.weighted_sum(
        a.at, a.stride, None, w.ctypes.data, LANES, 48, None, z.at, z.stride, 5, fan_in, 0, 3
    )
    check(z.matrix(), x, w, rounds=products.rounds)


@pytest.mark.parametrize("shape", [(130, 50, 96), (37, 450, 96), (600, 70, 96)], ids=str)
def test_parts_are_parts_of_the_whole(products: Products, shape: tuple[int, int, int]) -> None:
    """Bit by bit, for any range of panels, inputs and rows; the others stay as they are."""
    rows, fan_in, fan_out = shape
    x, w, dz = numbers(0, rows, fan_in), numbers(1, fan_in, fan_out), numbers(2, rows, fan_out)
    whole, parts, dw, dw_parts = (
        empty(rows, fan_out), empty(rows, fan_out), empty(fan_in, fan_out), empty(fan_in, fan_out),
    )  # fmt: skip
    weighted_sum(products, Panels(x), Panels(w), None, whole, 0, 6)
    weighted_sum(products, Panels(x), Panels(w), None, parts, 1, 4)
    found = parts.matrix()
    assert np.array_equal(found[:, 16:64], whole.matrix()[:, 16:64])
    found[:, 16:64] = SENTINEL
    assert (found == SENTINEL).all()
    weight_gradient(products, x, dz, dw, None, (0, fan_in), (0, 6))
    weight_gradient(products, x, dz, dw_parts, None, (16, 41), (2, 5))
    found = dw_parts.matrix()
    assert np.array_equal(found[16:41, 32:80], dw.matrix()[16:41, 32:80])
    found[16:41, 32:80] = SENTINEL
    assert (found == SENTINEL).all()
    for first, last in ((0, 1), (1, 18), (18, rows)):
        few = empty(last - first, fan_out)
        weighted_sum(products, Panels(x[first:last]), Panels(w), None, few, 0, 6)
        assert np.array_equal(few.matrix(), whole.matrix()[first:last])


def test_nothing_asked_for(products: Products) -> None:
    z, w = empty(3, 20), Panels(numbers(0, 4, 20))
    weighted_sum(products, Panels(numbers(1, 3, 4)), w, None, z, 1, 1)
    weighted_sum(products, Panels(numbers(1, 0, 4)), w, None, z, 0, 2)
    assert (z.memory == SENTINEL).all()
    weight_gradient(products, numbers(2, 3, 4), numbers(3, 3, 20), w, None, (0, 0), (0, 2))
    assert np.array_equal(w.matrix(), numbers(0, 4, 20))


# ----------------------------------------------------------------------------------- numbers


def test_a_product_with_one_is_the_number(products: Products) -> None:
    bits = np.random.default_rng(2).integers(0, 1 << 32, 3000, dtype=np.uint32)
    x = bits.view(np.float32)
    x = x[np.isfinite(x) & (np.abs(x) < 3.3e38)].reshape(-1, 1)
    wanted = x
    if products.rounds:
        wanted = np.where(np.abs(x) < 2.0**-126, np.float32(0.0), rounded_array(x))
    assert np.array_equal(product_of(products, x, np.ones((1, 1), np.float32)), wanted)


def test_infinity_and_nan_stay_in_their_row_and_column(products: Products) -> None:
    x, w = np.ones((3, 5), np.float32), np.ones((5, 20), np.float32)
    w[2, 0], w[4, 17] = np.nan, np.inf
    x[1, 3] = -np.inf
    with np.errstate(all="ignore"):
        assert np.array_equal(product_of(products, x, w), x @ w, equal_nan=True)


def test_products_of_wide_range(products: Products) -> None:
    random = np.random.default_rng(0)
    x = (numbers(0, 40, 70) * 10.0 ** random.uniform(-18, 18, (40, 70))).astype(np.float32)
    w = (numbers(1, 70, 20) * 10.0 ** random.uniform(-15, 15, (70, 20))).astype(np.float32)
    check(product_of(products, x, w), x, w, rounds=products.rounds)


def test_the_emulation_knows_what_a_cpu_refuses(amx_library: ctypes.CDLL) -> None:
    """The check that no instruction fails can fail itself: a product without its tiles does."""
    faults = ctypes.c_int.in_dll(amx_library, "emulated_faults")
    faults.value = 0
    amx_library.emulated_product_without_tiles()
    assert faults.value > 0


# ------------------------------------------------------------------------------- whether it is used


def test_right_products_pass_the_check(fault_of: Callable[[int], bytes | None]) -> None:
    assert fault_of(0) is None


@pytest.mark.parametrize("mistake", [1, 2, 3])
def test_wrong_products_do_not(
    fault_of: Callable[[int], bytes | None], products: Products, mistake: int
) -> None:
    # What is cut off instead of rounded (1) is in the second piece of three.
    is_right = mistake == 1 and not products.rounds
    assert fault_of(mistake) == (None if is_right else b"a weighted sum")


def test_the_check_finds_each_product(amx_library: ctypes.CDLL, products: Products) -> None:
    """One of the three is left out at a time: what it should have computed is missing."""
    for name, wanted in (
        ("weighted_sum", b"a weighted sum"),
        ("weight_gradient", b"a weight gradient"),
        ("input_gradient", b"an input gradient"),
    ):
        others = Products.from_buffer_copy(products)
        nothing = dict(Products._fields_)[name](lambda *_: None)
        setattr(others, name, nothing)
        amx_library.products_fault.restype = ctypes.c_char_p
        assert amx_library.products_fault(ctypes.byref(others), products.rounds) == wanted


@pytest.mark.parametrize("operand", [0, 1])
def test_the_check_finds_a_missing_third_piece(
    amx_library: ctypes.CDLL, products: Products, operand: int
) -> None:
    """Operands with 16 of their 24 bits, as two pieces have them, are wrong for float32 alone."""
    lengths = {"weighted_sum": (0, 3), "weight_gradient": (0, 3), "input_gradient": (0, 2)}
    for name, wanted in (
        ("weighted_sum", b"a weighted sum"),
        ("weight_gradient", b"a weight gradient"),
        ("input_gradient", b"an input gradient"),
    ):
        original, place = getattr(products, name), lengths[name][operand]

        def short(*arguments: Any, original: Any = original, place: int = place) -> None:
            values = np.ctypeslib.as_array(
                (ctypes.c_uint32 * N_CHECKED).from_address(arguments[place])
            )
            cut = values & np.uint32(0xFFFFFF00)
            original(*arguments[:place], cut.ctypes.data, *arguments[place + 1 :])

        others = Products.from_buffer_copy(products)
        setattr(others, name, dict(Products._fields_)[name](short))
        amx_library.products_fault.restype = ctypes.c_char_p
        found = amx_library.products_fault(ctypes.byref(others), products.rounds)
        assert found == (None if products.rounds else wanted)


def test_a_system_without_tiles_refuses_with_a_reason(amx_library: ctypes.CDLL) -> None:
    if not (sys.platform == "linux" and platform.machine() == "x86_64"):
        pytest.skip("elsewhere nobody is asked")
    amx_library.amx_refusal.restype = ctypes.c_char_p
    reason = amx_library.amx_refusal()
    if "amx_tile" not in Path("/proc/cpuinfo").read_text().split():
        assert reason is not None
    assert reason is None or reason.startswith(b"the system does not")
