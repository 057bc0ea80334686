"""A plugin of pytest: the numba backend finds AMX here, whose instructions amx_trap.c does.

$FASTMLP_AMX_TRAP is the library built from that file. Numba must compile for tiles: see
test_numba_amx.py, which starts such a process.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator

import pytest

from fastmlp.kernels import numba_amx_check, numba_backend, numba_cpu

library = ctypes.CDLL(os.environ["FASTMLP_AMX_TRAP"])
faults = ctypes.c_int.in_dll(library, "emulated_faults")
mistake = ctypes.c_int.in_dll(library, "emulated_mistake")
trapped = ctypes.c_int.in_dll(library, "trapped_instructions")
assert library.trap_amx() == 0
host = numba_cpu.host_cpu()
"""Vectors of 512 bits are two or four where the CPU has shorter ones: slow, but the same code."""
cpu = numba_cpu.Cpu(host.name, "AVX-512", 512, host.n_registers)
numba_backend.usable_cpu = lambda: cpu  # type: ignore[assignment]
numba_amx_check.cpu_has_tiles = lambda: True
numba_amx_check.system_refusal = lambda: os.environ.get("FASTMLP_REFUSES_AMX", "")


@pytest.fixture(autouse=True)
def _nothing_that_a_cpu_refuses() -> Iterator[None]:
    """No instruction fails in any test, and the thread that ran it has no tiles in the end."""
    faults.value = 0
    yield
    assert faults.value == 0
    assert library.emulated_tiles_in_use() == 0
