"""FASTMLP_MAX_ISA: what it may be, and that the compiled units are the ones it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastmlp.kernels.isa_cap import CAPS, requested_cap

ISA_TABLE = Path(__file__).parents[2] / "kernels" / "native" / "isa_table.h"


def test_no_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTMLP_MAX_ISA", raising=False)
    assert requested_cap() is None
    monkeypatch.setenv("FASTMLP_MAX_ISA", "  ")
    assert requested_cap() is None


def test_a_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTMLP_MAX_ISA", " AVX2 ")
    assert requested_cap() == "avx2"


def test_an_unknown_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTMLP_MAX_ISA", "sse9")
    with pytest.raises(
        ValueError, match=r"baseline, avx2, avx512, avx512_vnni, avx512_bf16, amx; got 'sse9'"
    ):
        requested_cap()


def test_caps_are_the_rows_of_the_isa_table() -> None:
    text = ISA_TABLE.read_text(encoding="utf-8")
    rows = re.findall(r"^ +(?:ISA|INT8|BFLOAT16|AMX)\((\w+), ", text, re.MULTILINE)
    assert tuple(rows) == CAPS
