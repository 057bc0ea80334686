"""The units of AMX with emulated tiles, and Numba's functions, for the tests that look at them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from amx_products import Kernels, Products, build, products_of


@pytest.fixture(scope="session")
def amx_library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return build(tmp_path_factory.mktemp("amx"))


@pytest.fixture
def without_faults(amx_library: ctypes.CDLL) -> Iterator[None]:
    """No instruction may fail in the test, and no tile stay in use."""
    faults = ctypes.c_int.in_dll(amx_library, "emulated_faults")
    faults.value = 0
    yield
    assert faults.value == 0
    assert amx_library.emulated_tiles_in_use() == 0


@pytest.fixture
def bfloat16_products(amx_library: ctypes.CDLL, without_faults: None) -> Products:
    return products_of(amx_library, "bfloat16")


@pytest.fixture
def multiply_add(amx_library: ctypes.CDLL) -> Products:
    """The kernel of float32, which what cannot be split is left to."""
    kernels = Kernels.in_dll(amx_library, "fastmlp_product_avx512_float32")
    found = Products(kernels.weighted_sum, kernels.weight_gradient, kernels.input_gradient)
    found.rounds = False
    return found


CompileAnew = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def compile_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CompileAnew:
    """Return a function that calls one that loads a module, and returns Numba's own functions.

    Of what is kept, nothing of Numba's is left.
    """
    from fastmlp.kernels import numba_compiling

    monkeypatch.setenv("FASTMLP_CACHE_DIR", str(tmp_path))

    def run(load: Callable[[], Any]) -> Any:
        found: dict[str, Any] = {}

        def recorded(function: Any, names: tuple[str, ...]) -> Any:
            found.update(dict.fromkeys(names, function))
            return object_code(function, names)

        object_code = numba_compiling.object_code
        with monkeypatch.context() as patch:
            patch.setattr(numba_compiling, "object_code", recorded)
            load()
        return SimpleNamespace(**found)

    return run
