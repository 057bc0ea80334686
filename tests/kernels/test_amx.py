"""The unit of AMX, compiled with emulated tiles: right, within bounds, nothing left behind.

No CPU with AMX is needed: kernels/native/product_amx_unit.c is the file that the extension is built
from; only what amx.h says of these CPUs comes from amx_emulation.h here. On a CPU that has AMX, the
tests of test_bfloat16.py run the instructions themselves.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastmlp.kernels.bfloat16 import rounded_array

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "kernels" / "native"
LANES = 16
SENTINEL = 12345.0  # in what must stay as it is

VALUES, N, NUMBER = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_double
STEP = ctypes.CFUNCTYPE(None, VALUES, VALUES, VALUES, N, VALUES, N)
ADJUST = ctypes.CFUNCTYPE(None, VALUES, VALUES, VALUES, N)


class Update(ctypes.Structure):
    """As in kernels.h."""

    _fields_ = (
        ("step", STEP),
        ("adjust", ADJUST),
        ("adjustments", VALUES),
        ("bias_adjustments", VALUES),
        ("is_gradient_descent", ctypes.c_int),
        ("state_offset", N),
        ("state_stride", N),
        ("coefficients", VALUES),
    )


class Products(ctypes.Structure):
    """As in kernels.h."""

    _fields_ = (
        (
            "weighted_sum",
            ctypes.CFUNCTYPE(None, VALUES, N, VALUES, VALUES, N, N, VALUES, VALUES, *[N] * 5),
        ),
        (
            "weight_gradient",
            ctypes.CFUNCTYPE(None, VALUES, N, VALUES, VALUES, N, VALUES, N, VALUES, *[N] * 5),
        ),
        ("input_gradient", ctypes.CFUNCTYPE(None, VALUES, N, VALUES, N, VALUES, *[N] * 6)),
    )


def compiler() -> list[str]:
    """The C compiler that the build would take."""
    if sys.platform == "win32":
        pytest.skip("the unit is built with GCC or Clang, as on Linux and macOS")
    command = shlex.split(sysconfig.get_config_var("CC") or "cc")
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no C compiler {command[0]!r} here")
    return command


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The unit, with emulated tiles, as a library of its own."""
    built = tmp_path_factory.mktemp("amx") / "amx.so"
    command = [
        *compiler(), "-O2", "-std=c11", "-Wall", "-Wextra", "-Wno-psabi", "-fPIC",
        "-shared", "-DFASTMLP_EMULATES_AMX", "-DFASTMLP_ISA=amx", f"-I{NATIVE}", f"-I{HERE}",
        str(NATIVE / "product_amx_unit.c"), str(NATIVE / "amx_check.c"), "-o", str(built), "-lm",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return ctypes.CDLL(str(built))


@pytest.fixture
def products(library: ctypes.CDLL) -> Iterator[Products]:
    """Its three products; no instruction may fail in the test, and no tile stay in use."""
    faults = ctypes.c_int.in_dll(library, "emulated_faults")
    faults.value = 0
    yield Products.in_dll(library, "fastmlp_product_amx_bfloat16")
    assert faults.value == 0
    assert library.emulated_tiles_in_use() == 0


def at_an_end(n: int) -> np.ndarray:
    """float32 (n,) filled with sentinels, past which no byte may be read or written."""
    n_bytes = -(-4 * n // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, n_bytes + mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None).mprotect
    assert protect(ctypes.c_void_p(start + n_bytes), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    values = np.frombuffer(memory, np.float32, n, n_bytes - 4 * n)
    values[:] = SENTINEL
    return values


class Panels:
    """A matrix (rows, columns) as panels (row, lane), with rows of sentinels between them.

    `past` is what the lanes past the last column hold.
    """

    def __init__(self, matrix: np.ndarray, past: float = 0.0, spare: int = 3) -> None:
        self.rows, self.columns = matrix.shape
        self.n = -(-self.columns // LANES)
        size, self.stride = self.rows * LANES, (self.rows + spare) * LANES
        self.memory = at_an_end((self.n - 1) * self.stride + size)
        starts = range(0, self.n * self.stride, self.stride)
        self.values = [self.memory[at : at + size].reshape(-1, LANES) for at in starts]
        self.between = [self.memory[at + size : at + self.stride] for at in starts]
        wide = np.full((self.rows, self.n * LANES), past, np.float32)
        wide[:, : self.columns] = matrix
        for index, panel in enumerate(self.values):
            panel[:] = wide[:, index * LANES : (index + 1) * LANES]
        self.at = self.memory.ctypes.data

    def matrix(self) -> np.ndarray:
        """The matrix again; what lies between the panels must be as it was."""
        assert all((rows == SENTINEL).all() for rows in self.between)
        return self.wide()[:, : self.columns]

    def padded(self) -> np.ndarray:
        """The matrix of a product: what lies past its last column must be zero."""
        assert (self.wide()[:, self.columns :] == 0.0).all()
        return self.matrix()

    def wide(self) -> np.ndarray:
        return np.hstack(self.values)


def empty(rows: int, columns: int) -> Panels:
    return Panels(np.full((rows, columns), SENTINEL, np.float32), SENTINEL)


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def check(found: np.ndarray, a: np.ndarray, b: np.ndarray, plus: Any = 0.0) -> None:
    """Componentwise within n + 1 roundings of float32 of the product of rounded operands."""
    a, b = (rounded_array(np.asarray(each)).astype(np.longdouble) for each in (a, b))
    bound = (a.shape[1] + 1) * 2.0**-24 * (abs(a) @ abs(b) + abs(plus))
    assert (abs(found - (a @ b + plus)) <= bound).all()


SHAPES = [
    (1, 1, 1), (1, 784, 10), (2, 3, 5), (10, 784, 30), (15, 31, 15), (16, 32, 16), (17, 33, 17),
    (31, 64, 32), (33, 65, 33), (48, 20, 48), (128, 784, 128), (128, 417, 10), (130, 50, 96),
    (255, 416, 31), (257, 833, 47), (513, 40, 20), (1030, 4, 33), (64, 513, 300),
]  # fmt: skip
"""Rows, inputs and outputs: at and around the sides of tiles, and the sizes of blocks."""

some_shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def weighted_sum(
    products: Products, a: Panels, w: Panels, b: np.ndarray | None, z: Panels, first: int, last: int
) -> None:
    bias = None if b is None else Panels(b.reshape(1, -1), spare=0)
    products.weighted_sum(
        a.at, a.stride, None, w.at, w.stride, LANES, bias and bias.at, z.at, z.stride, a.rows,
        w.rows, first, last,
    )  # fmt: skip


@pytest.fixture
def fault_of(library: ctypes.CDLL) -> Iterator[Callable[[int], bytes | None]]:
    """What the check of the products says where the tiles make one of the emulation's mistakes."""
    mistake = ctypes.c_int.in_dll(library, "emulated_mistake")
    library.bfloat16_products_fault.restype = ctypes.c_char_p

    def check_with(number: int) -> bytes | None:
        mistake.value = number
        products = Products.in_dll(library, "fastmlp_product_amx_bfloat16")
        found: bytes | None = library.bfloat16_products_fault(ctypes.byref(products))
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
        check(z.padded(), x, w, 0.0 if bias is None else bias)


@some_shapes
def test_input_gradient(products: Products, shape: tuple[int, int, int]) -> None:
    rows, fan_in, fan_out = shape
    dz, w = numbers(0, rows, fan_out), numbers(1, fan_in, fan_out)
    slopes, weights, da = Panels(dz), Panels(w), empty(rows, fan_in)
    products.input_gradient(
        slopes.at, slopes.stride, weights.at, weights.stride, da.at, da.stride, rows, fan_in,
        fan_out, 0, da.n,
    )  # fmt: skip
    check(da.padded(), dz, w.T)


def weight_gradient(
    products: Products, x: np.ndarray, dz: np.ndarray, out: Panels, update: Update | None,
    inputs: tuple[int, int], panels: tuple[int, int],
) -> None:  # fmt: skip
    a, slopes = Panels(x, past=np.nan), Panels(dz)
    products.weight_gradient(
        a.at, a.stride, None, slopes.at, slopes.stride, out.at, out.stride,
        None if update is None else ctypes.addressof(update), len(x), *inputs, *panels,
    )  # fmt: skip


@some_shapes
def test_weight_gradient(products: Products, shape: tuple[int, int, int]) -> None:
    rows, fan_in, fan_out = shape
    x, dz = numbers(0, rows, fan_in), numbers(1, rows, fan_out)
    dw = empty(fan_in, fan_out)
    weight_gradient(products, x, dz, dw, None, (0, fan_in), (0, dw.n))
    check(dw.padded(), x.T, dz)


@some_shapes
def test_gradient_descent(products: Products, shape: tuple[int, int, int]) -> None:
    rows, fan_in, fan_out = shape
    x, dz, w = numbers(0, rows, fan_in), numbers(1, rows, fan_out), numbers(2, fan_in, fan_out)
    rate = np.array([0.25], np.float32)
    update = Update(is_gradient_descent=1, coefficients=rate.ctypes.data)
    weights = Panels(w)
    weight_gradient(products, x, dz, weights, update, (0, fan_in), (0, weights.n))
    check(weights.padded(), -0.25 * x.T, dz, w)


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
    check(weights.padded(), -2.0 * x.T, dz, w)
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
    check(z.matrix(), x, w)


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


def product_of(products: Products, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    z = empty(len(x), w.shape[1])
    weighted_sum(products, Panels(x, past=np.nan), Panels(w), None, z, 0, z.n)
    return z.matrix()


def test_a_product_with_one_is_the_rounded_number(products: Products) -> None:
    bits = np.random.default_rng(2).integers(0, 1 << 32, 3000, dtype=np.uint32)
    x = bits.view(np.float32)
    x = x[np.isfinite(x) & (np.abs(x) < 3.3e38)].reshape(-1, 1)
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
    check(product_of(products, x, w), x, w)


def test_the_emulation_knows_what_a_cpu_refuses(library: ctypes.CDLL) -> None:
    """The check that no instruction fails can fail itself: a product without its tiles does."""
    faults = ctypes.c_int.in_dll(library, "emulated_faults")
    faults.value = 0
    library.emulated_product_without_tiles()
    assert faults.value > 0


# ------------------------------------------------------------------------------- whether it is used


def test_right_products_pass_the_check(fault_of: Callable[[int], bytes | None]) -> None:
    assert fault_of(0) is None


@pytest.mark.parametrize("mistake", [1, 2, 3])
def test_wrong_products_do_not(fault_of: Callable[[int], bytes | None], mistake: int) -> None:
    assert fault_of(mistake) == b"a weighted sum"


def test_the_check_finds_each_product(library: ctypes.CDLL, products: Products) -> None:
    """One of the three is left out at a time: what it should have computed is missing."""
    for name, wanted in (
        ("weighted_sum", b"a weighted sum"),
        ("weight_gradient", b"a weight gradient"),
        ("input_gradient", b"an input gradient"),
    ):
        others = Products.from_buffer_copy(products)
        nothing = dict(Products._fields_)[name](lambda *_: None)
        setattr(others, name, nothing)
        library.bfloat16_products_fault.restype = ctypes.c_char_p
        assert library.bfloat16_products_fault(ctypes.byref(others)) == wanted


def test_a_system_without_tiles_refuses_with_a_reason(library: ctypes.CDLL) -> None:
    if not (sys.platform == "linux" and platform.machine() == "x86_64"):
        pytest.skip("elsewhere nobody is asked")
    library.amx_refusal.restype = ctypes.c_char_p
    reason = library.amx_refusal()
    if "amx_tile" not in Path("/proc/cpuinfo").read_text().split():
        assert reason is not None
    assert reason is None or reason.startswith(b"the system does not")
