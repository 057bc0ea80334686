"""Whether the `numba` backend multiplies bfloat16 by the tiles of AMX: asked and tried, once.

As in `native/amx_check.c`. No instruction of AMX is compiled, or asked for, where the CPU has none.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from functools import cache

import llvmlite.binding as llvm
import numpy as np

from .bfloat16 import rounded_array
from .contract import Array
from .isa_cap import requested_cap
from .numba_cpu import Cpu, target_features
from .numba_linking import LinkedModule
from .numba_memory import Panels, address_of, aligned_zeros
from .numba_source import load_amx

ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA = 158, 0x1023, 18  # Linux on x86-64

ROWS, INPUTS, OUTPUTS = 17, 34, 18
"""One or two more than a tile holds, each."""

FEW_ROWS = 3
"""Tiles are lower then."""


@cache
def tile_products(cpu: Cpu) -> tuple[LinkedModule | None, str]:
    """Return the module of products by tiles, or None and why not, if the CPU says it has them."""
    if not may_try(cpu):
        return None, ""
    refusal = system_refusal()
    if refusal:
        return None, refusal
    try:
        kernels = load_amx(cpu)
    except ImportError as error:  # Numba's: whoever only asks what there is shall be told
        return None, str(error)
    fault = products_fault(kernels)
    if fault:
        return None, (
            f"AMX computes {fault} wrong here: a fault of the CPU, an emulator or a hypervisor"
        )
    return kernels, ""


def may_try(cpu: Cpu) -> bool:
    """Return whether CPU and system have tiles, and both FASTMLP_MAX_ISA and Numba allow them."""
    if cpu.vector_bits != 512 or requested_cap() not in (None, "amx") or not cpu_has_tiles():
        return False
    return {"+amx-tile", "+amx-bf16"} <= target_features()


def cpu_has_tiles() -> bool:
    """Return whether CPU and system have tiles of bfloat16: LLVM looks at both."""
    features = llvm.get_host_cpu_features()
    return bool(features.get("amx-tile") and features.get("amx-bf16"))


def system_refusal() -> str:
    """Ask Linux for the tiles, for this process; return why it does not give them.

    It puts their 8 KB into the frame of every signal then, for which stacks must have room.
    """
    if not sys.platform.startswith("linux") or sys.maxsize < 2**32:  # other calls, other numbers
        return "AMX is tried on Linux of 64 bits only"
    system_call = ctypes.CDLL(None, use_errno=True).syscall
    system_call.restype, system_call.argtypes = ctypes.c_long, [ctypes.c_long] * 3
    if system_call(ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA) == 0:
        return ""
    number = ctypes.get_errno()
    why = "a stack for signals is too small" if number == errno.ENOSPC else os.strerror(number)
    return f"the system does not give AMX's registers: {why}"


def products_fault(kernels: LinkedModule) -> str:
    """Try the products on small matrices whose sums are exact; return which is wrong."""
    panels = Panels("float32", 16)
    a, w, b = numbers(ROWS, INPUTS, 1), numbers(INPUTS, OUTPUTS, 2), numbers(1, OUTPUTS, 3)
    dz = numbers(ROWS, OUTPUTS, 4)
    # As in a layer, biases are one more row of the weights.
    a_panels, w_panels, dz_panels = map(panels.of, (a, np.vstack((w, b)), dz))
    a_stride, w_stride = ROWS * panels.vector, (INPUTS + 1) * panels.vector
    w_start = address_of(w_panels)

    exact = rounded_array(a).astype(np.float64) @ rounded_array(w) + b
    for rows in (ROWS, FEW_ROWS):
        z = aligned_zeros(panels.count(OUTPUTS) * a_stride)
        kernels.bfloat16_sum.ctypes(
            *(address_of(a_panels), a_stride, 0, w_start, w_stride, panels.vector),
            *(w_start + INPUTS * panels.vector, address_of(z), a_stride),
            *(rows, INPUTS, 0, panels.count(OUTPUTS)),
        )
        if not np.array_equal(panels.matrix(z, a_stride, rows, OUTPUTS), exact[:rows]):
            return "a weighted sum"

    dw = aligned_zeros(panels.count(OUTPUTS) * w_stride)
    kernels.bfloat16_gradient.ctypes(
        *(address_of(a_panels), a_stride, panels.vector, 0, address_of(dz_panels), a_stride),
        *(address_of(dw), w_stride, ROWS, 0, INPUTS, 0, panels.count(OUTPUTS)),
        *[0] * 6,
    )
    exact = rounded_array(a).astype(np.float64).T @ rounded_array(dz)
    if not np.array_equal(panels.matrix(dw, w_stride, INPUTS, OUTPUTS), exact):
        return "a weight gradient"
    return ""  # the input gradient is a weighted sum, too


def numbers(rows: int, columns: int, salt: int) -> Array:
    """Return numbers of 1 to 2 with two bits more than bfloat16 keeps: all ways of rounding."""
    row, column = np.arange(salt, rows + salt)[:, None], np.arange(columns)
    values = 1.0 + (row * 37 + column * 101 + row * column) % 512 / 512.0
    return np.where((row + column) % 3 != 0, values, -values).astype(np.float32)
