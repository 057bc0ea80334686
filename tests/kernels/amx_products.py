"""The units of AMX with emulated tiles, and panels for them: what the tests of tiles share."""

from __future__ import annotations

import ctypes
import mmap
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp
from fastmlp.kernels import emit_c, formulas
from fastmlp.kernels.bfloat16 import rounded_array

HERE = Path(__file__).parent
UNITS = ("product_amx_unit", "product_amx_float32_unit", "amx_check")
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

    rounds: bool
    """To bfloat16, or takes float32 in three pieces."""

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


class Kernels(ctypes.Structure):
    """product_kernels, as in kernels.h."""

    _fields_ = (
        ("gather", VALUES),
        ("to_panels", VALUES),
        ("from_panels", VALUES),
        *Products._fields_[:2],
        ("bias_gradient", VALUES),
        ("transpose", VALUES),
        Products._fields_[2],
    )


UINT8, FLOAT32, FLOAT64 = range(3)
"""As in kernels.h."""


class Source(ctypes.Structure):
    """As in kernels.h."""

    _fields_ = (
        ("data", VALUES), ("row_stride", N), ("column_stride", N), ("type", ctypes.c_int),
        ("scales_each", ctypes.c_int), ("center", VALUES), ("scale", VALUES),
    )  # fmt: skip


class WeightStrips(ctypes.Structure):
    """As in kernels.h."""

    _fields_ = (
        ("fan_in", N), ("fan_out", N), ("scale", ctypes.c_float), ("strips", VALUES),
        ("transposed", VALUES),
    )  # fmt: skip


class StripProducts(ctypes.Structure):
    """As in kernels.h."""

    _fields_ = (
        ("strip_words", ctypes.CFUNCTYPE(N, N)),
        ("gather", ctypes.CFUNCTYPE(ctypes.c_int, VALUES, VALUES, *[N] * 4, VALUES)),
        ("keep_inputs", ctypes.CFUNCTYPE(None, VALUES, *[N] * 5, VALUES)),
        ("keep_weights", ctypes.CFUNCTYPE(None, VALUES, *[N] * 5, VALUES)),
        (
            "weighted_sum",
            ctypes.CFUNCTYPE(
                None, VALUES, N, VALUES, VALUES, N, N, VALUES, VALUES, VALUES, *[N] * 5
            ),
        ),
        (
            "weight_gradient",
            ctypes.CFUNCTYPE(
                None, VALUES, N, VALUES, N, VALUES, N, VALUES, N, VALUES, VALUES, *[N] * 5, VALUES
            ),
        ),
        (
            "input_gradient",
            ctypes.CFUNCTYPE(None, VALUES, N, VALUES, VALUES, N, VALUES, VALUES, *[N] * 4),
        ),
    )


def compiler() -> list[str]:
    """The C compiler that the build would take."""
    if sys.platform == "win32":
        pytest.skip("the unit is built with GCC or Clang, as on Linux and macOS")
    command = shlex.split(sysconfig.get_config_var("CC") or "cc")
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no C compiler {command[0]!r} here")
    return command


def build(folder: Path) -> ctypes.CDLL:
    """The units, with emulated tiles, as a library of its own."""
    emit_c.write_header(formulas, folder / "formulas.h")
    common = [
        *compiler(), "-std=c11", "-Wall", "-Wextra", "-Wno-psabi", "-fPIC",
        "-fno-math-errno", "-fno-trapping-math", f"-I{NATIVE}", f"-I{HERE}", f"-I{folder}",
    ]  # fmt: skip
    isa = {info.name: info.isa for info in fastmlp.backends()}["cython"]
    if "avx2" in isa or "avx512" in isa:
        common += ["-mavx2", "-mfma"]
    # What is left to multiply-add: compiled at once, as nobody waits for it.
    common += ["-DFASTMLP_VECTOR_BYTES=64"]
    left_over = ["-O0", "-DFASTMLP_ISA=avx512", "-c"]
    built = folder / "amx.so"
    for arguments in (
        [*left_over, str(NATIVE / "product_unit.c"), "-o", str(folder / "left_over.o")],
        [
            "-O1", "-ftree-vectorize", "-shared", "-DFASTMLP_EMULATES_AMX", "-DFASTMLP_ISA=amx",
            "-o", str(built),
            *(str(NATIVE / f"{name}.c") for name in UNITS), str(folder / "left_over.o"), "-lm",
        ],
    ):  # fmt: skip
        result = subprocess.run([*common, *arguments], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
    return ctypes.CDLL(str(built))


def products_of(library: ctypes.CDLL, precision: str) -> Products:
    found = Products.in_dll(library, f"fastmlp_product_amx_{precision}")
    found.rounds = precision == "bfloat16"
    return found


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


def check(
    found: np.ndarray, a: np.ndarray, b: np.ndarray, plus: Any = 0.0, rounds: bool = True
) -> None:
    """Componentwise within n + 1 roundings of float32 of the product of what is multiplied."""
    a, b = (np.asarray(each) for each in (a, b))
    if rounds:
        a, b = rounded_array(a), rounded_array(b)
    a, b = a.astype(np.longdouble), b.astype(np.longdouble)
    bound = (a.shape[1] + 1) * 2.0**-24 * (abs(a) @ abs(b) + abs(plus))
    assert (abs(found - (a @ b + plus)) <= bound).all()


SHAPES = [
    (1, 1, 1), (1, 784, 10), (2, 3, 5), (10, 784, 30), (15, 31, 15), (16, 32, 16), (17, 33, 17),
    (31, 64, 32), (33, 65, 33), (48, 20, 48), (128, 784, 128), (128, 417, 10), (130, 50, 96),
    (255, 416, 31), (257, 833, 47), (513, 40, 20), (1030, 4, 33), (64, 513, 300), (1030, 33, 290),
    (140, 40, 530),
]  # fmt: skip
"""Rows, inputs and outputs: at and around the sides of tiles, and the sizes of blocks."""


def weighted_sum(
    products: Products, a: Panels, w: Panels, b: np.ndarray | None, z: Panels, first: int, last: int
) -> None:
    bias = None if b is None else Panels(b.reshape(1, -1), spare=0)
    products.weighted_sum(
        a.at, a.stride, None, w.at, w.stride, LANES, bias and bias.at, z.at, z.stride, a.rows,
        w.rows, first, last,
    )  # fmt: skip


def weight_gradient(
    products: Products, x: np.ndarray, dz: np.ndarray, out: Panels, update: Update | None,
    inputs: tuple[int, int], panels: tuple[int, int],
) -> None:  # fmt: skip
    a, slopes = Panels(x, past=np.nan), Panels(dz)
    products.weight_gradient(
        a.at, a.stride, None, slopes.at, slopes.stride, out.at, out.stride,
        None if update is None else ctypes.addressof(update), len(x), *inputs, *panels,
    )  # fmt: skip


def input_gradient(products: Products, dz: np.ndarray, w: np.ndarray) -> Panels:
    slopes, weights, da = Panels(dz), Panels(w), empty(len(dz), len(w))
    products.input_gradient(
        slopes.at, slopes.stride, weights.at, weights.stride, da.at, da.stride, len(dz), len(w),
        w.shape[1], 0, da.n,
    )  # fmt: skip
    return da


def product_of(products: Products, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    z = empty(len(x), w.shape[1])
    weighted_sum(products, Panels(x, past=np.nan), Panels(w), None, z, 0, z.n)
    return z.matrix()


def gradient_of(products: Products, x: np.ndarray, dz: np.ndarray) -> np.ndarray:
    dw = empty(x.shape[1], dz.shape[1])
    weight_gradient(products, x, dz, dw, None, (0, x.shape[1]), (0, dw.n))
    return dw.matrix()


def errors(found: np.ndarray, a: np.ndarray, b: np.ndarray, plus: Any = 0.0) -> np.ndarray:
    """Return the errors of a @ b + plus in units of |a| @ |b| + |plus|, where that is not zero."""
    a, b = a.astype(np.longdouble), b.astype(np.longdouble)
    size = abs(a) @ abs(b) + abs(plus)
    is_any = size > 0
    return np.asarray(abs(found - (a @ b + plus))[is_any] / size[is_any], np.float64)


def of_range(seed: int, exponents: float, *shape: int) -> np.ndarray:
    """Numbers of both signs, of 10**-exponents to 10**exponents."""
    random = np.random.default_rng(seed)
    sizes = 10.0 ** random.uniform(-exponents, exponents, shape)
    return (sizes * random.choice([-1.0, 1.0], shape)).astype(np.float32)


def rows_in(strips: np.ndarray, rows: int, columns: int, pieces: int = 1) -> np.ndarray:
    """The numbers of rows, their first pieces, with those past the last column."""
    steps = -(-columns // 32)
    tiles = strips[:, : steps * pieces * 256].reshape(len(strips), steps, pieces, 16, 16)
    halves = tiles[:, :, 0].copy().view(np.uint16)
    wide = halves.astype(np.uint32).swapaxes(1, 2).reshape(-1, steps * 32) << 16
    return wide.view(np.float32)[:rows]
