from __future__ import annotations

from pathlib import Path

import pytest

from fastmlp.backend import backends
from fastmlp.benchmarks.cases import CASES
from fastmlp.benchmarks.compile_ahead import CompileAhead

NUMBA = [info for info in backends() if info.name == "numba" and info.available]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTMLP_CACHE_DIR", str(tmp_path))
    return tmp_path


def compiled(cache: Path) -> list[Path]:
    return list(cache.rglob("*.compiled"))


@pytest.mark.skipif(not NUMBA, reason="Numba is not installed")
def test_what_a_case_needs_is_compiled_in_another_process(cache: Path) -> None:
    ahead = CompileAhead([CASES["sigmoid"]], "quick", NUMBA, 1)
    try:
        assert not ahead.wait(deadline=0.0)
        assert ahead.wait()
        assert compiled(cache)
    finally:
        ahead.close()


@pytest.mark.skipif(not NUMBA, reason="Numba is not installed")
def test_it_is_ended_in_the_middle_of_it(cache: Path) -> None:
    ahead = CompileAhead([CASES["M128"]], "quick", NUMBA, 1)
    ahead.close()
    assert ahead.worker is not None and ahead.worker.process.poll() is not None
    assert not ahead.thread.is_alive()


def test_other_backends_need_none_of_it(cache: Path) -> None:
    others = [info for info in backends() if info.name != "numba"]
    ahead = CompileAhead([CASES["sigmoid"]], "quick", others, 1)
    assert ahead.wait(deadline=0.0)
    ahead.close()
    assert ahead.worker is None and not compiled(cache)
