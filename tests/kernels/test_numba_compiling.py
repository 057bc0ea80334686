"""Numba's part: what a module exports, as object code that is kept."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install 'fastmlp[numba]'")

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
    assert "numba_gil_ensure" in compile_file(source_file(text))[0].externals


def test_a_text_that_cannot_be_compiled_leaves_nothing() -> None:
    file = source_file(TEXT.replace("n + n", "n + nothing"))
    with pytest.raises(Exception, match="nothing"):
        compile_file(file)
    assert read_compiled(file) is None and gc.isenabled()
