"""FASTMLP_FLOAT32_PRODUCTS: what it may be, and what the cython backend makes of it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

import fastmlp
from fastmlp.kernels.float32_products import (
    FLOAT32_PRODUCTS_VARIABLE,
    requested_float32_products,
)

RunPython = Callable[..., subprocess.CompletedProcess[str]]
INFO = {info.name: info for info in fastmlp.backends()}["cython"]
REASON = (
    "import fastmlp; fastmlp.backends(); "
    "print(fastmlp.Trainer(fastmlp.Network([2, 2]), backend='cython').backend_reason)"
)
asks_a_process = pytest.mark.skipif(not INFO.available, reason=INFO.reason)


def test_what_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FLOAT32_PRODUCTS_VARIABLE, raising=False)
    assert requested_float32_products() == "fma"
    for value, wanted in (("  ", "fma"), (" FMA ", "fma"), ("Amx", "amx")):
        monkeypatch.setenv(FLOAT32_PRODUCTS_VARIABLE, value)
        assert requested_float32_products() == wanted


def test_what_it_may_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FLOAT32_PRODUCTS_VARIABLE, "tf32")
    with pytest.raises(ValueError, match=r"FLOAT32_PRODUCTS must be one of fma, amx; got 'tf32'"):
        requested_float32_products()


@asks_a_process
def test_the_reason_says_what_multiplies(run_python: RunPython) -> None:
    """Below the cap of AMX there are no tiles; without a cap there may be."""

    def reason(asked_for: str, cap: str) -> str:
        return run_python(REASON, isa_cap=cap, FASTMLP_FLOAT32_PRODUCTS=asked_for).stdout

    assert reason("fma", "avx2") == "cython: asked for by name\n"
    capped = reason("amx", "avx2")
    assert "; products of float32 by " in capped
    assert ", not AMX: this CPU has none, FASTMLP_MAX_ISA leaves it out" in capped
    used = "; products of float32 by amx, of numbers in three bfloat16\n"
    best = reason("amx", "")
    assert best.endswith(used) or ", not AMX: " in best


@asks_a_process
def test_an_unknown_value_is_why_the_backend_is_missing(run_python: RunPython) -> None:
    result = run_python(REASON, FASTMLP_FLOAT32_PRODUCTS="tf32")
    assert result.returncode != 0
    assert "FASTMLP_FLOAT32_PRODUCTS must be one of fma, amx; got 'tf32'" in result.stderr
