"""The registry of backends: which there are, why one is missing, which one to take.

The only place of the library that loads backend modules, and it loads one when it is first used.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import cast

from .errors import HOW_TO_BUILD, BackendUnavailableError, how_to_install, unknown_name
from .kernels.contract import Backend, Plan
from .kernels.isa_cap import requested_cap
from .plan import resolve_threads

ENVIRONMENT_VARIABLE = "FASTMLP_BACKEND"


@dataclass(frozen=True)
class BackendInfo:
    """What `backends` says of one backend.

    Attributes
    ----------
    name : str
    available : bool
    reason : str
        Why it is not available and what to do; empty if it is available.
    isa : str
        The instruction set in use.
    n_threads : int
        How many threads it would use here.
    precisions : tuple of str
    bfloat16_isa : str
        Whose instructions multiply bfloat16; empty if it is emulated or not taken.
    bfloat16_note : str
        Why not those that the CPU says it has; empty if nothing is left aside.
    float32_products : str
        How float32 is multiplied, if not by `isa` alone (see FASTMLP_FLOAT32_PRODUCTS).
    """

    name: str
    available: bool
    reason: str
    isa: str = ""
    n_threads: int = 0
    precisions: tuple[str, ...] = ()
    bfloat16_isa: str = ""
    bfloat16_note: str = ""
    float32_products: str = ""


@dataclass(frozen=True)
class _Entry:
    module: str
    missing: Callable[[], str]
    """Returns why the backend cannot be used, or an empty string; must be quick."""


def _never_missing() -> str:
    return ""


def _numba_missing() -> str:
    if importlib.util.find_spec("numba") is None:
        return f"Numba is not installed; {how_to_install('numba', 'numba')}"
    return isa_cap_error()


def _cython_missing() -> str:
    if importlib.util.find_spec("fastmlp.kernels.cython_backend") is None:
        return (
            "the compiled extension is missing: it was not built when fastmlp was installed "
            f"(no C compiler, or the build failed); {HOW_TO_BUILD}"
        )
    return isa_cap_error()


def isa_cap_error() -> str:
    """Return what is wrong with FASTMLP_MAX_ISA, which stops the compiled backends; or ""."""
    try:
        requested_cap()
    except ValueError as error:
        return str(error)
    return ""


# Fastest first, as benchmarks/results measured it: "auto" takes the first that is available.
_ENTRIES = {
    "cython": _Entry("cython_backend", _cython_missing),
    "numba": _Entry("numba_backend", _numba_missing),
    "numpy": _Entry("numpy_backend", _never_missing),
    "python": _Entry("python_backend", _never_missing),
}

BACKENDS = tuple(_ENTRIES)


@cache
def _load(name: str) -> Backend | str:
    """Return the backend object, or why there is none."""
    entry = _ENTRIES[name]
    reason = entry.missing()
    if reason:
        return reason
    try:
        module = importlib.import_module(f".kernels.{entry.module}", __package__)
        backend = cast(Backend, module.backend)
        _ = backend.isa  # a FASTMLP_MAX_ISA that cannot be obeyed comes out here
    except Exception as error:  # whatever a broken install raises is the reason to show
        return f"loading it failed: {type(error).__name__}: {error}"
    return backend


def get_backend(name: str) -> Backend:
    """Return a backend by name.

    Raises
    ------
    ValueError
        If there is no backend of that name.
    BackendUnavailableError
        If it cannot run here; the text says why and what to do.
    """
    if not isinstance(name, str) or name not in _ENTRIES:
        raise unknown_name("backend", name, _ENTRIES)
    loaded = _load(name)
    if isinstance(loaded, str):
        raise BackendUnavailableError(f"backend {name!r} is not available: {loaded}")
    return loaded


def choose_backend(name: str, precision: str, plan: Plan | None = None) -> tuple[Backend, str]:
    """Return the backend for a name or "auto", and a sentence that says why it was taken.

    Raises
    ------
    ValueError
        If there is no such backend, or it cannot run `plan`.
    BackendUnavailableError
        If it cannot run here.
    """
    if name != "auto":
        if not isinstance(name, str) or name not in _ENTRIES:
            raise unknown_name("backend", name, ("auto", *_ENTRIES))
        chosen = _willing(get_backend(name), plan)
        return chosen, f"{name}: asked for by name{_product(chosen, precision, plan)}"
    forced = os.environ.get(ENVIRONMENT_VARIABLE, "").strip().lower()
    if forced and forced != "auto":
        if forced not in _ENTRIES:
            raise unknown_name(f"the environment variable {ENVIRONMENT_VARIABLE}", forced, _ENTRIES)
        chosen = _willing(get_backend(forced), plan)
        reason = f"{forced}: set by the environment ({ENVIRONMENT_VARIABLE})"
        return chosen, reason + _product(chosen, precision, plan)
    passed_over = []
    for each in _ENTRIES:
        loaded = _load(each)
        if isinstance(loaded, str):
            passed_over.append(f"{each} is not available ({loaded})")
        elif precision not in loaded.precisions:
            passed_over.append(f"{each} has no {precision}")
        elif plan is not None and loaded.refusal(plan):
            passed_over.append(f"{each} cannot run this ({loaded.refusal(plan)})")
        else:
            why = "; ".join(["the fastest that is available", *passed_over])
            return loaded, f"{each}: {why}{_product(loaded, precision, plan)}"
    raise BackendUnavailableError(f"no backend runs precision={precision!r}: {passed_over}")


def int8_backend() -> Backend:
    """Return the backend that predicts in int8: the fastest that multiplies it, or the reference.

    The reference warns that float32 is faster.
    """
    loaded = [each for each in map(_load, _ENTRIES) if not isinstance(each, str)]
    for backend in loaded:
        if backend.int8_isa:
            return backend
    warnings.warn(
        "int8 runs on its NumPy reference here, which is slower than float32: the cython backend, "
        f"which is fast, is not available ({_load('cython')})",
        stacklevel=3,
    )
    return get_backend("numpy")


def _willing(backend: Backend, plan: Plan | None) -> Backend:
    """Return the backend if it can run the plan; else raise, saying why not."""
    reason = "" if plan is None else backend.refusal(plan)
    if plan is not None and plan.precision not in backend.precisions:
        able = [
            name for name in _ENTRIES if plan.precision in getattr(_load(name), "precisions", ())
        ]
        reason = f"it has no precision={plan.precision!r}; here {', '.join(able)} have it"
    if reason:
        raise ValueError(f"backend={backend.name!r} cannot run this: {reason}")
    return backend


def _product(backend: Backend, precision: str, plan: Plan | None) -> str:
    """Return what a reason says of products: those of bfloat16, and unusual ones of float32."""
    if precision == "float32" and (products := backend.float32_products(plan)):
        return f"; products of float32 {products}"
    if precision != "bfloat16":
        return ""
    note = f" ({backend.bfloat16_note})" if backend.bfloat16_note else ""
    if backend.bfloat16_isa:
        return f"; products of bfloat16 by {backend.bfloat16_isa}{note}"
    return f"; products of bfloat16 are emulated{note}, slower than float32"


@cache
def warn_of_emulation(name: str) -> None:
    """Say, once in a process, that bfloat16 does not pay with this backend here."""
    settings = {"cython": "FASTMLP_MAX_ISA", "numba": "FASTMLP_MAX_ISA or NUMBA_CPU_NAME"}
    missing = ""
    if name in settings:
        missing = (
            f"; this CPU has neither AMX nor a fast AVX512-BF16, or {settings[name]} leaves it out"
        )
    warnings.warn(
        f"the {name} backend emulates bfloat16 here, which is slower than precision='float32'"
        + missing,
        stacklevel=3,
    )


def backends() -> list[BackendInfo]:
    """List every backend, fastest first: available or the reason why not, ISA, threads.

    Returns
    -------
    list of BackendInfo
    """
    infos = []
    for name in _ENTRIES:
        loaded = _load(name)
        if isinstance(loaded, str):
            infos.append(BackendInfo(name, False, loaded))
        else:
            threads = loaded.usable_threads(resolve_threads(None))
            infos.append(
                BackendInfo(
                    name,
                    True,
                    "",
                    loaded.isa,
                    threads,
                    loaded.precisions,
                    loaded.bfloat16_isa,
                    loaded.bfloat16_note,
                    loaded.float32_products(),
                )
            )
    return infos
