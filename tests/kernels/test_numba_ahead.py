"""Compiling in other processes: found in the cache afterwards, or made up for."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install 'fastmlp[numba]'")

from fastmlp.kernels import numba_ahead
from fastmlp.kernels.numba_ahead import compile_ahead, load_module
from fastmlp.kernels.numba_cache import config, source_file

TEXT = """
from numba import cfunc, types

@cfunc(types.int64(types.int64), cache=True)
def times(n):
    return {factor} * n
"""


@pytest.fixture(autouse=True)
def _two_cpus_and_an_empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("FASTMLP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.setattr(numba_ahead, "available_cpus", lambda: 2)
    yield
    assert not numba_ahead._under_way


def check(module: ModuleType, factor: int, *, was_in_the_cache: bool) -> None:
    assert module.times.ctypes(5) == 5 * factor
    assert module.times.cache_hits == was_in_the_cache


def test_what_another_process_compiles_is_found() -> None:
    text = TEXT.format(factor=2)
    compile_ahead([text, TEXT.format(factor=3)])
    assert list(numba_ahead._under_way) == [source_file(text)]  # one CPU is left for this process
    check(load_module(text), 2, was_in_the_cache=True)


def test_it_finds_what_this_process_imports(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "only_here.py").write_text("FACTOR = 7\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = "from only_here import FACTOR\n" + TEXT.format(factor="FACTOR")
    compile_ahead([text])
    check(load_module(text), 7, was_in_the_cache=True)


def test_what_is_compiled_is_left_alone() -> None:
    text = TEXT.format(factor=4)
    check(load_module(text), 4, was_in_the_cache=False)
    compile_ahead([text])
    assert not numba_ahead._under_way


def test_without_a_second_cpu_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_ahead, "available_cpus", lambda: 1)
    compile_ahead([TEXT.format(factor=5)])
    assert not numba_ahead._under_way


def test_without_processes_it_is_compiled_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no processes today")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    text = TEXT.format(factor=6)
    compile_ahead([text])
    check(load_module(text), 6, was_in_the_cache=False)


def test_a_process_that_fails_or_takes_too_long_is_made_up_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = TEXT.format(factor=8)
    monkeypatch.setattr(numba_ahead, "COMPILE", "raise SystemExit(1)")
    compile_ahead([text])
    check(load_module(text), 8, was_in_the_cache=False)
    text = TEXT.format(factor=9)
    monkeypatch.setattr(numba_ahead, "COMPILE", "import time; time.sleep(60)")
    monkeypatch.setattr(numba_ahead, "PATIENCE", 0.1)
    compile_ahead([text])
    process = numba_ahead._under_way[source_file(text)]
    check(load_module(text), 9, was_in_the_cache=False)
    assert process.returncode not in (None, 0)
