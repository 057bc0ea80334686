"""Prediction in int8: exact sums, the same bits from every engine, ISA and number of threads."""

from __future__ import annotations

import ctypes
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmlp import backends
from fastmlp.backend import get_backend
from fastmlp.kernels import emit_c, formulas
from fastmlp.kernels.isa_cap import CAPS
from fastmlp.kernels.quantized import MOST_INPUTS, Int8Layer, Int8Reference

CYTHON = {info.name: info for info in backends()}["cython"]
needs_cython = pytest.mark.skipif(not CYTHON.available, reason=CYTHON.reason)
NATIVE = Path(__file__).parents[2] / "kernels" / "native"
COMPILER = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)

# In processes with a cap on the instruction set it is read again, hence as text.
MAKE_LAYERS = """
import numpy as np
from fastmlp.kernels.quantized import Int8Layer

def make_layers(sizes, activations, seed=0, weight=None):
    random = np.random.default_rng(seed)
    layers = []
    for fan_in, fan_out, name in zip(sizes[:-1], sizes[1:], activations, strict=True):
        w = random.integers(-127, 128, (fan_in, fan_out)).astype(np.int8)
        if weight is not None:
            w[...] = weight
        factors = (random.uniform(-1.0, 1.0, fan_out) * 0.01 / fan_in**0.5).astype(np.float32)
        biases = random.normal(size=fan_out).astype(np.float32)
        zero_point = int(random.integers(0, 256))
        layers.append(Int8Layer(w, factors, biases, name, random.uniform(0.005, 0.02), zero_point))
    return layers
"""
_namespace: dict[str, Any] = {}
exec(MAKE_LAYERS, _namespace)
make_layers: Callable[..., list[Int8Layer]] = _namespace["make_layers"]


def outputs_of(engine: Any, x: np.ndarray, n_outputs: int) -> tuple[bytes, bool]:
    out = np.full((len(x), n_outputs), np.nan, np.float32)
    finite = engine.predict(x, out)
    assert not np.isnan(out).any()
    return out.tobytes(), finite


# ------------------------------------------------------------------------------------- formulas


@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.floats(2.0**-126, 2.0**100, width=32),
    st.integers(0, 255),
)
def test_quantized_is_the_nearest_step(x: float, steps_per_unit: float, zero_point: int) -> None:
    wanted = min(max(Fraction(x) * Fraction(steps_per_unit) + zero_point, 0), 255)
    found = formulas.quantized(x, steps_per_unit, zero_point)
    assert found == int(found) and abs(Fraction(found) - wanted) <= Fraction(1, 2) + Fraction(
        1, 2**40
    )


def test_quantized_at_ties_and_without_a_place() -> None:
    found = [formulas.quantized(x, 1.0, 0.0) for x in (0.5, 1.5, 2.5, 254.5, 255.5)]
    assert found == [0.0, 2.0, 2.0, 254.0, 255.0]
    ends = [formulas.quantized(x, 2.0, 7.0) for x in (-math.inf, math.inf, math.nan)]
    assert ends == [0.0, 255.0, 0.0]


# ------------------------------------------------------------------------------------ reference


def by_fractions(layer: Int8Layer, x: Sequence[float]) -> list[float]:
    """A layer with identity in exact numbers, but for z's two roundings to float32."""
    steps = [
        min(max(round(Fraction(value) * Fraction(layer.steps_per_unit) + layer.zero_point), 0), 255)
        for value in x
    ]
    result = []
    for column, factor, bias in zip(layer.weights.T, layer.factors, layer.biases, strict=True):
        total = sum(
            (step - layer.zero_point) * int(w) for step, w in zip(steps, column, strict=True)
        )
        result.append(float(np.float32(np.float32(total) * factor) + bias))
    return result


def test_the_reference_is_the_definition() -> None:
    layer = make_layers((5, 3), ("identity",), seed=4)[0]
    x = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
    out = np.empty((6, 3), np.float32)
    Int8Reference([layer]).predict(x, out)
    assert out.tolist() == [by_fractions(layer, row) for row in x.tolist()]


def test_float64_holds_the_sums_of_the_widest_layer() -> None:
    assert 2 * MOST_INPUTS * 255 * 127 < 2**31 <= 2 * (MOST_INPUTS + 1) * 255 * 127
    w = np.full((MOST_INPUTS, 1), 127, np.int8)
    layer = Int8Layer(w, np.ones(1, "f4"), np.zeros(1, "f4"), "identity", 1.0, 0)
    out = np.empty((1, 1), np.float32)
    Int8Reference([layer]).predict(np.full((1, MOST_INPUTS), 255, np.uint8), out)
    assert out[0, 0] == np.float32(MOST_INPUTS * 255 * 127)


def test_the_start_takes_the_zero_point_off() -> None:
    layer = make_layers((7, 4), ("identity",), seed=2)[0]
    q = np.random.default_rng(0).integers(0, 256, (3, 7))
    wanted = (q - layer.zero_point) @ layer.weights.astype(np.int64)
    assert layer.start.dtype == np.int32
    assert np.array_equal(q @ layer.weights.astype(np.int64) + layer.start, wanted)


def test_what_is_not_finite_is_told() -> None:
    engine = Int8Reference(make_layers((2, 2), ("tanh",)))
    for value, finite in ((1.0, True), (np.nan, False), (-np.inf, False), (1e300, False)):
        assert outputs_of(engine, np.array([[0.0, value]]), 2)[1] is finite


# --------------------------------------------------------------------------------------- engines

# The last layer's bits under a cap, where they are compared with those of the reference.
ON_EVERY_ISA = (
    MAKE_LAYERS
    + """
import hashlib, json
from fastmlp.backend import get_backend
from fastmlp.kernels.formulas import ACTIVATIONS
from fastmlp.kernels.quantized import Int8Reference
backend, digest = get_backend("cython"), hashlib.sha256()
widths = (1, 3, 17, 1000)
cases = [((a, b), ("identity",), w) for a in widths for b in widths for w in (None, -127, 127)]
cases += [((33, 17, 5), (name, name), None) for name in ACTIVATIONS]
cases += [((784, 128, 10), ("relu", "softmax"), None)]
cases += [((5, 1000, 3, 65), ("tanh", "selu", "softmax"), None)]
for sizes, activations, weight in cases:
    layers = make_layers(sizes, activations, weight=weight)
    random = np.random.default_rng(sizes[0])
    for n_rows in (0, 1, 2, 13, 97):
        for x in (
            random.integers(0, 256, (n_rows, sizes[0])).astype(np.uint8),
            np.full((n_rows, sizes[0]), 255, np.uint8),
            random.normal(size=(n_rows, sizes[0])).astype(np.float32),
            np.asfortranarray(random.normal(size=(n_rows, sizes[0]))),
        ):
            found, wanted = (np.empty((n_rows, sizes[-1]), np.float32) for _ in range(2))
            backend.compile_int8(layers, 1).predict(x, found)
            Int8Reference(layers).predict(x, wanted)
            assert found.tobytes() == wanted.tobytes(), (sizes, activations, weight, n_rows)
            digest.update(found.tobytes())
print(json.dumps([backend.isa, backend.int8_isa, digest.hexdigest()]))
"""
)


@needs_cython
def test_every_isa_gives_the_bits_of_the_reference(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
    allowed_isas: Callable[[str], tuple[str, ...]],
) -> None:
    digests = set()
    for cap in CAPS:
        result = run_python(ON_EVERY_ISA, isa_cap=cap)
        assert result.returncode == 0, (cap, result.stderr)
        isa, int8_isa, digest = json.loads(result.stdout)
        assert int8_isa in allowed_isas(cap) and int8_isa.startswith(isa)
        digests.add(digest)
    assert len(digests) == 1


# What one saturating sum of two products would cut off: 2 * 255 * 127 is beyond 16 bits.
@needs_cython
@pytest.mark.parametrize("n_inputs", [1, 2, 3, 4, 5, 63, 514])
@pytest.mark.parametrize("weight", [-127, 127])
def test_extremes_do_not_saturate(n_inputs: int, weight: int) -> None:
    w = np.full((n_inputs, 9), weight, np.int8)
    layer = Int8Layer(w, np.ones(9, "f4"), np.zeros(9, "f4"), "identity", 1.0, 0)
    x = np.full((7, n_inputs), 255, np.uint8)
    out = np.empty((7, 9), np.float32)
    get_backend("cython").compile_int8([layer], 1).predict(x, out)
    assert (out == 255 * weight * n_inputs).all()  # below 2^24: exact in float32


@needs_cython
@given(
    sizes=st.lists(st.integers(1, 70), min_size=2, max_size=5),
    n_rows=st.integers(0, 200),
    kind=st.sampled_from(["uint8", "float32", "float64"]),
    is_softmax=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_any_shape(sizes: list[int], n_rows: int, kind: str, is_softmax: bool, seed: int) -> None:
    names = [*formulas.ACTIVATIONS]
    activations = [names[(seed + index) % len(names)] for index in range(len(sizes) - 1)]
    if is_softmax:
        activations[-1] = "softmax"
    layers = make_layers(sizes, activations, seed)
    random = np.random.default_rng(seed)
    x = (random.normal(size=(n_rows, sizes[0])) * random.choice([1.0, 100.0])).astype(kind)
    compiled = get_backend("cython").compile_int8(layers, 2)
    assert outputs_of(compiled, x, sizes[-1]) == outputs_of(Int8Reference(layers), x, sizes[-1])


@needs_cython
def test_rows_of_any_strides() -> None:
    layers = make_layers((6, 11, 4), ("elu", "softmax"))
    wide = np.random.default_rng(0).integers(0, 256, (50, 12)).astype(np.uint8)
    engine = get_backend("cython").compile_int8(layers, 1)
    for x in (wide[:, ::2], wide[::-1, 5::-1], wide[::3, 6:], np.asfortranarray(wide[:, :6])):
        plain = np.ascontiguousarray(x)
        assert outputs_of(engine, x, 4) == outputs_of(engine, plain, 4)


@needs_cython
def test_the_number_of_threads_does_not_change_bits() -> None:
    layers = make_layers((300, 200, 10), ("relu", "softmax"))
    x = np.random.default_rng(0).normal(size=(2000, 300)).astype(np.float32)
    found = {outputs_of(get_backend("cython").compile_int8(layers, n), x, 10) for n in (1, 2, 3, 7)}
    assert len(found) == 1
    engine = get_backend("cython").compile_int8(layers, 3)
    # Its workspaces grow with the calls, and hold what an earlier one left.
    few, many = outputs_of(engine, x[:5], 10), outputs_of(engine, x, 10)
    assert {many} == found and outputs_of(engine, x[:5], 10) == few and few[0] == many[0][:200]


@needs_cython
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_compiled_engines_tell_what_is_not_finite(value: float, kind: str) -> None:
    layers = make_layers((40, 20, 3), ("tanh", "softmax"))
    x = np.zeros((5000, 40), kind)
    engines = [get_backend("cython").compile_int8(layers, 2), Int8Reference(layers)]
    assert outputs_of(engines[0], x, 3)[1]
    for row, column in ((0, 0), (4999, 39), (2500, 17)):
        x[row, column] = value
        assert len({outputs_of(engine, x, 3) for engine in engines}) == 1
        assert not outputs_of(engines[0], x, 3)[1]
        x[row, column] = 0.0


def test_backends_without_kernels_give_the_reference() -> None:
    layers = make_layers((2, 2), ("tanh",))
    for name in ("numpy", "python"):
        assert get_backend(name).int8_isa == ""
        assert isinstance(get_backend(name).compile_int8(layers, 1), Int8Reference)


# -------------------------------------------------------- the portable unit, by a compiler alone


class Source(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("row_stride", ctypes.c_ssize_t),
        ("column_stride", ctypes.c_ssize_t),
        ("type", ctypes.c_int),
        ("scale", ctypes.c_double),
    ]


SIZE, POINTER, FLOAT = ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_float


class Int8Kernels(ctypes.Structure):
    _fields_ = [
        ("isa", ctypes.c_char_p),
        ("group", ctypes.c_int),
        (
            "weighted_sum",
            ctypes.CFUNCTYPE(
                None, POINTER, SIZE, POINTER, POINTER, SIZE, SIZE, POINTER, POINTER, *[SIZE] * 5
            ),
        ),
        (
            "quantize_rows",
            ctypes.CFUNCTYPE(ctypes.c_int, POINTER, SIZE, SIZE, SIZE, FLOAT, FLOAT, POINTER, SIZE),
        ),
        ("dequantize", POINTER),
        (
            "requantize",
            ctypes.CFUNCTYPE(None, POINTER, SIZE, SIZE, FLOAT, FLOAT, POINTER, SIZE),
        ),
    ]


@pytest.fixture(scope="module", params=["", "-DFASTMLP_FOR_AVX512_VNNI"], ids=["pairs", "fours"])
def portable(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Int8Kernels:
    """The unit without intrinsics, for words of two int16 and, as for vpdpbusd, of four bytes."""
    if COMPILER is None or not NATIVE.exists() or sys.platform == "win32":
        pytest.skip("there is no C compiler (cc, gcc or clang) on the PATH")
    folder = tmp_path_factory.mktemp("portable")
    emit_c.write_header(formulas, folder / "formulas.h")
    command = [COMPILER, "-std=c11", "-O2", "-ffp-contract=off", "-DFASTMLP_PORTABLE"]
    command += ["-DFASTMLP_ISA=portable", "-DFASTMLP_VECTOR_BYTES=16", *request.param.split()]
    command += [f"-I{folder}", f"-I{NATIVE}", "-shared", "-fPIC", str(NATIVE / "int8_unit.c")]
    run = subprocess.run([*command, "-o", "unit.so", "-lm"], cwd=folder, capture_output=True)
    assert run.returncode == 0, run.stderr
    library = ctypes.CDLL(str(folder / "unit.so"))
    return Int8Kernels.in_dll(library, "fastmlp_kernels_portable_int8")


LANES = 4  # of 16 bytes


def as_panels(words: np.ndarray) -> np.ndarray:
    """Words (rows, columns) as panels (columns / LANES, rows, LANES)."""
    rows, columns = words.shape
    padded = np.zeros((rows, -(-columns // LANES) * LANES), np.int32)
    padded[:, :columns] = words
    return np.ascontiguousarray(padded.reshape(rows, -1, LANES).transpose(1, 0, 2))


@pytest.mark.parametrize("n_inputs", [1, 2, 3, 5, 17, 1000])
def test_the_portable_sums_are_exact(portable: Int8Kernels, n_inputs: int) -> None:
    group, rows, n_outputs = portable.group, 7, 9
    random = np.random.default_rng(n_inputs)
    q = random.integers(0, 256, (rows, n_inputs)).astype(np.uint8)
    w = random.integers(-127, 128, (n_inputs, n_outputs)).astype(np.int8)
    q[0], w[:, 0], w[:, 1] = 255, -127, 127
    groups = -(-n_inputs // group)
    grouped = np.zeros((groups * group, n_outputs), np.int8 if group == 4 else np.int16)
    grouped[:n_inputs] = w
    words = grouped.reshape(groups, group, n_outputs).transpose(0, 2, 1).copy().view(np.int32)
    w_panels = as_panels(words[:, :, 0])
    a = np.full((-(-groups // LANES), rows, LANES), -1, np.int32)
    x = Source(q.ctypes.data, n_inputs, 1, 0, 1.0)
    assert portable.quantize_rows(
        ctypes.byref(x), 0, rows, n_inputs, 1.0, 0.0, a.ctypes.data, rows * LANES
    )
    start = as_panels(random.integers(-1000, 1000, (1, n_outputs)))
    z = np.empty((len(w_panels), rows, LANES), np.int32)
    portable.weighted_sum(
        a.ctypes.data, rows * LANES, None, w_panels.ctypes.data, groups * LANES, LANES,
        start.ctypes.data, z.ctypes.data, rows * LANES, rows, groups, 0, len(w_panels),
    )  # fmt: skip
    sums = z.transpose(1, 0, 2).reshape(rows, -1)[:, :n_outputs]
    wanted = q.astype(np.int64) @ w + start.transpose(1, 0, 2).reshape(1, -1)[:, :n_outputs]
    assert np.array_equal(sums, wanted)


def test_the_portable_unit_quantizes_as_the_formula_does(portable: Int8Kernels) -> None:
    group, rows, columns = portable.group, 3, 24
    values = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
    wanted = [[formulas.quantized(v, 50.0, 100.0) for v in row] for row in values.tolist()]
    shape = -(-columns // (group * LANES)), rows, LANES
    by_rows, by_panels = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    x = Source(values.ctypes.data, 4 * columns, 4, 1, 1.0)
    portable.quantize_rows(
        ctypes.byref(x), 0, rows, columns, 50.0, 100.0, by_rows.ctypes.data, rows * LANES
    )
    for panel, part in enumerate(as_panels(values.view(np.int32))):
        portable.requantize(
            part.ctypes.data, rows, panel, 50.0, 100.0, by_panels.ctypes.data, rows * LANES
        )
    narrow = np.uint8 if group == 4 else np.int16
    for found in (by_rows, by_panels):
        assert (
            found.transpose(1, 0, 2).reshape(rows, -1).view(narrow)[:, :columns].tolist() == wanted
        )
