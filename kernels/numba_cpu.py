"""The CPU that Numba compiles for: its name and its vector registers, capped by FASTMLP_MAX_ISA."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm

from .isa_cap import MAX_ISA_VARIABLE, requested_cap

LEVELS = {"baseline": ("x86-64", 128), "avx2": ("x86-64-v3", 256)}
"""Cap: LLVM's name of the CPU that has just this much, and its vector bits."""

CAPPED_ISA = {"baseline": "SSE2", "avx2": "AVX2"}

SETTINGS = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX")
"""The variables by which users of Numba choose what it compiles for."""

SETTINGS_FILE = ".numba_config.yaml"
"""The same as a file, in the current folder."""


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


def target() -> tuple[str, str, str]:
    """Return the triple, the CPU and its features that Numba compiles for.

    Under a cap that is known. Numba is asked if it is loaded, or if somebody has set it up. Else it
    is what Numba will take (loading it takes half a second), but on a few old CPUs, where it leaves
    AVX aside.
    """
    cap = _cap_below(host_cpu())
    if cap is not None:
        return llvm.get_process_triple(), LEVELS[cap][0], ""
    set_up = any(name in os.environ for name in SETTINGS) or os.path.isfile(SETTINGS_FILE)
    if set_up or "numba" in sys.modules:
        return numba_target()
    features = llvm.get_host_cpu_features()
    return llvm.get_process_triple(), llvm.get_host_cpu_name(), features.flatten()


def numba_target() -> tuple[str, str, str]:
    """Load Numba, apply the cap before it compiles anything, and return what it compiles for.

    Numba has one target per process: the cap holds for other code that it compiles there later.

    Raises
    ------
    ImportError
        If Numba cannot be loaded.
    RuntimeError
        If FASTMLP_MAX_ISA lowers the ISA but Numba has already set up its compiler for the host.
    """
    try:
        from numba.core import config
        from numba.core.registry import cpu_target
    except Exception as error:  # whatever a broken install raises is the reason to show
        raise ImportError(
            "what has not been compiled before needs Numba, which cannot be loaded "
            f"({type(error).__name__}: {error}); mend its installation, or take backend='numpy'"
        ) from error
    settings: Any = config  # a module that makes its attributes when it is loaded
    cap = _cap_below(host_cpu())
    if cap is not None:
        settings.CPU_NAME, settings.CPU_FEATURES = LEVELS[cap][0], ""
    # Numba sets its compiler up once, on first use, and keeps it: look whether ours came first.
    triple, name, features = cpu_target.target_context.codegen().magic_tuple()
    if cap is not None and features:
        settings.CPU_NAME, settings.CPU_FEATURES = None, None
        raise RuntimeError(
            f"{MAX_ISA_VARIABLE}={cap} cannot be obeyed: Numba has already compiled for "
            f"{llvm.get_host_cpu_name()} in this process; set NUMBA_CPU_NAME={LEVELS[cap][0]} and "
            "NUMBA_CPU_FEATURES='' as well, which Numba obeys from its start"
        )
    return triple, name, features


def target_features() -> frozenset[str]:
    """Return what the target has that Numba compiles for: LLVM ends the process at other code."""
    return frozenset(target()[2].split(","))


def multiplies_pairs(cpu: Cpu) -> bool:
    """Return whether code multiplies pairs of bfloat16, by AVX512-BF16: where the CPU gains by it.

    On Intel's the multiply-add of rounded numbers is faster (see native/cpu.h).
    """
    if cpu.vector_bits != 512 or requested_cap() not in (None, "amx", "avx512_bf16"):
        return False
    _, name, features = target()
    return name.startswith("znver") and "+avx512bf16" in features.split(",")


def select_cpu() -> Cpu:
    """Return the CPU in use, capped by FASTMLP_MAX_ISA.

    Raises
    ------
    ValueError
        If FASTMLP_MAX_ISA is not valid.
    """
    cpu = host_cpu()
    cap = _cap_below(cpu)
    if cap is None:
        return cpu
    name, bits = LEVELS[cap]
    return Cpu(name, CAPPED_ISA[cap], bits, 16)


def _cap_below(cpu: Cpu) -> str | None:
    """Return the cap under which other code is compiled than for this CPU, if there is one."""
    cap = requested_cap()
    if cap is None or not llvm.get_process_triple().startswith("x86_64"):
        return None
    return cap if cap == "baseline" or cap in weaker_caps(cpu) else None
