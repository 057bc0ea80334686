"""Numba's part: what a module exports, as object code that is kept."""

from __future__ import annotations

import gc
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install 'fastmlp[numba]'")

from fastmlp.kernels import numba_cpu
from fastmlp.kernels.numba_cache import read_compiled, source_file
from fastmlp.kernels.numba_compiling import compile_file
from fastmlp.kernels.numba_linking import link

TEXT = """
from numba import cfunc, njit, types
from fastmlp.kernels import numba_intrinsics as intrinsics

int64s = intrinsics.pointer_to("int64")

@njit
def twice(n):
    return n + n

@cfunc(types.void(types.intp, types.intp))
def double_to(n, out):
    int64s(out)[0] = twice(n)

@cfunc(types.void(types.intp))
def clear(out):
    int64s(out)[0] = 0

also = double_to
"""


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FASTMLP_CACHE_DIR", str(tmp_path))


def test_all_that_is_exported_is_kept() -> None:
    file = source_file(TEXT)
    objects = compile_file(file)
    assert [(each.names, each.n_arguments) for each in objects] == [
        (("double_to", "also"), 2),
        (("clear",), 1),
    ]
    assert read_compiled(file) == objects
    module, out = link(objects), np.zeros(1, np.int64)
    module.also.ctypes(21, out.ctypes.data)
    assert out[0] == 42
    module.clear.ctypes(out.ctypes.data)
    assert out[0] == 0
    assert gc.isenabled()


def test_functions_that_lie_elsewhere_are_named() -> None:
    text = TEXT.replace("= twice(n)", "= twice(n) // (n - 3)")  # Numba's error model can raise here
    externals = compile_file(source_file(text))[0].externals
    assert {"numba_gil_ensure", "PyErr_SetString", "PyExc_RuntimeError"} <= set(externals)
    assert not any(each.startswith("llvm.") for each in externals)


def test_what_lies_in_the_memory_of_this_process_is_refused() -> None:
    text = """
import ctypes
from numba import cfunc, types
cosine = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(lambda x: x)

@cfunc(types.void(types.intp))
def call(out):
    cosine(0.0)
"""
    file = source_file(text)
    with pytest.raises(ValueError, match="memory of this process"):
        compile_file(file)
    assert read_compiled(file) is None


def test_it_compiles_for_the_cap(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    code = f"""
from fastmlp.kernels.numba_cache import source_file
from fastmlp.kernels.numba_compiling import compile_file
compile_file(source_file({TEXT!r}))
from numba.core.registry import cpu_target
print(cpu_target.target_context.codegen().magic_tuple()[1])
"""
    result = run_python(code, isa_cap="baseline")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == target_under_the_cap()


def target_under_the_cap() -> str:
    triple, name, _ = numba_cpu.target()
    return "x86-64" if triple.startswith("x86_64") else name


def test_a_text_that_cannot_be_compiled_leaves_nothing() -> None:
    file = source_file(TEXT.replace("n + n", "n + nothing"))
    with pytest.raises(Exception, match="nothing"):
        compile_file(file)
    assert read_compiled(file) is None and gc.isenabled()
