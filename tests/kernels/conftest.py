"""The units of AMX with emulated tiles, for the tests that run them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest
from amx_products import Products, build, products_of


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
