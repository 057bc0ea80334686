"""The CPU that Numba compiles for: its name and its vector registers, capped by FASTMLP_MAX_ISA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
from numba.core import config
from numba.core.registry import cpu_target

from .isa_cap import MAX_ISA_VARIABLE, requested_cap

LEVELS = {"baseline": ("x86-64", 128), "avx2": ("x86-64-v3", 256)}
"""Cap: LLVM's name of the CPU that has just this much, and its vector bits."""

CAPPED_ISA = {"baseline": "SSE2", "avx2": "AVX2"}


@dataclass(frozen=True)
class Cpu:
    """What code is compiled for.

    Attributes
    ----------
    name : str
        LLVM's name of the CPU.
    isa : str
        Its widest vector instructions, in a word or two.
    vector_bits : int
        The width of a vector register.
    n_registers : int
        How many of them there are.
    """

    name: str
    isa: str
    vector_bits: int
    n_registers: int


def host_cpu() -> Cpu:
    """Return the CPU of this machine."""
    features = llvm.get_host_cpu_features()
    name = llvm.get_host_cpu_name()
    if features.get("avx512f") and features.get("avx512vl"):
        return Cpu(name, "AVX-512", 512, 32)
    if features.get("avx2") and features.get("fma"):
        return Cpu(name, "AVX2", 256, 16)
    if features.get("avx"):
        return Cpu(name, "AVX", 256, 16)
    if llvm.get_process_triple().startswith(("x86", "i686")):
        return Cpu(name, "SSE2", 128, 16)
    return Cpu(name, "128-bit vectors", 128, 32)


def weaker_caps(cpu: Cpu) -> tuple[str, ...]:
    """Return the caps under which narrower vectors would be compiled for; weakest first."""
    if not llvm.get_process_triple().startswith("x86_64"):
        return ()
    return tuple(cap for cap, (_, bits) in LEVELS.items() if bits < cpu.vector_bits)


def target_features() -> frozenset[str]:
    """Return what the target has that Numba compiles for: LLVM ends the process at other code."""
    return frozenset(cpu_target.target_context.codegen().magic_tuple()[2].split(","))


def multiplies_pairs(cpu: Cpu) -> bool:
    """Return whether code may multiply pairs of bfloat16: AVX512-BF16."""
    if cpu.vector_bits != 512 or requested_cap() not in (None, "amx", "avx512_bf16"):
        return False
    return "+avx512bf16" in target_features()


def select_cpu() -> Cpu:
    """Apply the cap to Numba, before it compiles anything, and return the CPU in use.

    Numba has one target per process: the cap holds for other code that it compiles there too.

    Raises
    ------
    ValueError
        If FASTMLP_MAX_ISA is not valid.
    RuntimeError
        If it lowers the ISA but Numba has already set up its compiler for the host.
    """
    cap, cpu = requested_cap(), host_cpu()
    if cap is None or not llvm.get_process_triple().startswith("x86_64"):
        return cpu
    if cap != "baseline" and cap not in weaker_caps(cpu):
        return cpu
    name, bits = LEVELS[cap]
    settings: Any = config  # a module that makes its attributes when it is loaded
    settings.CPU_NAME, settings.CPU_FEATURES = name, ""
    # Numba sets its compiler up once, on first use, and keeps it: look whether ours came first.
    if cpu_target.target_context.codegen().magic_tuple()[2]:
        settings.CPU_NAME, settings.CPU_FEATURES = None, None
        raise RuntimeError(
            f"{MAX_ISA_VARIABLE}={cap} cannot be obeyed: Numba has already compiled for "
            f"{llvm.get_host_cpu_name()} in this process; use fastmlp's numba backend before other "
            f"Numba code, or set NUMBA_CPU_NAME={name} and NUMBA_CPU_FEATURES='' as well"
        )
    return Cpu(name, CAPPED_ISA[cap], bits, 16)
