"""The emitted C header gives the bits of the NumPy formulas, in both precisions."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastmlp.kernels import emit_c, formulas
from fastmlp.kernels.numpy_backend import compile_formulas
from fastmlp.kernels.subset import SubsetError
from fastmlp.losses import NAMED_LOSSES

PRECISIONS = ("float32", "float64")
C_REALS = {"float32": ctypes.c_float, "float64": ctypes.c_double}
COMPILER = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)

# Loops over the header's own lists: what is in the tables is in the library.
LOOPS = """
#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT
#endif
#define X(name, in_z) \\
EXPORT void name##_activation_PRECISION(const REAL *z, REAL *a, REAL *slope, long n) { \\
    for (long i = 0; i < n; i++) { \\
        a[i] = name##_PRECISION(z[i]); slope[i] = name##_at_PRECISION(z[i], a[i]); } }
FOREACH_ACTIVATION(X)
#undef X
#define X(name, of_log, n_parameters) \\
EXPORT void name##_loss_PRECISION( \\
    const REAL *z, const REAL *y, const REAL *own, REAL *value, REAL *slope, long n) { \\
    for (long i = 0; i < n; i++) { \\
        value[i] = name##_value_of_PRECISION(z[i], y[i], own); \\
        slope[i] = name##_slope_of_PRECISION(z[i], y[i], own); } }
FOREACH_LOSS(X)
#undef X
#define X(name, n_states, n_coefficients) \\
EXPORT void name##_update_PRECISION( \\
    REAL *w, const REAL *g, REAL *state, const REAL *coefficients, long n) { \\
    for (long i = 0; i < n; i++) name##_step_PRECISION(w + i, g[i], state + i, n, coefficients); }
FOREACH_STEP(X)
#undef X
"""


@pytest.fixture(scope="module", params=["-O0", "-O3 -march=native"])
def library(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ctypes.CDLL:
    if COMPILER is None:
        pytest.skip("there is no C compiler (cc, gcc or clang) on the PATH")
    folder = tmp_path_factory.mktemp("emitted")
    emit_c.write_header(formulas, folder / "formulas.h")
    source = '#include "formulas.h"\n'
    for precision in PRECISIONS:
        real = emit_c.C_TYPES[precision]
        source += LOOPS.replace("PRECISION", precision).replace("REAL", real)
    (folder / "loops.c").write_text(source)
    built = folder / ("loops.dll" if sys.platform == "win32" else "loops.so")
    command = [COMPILER, "-std=c11", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]
    command += [*request.param.split(), "-shared", "-fPIC", "loops.c", "-o", built.name, "-lm"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return ctypes.CDLL(str(built))


def call(library: ctypes.CDLL, name: str, *arrays: np.ndarray, n: int) -> None:
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]
    getattr(library, name)(*pointers, ctypes.c_long(n))


def values(precision: str, n: int = 4000) -> np.ndarray:
    random = np.random.default_rng(0)
    special = [-np.inf, -1e30, -100.0, -0.0, 0.0, 1e-40, 88.5, 1e30, np.inf, np.nan]
    parts = [random.uniform(-90.0, 90.0, n), random.normal(size=n), special]
    return np.concatenate(parts).astype(precision)


def assert_same_bits(found: np.ndarray, wanted: Any) -> None:
    wanted = np.broadcast_to(np.asarray(wanted, found.dtype), found.shape)
    both_nan = np.isnan(found) & np.isnan(wanted)  # which NaN it is says nothing
    same = found.view(f"i{found.itemsize}") == np.ascontiguousarray(wanted).view(
        f"i{found.itemsize}"
    )
    assert (same | both_nan).all()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", formulas.ACTIVATIONS)
def test_activation_and_derivative(library: ctypes.CDLL, name: str, precision: str) -> None:
    z = values(precision)
    a, slope = np.empty_like(z), np.empty_like(z)
    call(library, f"{name}_activation_{precision}", z, a, slope, n=z.size)
    row, compiled = formulas.ACTIVATIONS[name], compile_formulas(precision)
    with np.errstate(all="ignore"):
        wanted = compiled[row.value.__name__](z)
        assert_same_bits(a, wanted)
        source = z if row.derivative_input == "z" else wanted
        assert_same_bits(slope, compiled[row.derivative.__name__](source))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", formulas.LOSSES)
def test_loss_value_and_slope(library: ctypes.CDLL, name: str, precision: str) -> None:
    z = values(precision)
    y = np.random.default_rng(1).uniform(size=z.size).astype(precision)
    value, slope = np.empty_like(z), np.empty_like(z)
    own = np.array([each[0] for each in NAMED_LOSSES[name].parameters(3)], precision)
    call(library, f"{name}_loss_{precision}", z, y, own, value, slope, n=z.size)
    row, compiled = formulas.LOSSES[name], compile_formulas(precision)
    with np.errstate(all="ignore"):
        assert_same_bits(value, compiled[row.value.__name__](z, y, *own))
        assert_same_bits(slope, compiled[row.slope.__name__](z, y, *own))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", formulas.STEPS)
def test_update(library: ctypes.CDLL, name: str, precision: str) -> None:
    row, random = formulas.STEPS[name], np.random.default_rng(2)
    w, g = random.normal(size=(2, 500)).astype(precision)
    state = random.uniform(size=(len(row.states), 500)).astype(precision)
    coefficients = random.uniform(0.1, 0.9, row.n_coefficients)
    results = compile_formulas(precision)[row.update.__name__](w, g, *state, *coefficients.tolist())
    call(
        library, f"{name}_update_{precision}", w, g, state, coefficients.astype(precision), n=w.size
    )
    for found, wanted in zip([w, *state], results, strict=True):
        assert_same_bits(found, wanted)


@pytest.mark.parametrize("value", [0.1, 1.0, 0.0, 88.37, -2.1219444005469057e-4, 1e-45, 2.0**-149])
def test_constants_are_rounded_once(value: float) -> None:
    as_float, as_double = emit_c.constant(value, "float32"), emit_c.constant(value, "float64")
    assert as_float.endswith("f") and float.fromhex(as_float[:-1]) == float(np.float32(value))
    assert float.fromhex(as_double) == value


def test_a_constant_beyond_float32_is_refused() -> None:
    with pytest.raises(SubsetError, match="too large for float32"):
        emit_c.constant(1e300, "float32")


def test_an_unchanged_header_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "formulas.h"
    emit_c.write_header(formulas, path)
    text = path.read_text(encoding="utf-8")
    path.chmod(0o444)
    before = path.stat().st_mtime_ns
    emit_c.write_header(formulas, path)
    assert path.stat().st_mtime_ns == before
    path.chmod(0o644)
    path.write_text("something else", encoding="utf-8")
    emit_c.write_header(formulas, path)
    assert path.read_text(encoding="utf-8") == text


def test_the_lists_name_every_row() -> None:
    header = emit_c.c_header(formulas)
    for name, row in formulas.ACTIVATIONS.items():
        assert f"X({name}, {int(row.derivative_input == 'z')})" in header
    for name, loss in formulas.LOSSES.items():
        of_softmax = int(loss.of == "log_softmax")
        assert f"X({name}, {of_softmax}, {len(loss.parameters)})" in header
    for name, step in formulas.STEPS.items():
        assert f"X({name}, {len(step.states)}, {step.n_coefficients})" in header
