"""Numba's LLVM writes the instructions of AMX, on any x86-64 machine."""

from __future__ import annotations

import platform

import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install 'fastmlp[numba]'")

from fastmlp.benchmarks import numba_amx

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="AMX is of x86-64"
)


def names(way: str) -> list[str]:
    return [line.split()[0] for line in numba_amx.tile_instructions(way)]


@pytest.mark.parametrize("way", ["numbered", "inline"])
def test_one_product(way: str) -> None:
    loads = ["ldtilecfg", "tileloadd", "tileloadd", "tileloadd"]
    assert names(way) == [*loads, "tdpbf16ps", "tilestored", "tilerelease"]


def test_four_sums_stay_in_registers_through_a_loop() -> None:
    found = names("allocated")
    products = found.count("tdpbf16ps")  # LLVM may unroll the loop
    assert products > 0 and products % 4 == 0
    assert found.count("tileloadd") == products  # 2 x 2 products of 2 + 2 tiles, no sums among them
    assert found.count("tilezero") == found.count("tilestored") == 4
    assert (found[0], found[-1]) == ("ldtilecfg", "tilerelease")


def test_without_the_instructions_the_error_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    features = {**numba_amx.TARGET, "NUMBA_CPU_FEATURES": "-amx-tile"}
    monkeypatch.setattr(numba_amx, "TARGET", features)
    (error,) = numba_amx.tile_instructions("numbered")
    assert "LLVM ERROR: Cannot select" in error
