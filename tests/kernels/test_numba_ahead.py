"""Compiling in other processes: found in the cache afterwards, or made up for."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install 'fastmlp[numba]'")

from fastmlp.kernels import numba_ahead, numba_cache, numba_compiling
from fastmlp.kernels.numba_ahead import compile_ahead, load_module
from fastmlp.kernels.numba_cache import SourceFile, keep_compiled, read_compiled, source_file
from fastmlp.kernels.numba_linking import ObjectCode

TEXT = """
from numba import cfunc, types
from fastmlp.kernels import numba_intrinsics as intrinsics

int64s = intrinsics.pointer_to("int64")

@cfunc(types.void(types.intp, types.intp))
def times(n, out):
    int64s(out)[0] = {factor} * n
"""


@pytest.fixture(autouse=True)
def _two_cpus_and_an_empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("FASTMLP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(numba_ahead, "available_cpus", lambda: 2)
    yield
    assert not numba_ahead._under_way


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Load a module, look what it computes and whether it was compiled here."""

    def run(text: str, factor: int, *, was_in_the_cache: bool) -> None:
        compiled: list[SourceFile] = []

        def recorded(file: SourceFile) -> list[ObjectCode]:
            compiled.append(file)
            return compile_file(file)

        compile_file = numba_ahead.compile_file
        with monkeypatch.context() as patch:
            patch.setattr(numba_ahead, "compile_file", recorded)
            module, out = load_module(text), np.zeros(1, np.int64)
        module.times.ctypes(5, out.ctypes.data)
        assert out[0] == 5 * factor
        assert compiled == ([] if was_in_the_cache else [source_file(text)])

    return run


def texts(*factors: object) -> list[str]:
    return [TEXT.format(factor=factor) for factor in factors]


def test_what_another_process_compiles_is_found(check: Callable[..., None]) -> None:
    first, second, third = texts(1, 2, 3)
    compile_ahead([first, second, third], 9)
    assert list(numba_ahead._under_way) == [source_file(second)]  # the first is left, for one CPU
    check(first, 1, was_in_the_cache=False)
    check(second, 2, was_in_the_cache=True)
    check(third, 3, was_in_the_cache=False)


def test_it_compiles_for_the_target_of_this_process(run_python: Callable[..., Any]) -> None:
    """A cap is a setting of Numba's that only this process was told of."""
    code = f"""
from fastmlp.kernels import numba_ahead, numba_backend
print(numba_backend.usable_cpu().isa)
numba_ahead.available_cpus = lambda: 2
numba_ahead.compile_ahead({texts(1, 2)!r}, 2)
numba_ahead.compile_file = None  # nothing is compiled here
print(len(vars(numba_ahead.load_module({texts(2)[0]!r}))))
"""
    result = run_python(code, isa_cap="baseline")
    assert result.stdout.splitlines()[1:] == ["1"], result.stderr


def test_the_target_is_told_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, str]] = []

    def refuse(*_: Any, env: dict[str, str], **__: Any) -> None:
        told.append(env)
        raise OSError("no processes today")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(numba_ahead, "numba_target", lambda: ("a triple", "some-cpu", "+some"))
    compile_ahead(texts(1, 3), 2)
    [environment] = told
    assert environment["NUMBA_CPU_NAME"] == "some-cpu"
    assert environment["NUMBA_CPU_FEATURES"] == "+some"


@pytest.mark.parametrize("lacks", ["code", "symbols"])
def test_what_cannot_be_linked_is_compiled(
    check: Callable[..., None], monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    """Kept code may need what Numba alone brings, as fast mathematics of another package."""
    [text] = texts(14)
    check(text, 14, was_in_the_cache=False)
    file = source_file(text)
    if lacks == "code":
        file.compiled_path.write_bytes(b"")
    else:
        [code] = read_compiled(file) or []
        keep_compiled(file, [code._replace(externals=("nobody_has_this",))])
    check(text, 14, was_in_the_cache=False)
    check(text, 14, was_in_the_cache=True)


def test_what_is_kept_is_not_announced(
    check: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[SourceFile] = []
    monkeypatch.setattr(numba_compiling, "announce", announced.append)
    [text] = texts(16)
    check(text, 16, was_in_the_cache=False)
    assert announced == [source_file(text)]
    check(text, 16, was_in_the_cache=True)
    assert len(announced) == 1


def test_what_numba_compiles_for_is_looked_at_again_once_it_is_loaded(
    check: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    [text] = texts(15)
    check(text, 15, was_in_the_cache=False)
    guesses = [("x86_64", "what it was taken for", "")]
    target = numba_cache.target
    monkeypatch.setattr(numba_cache, "target", lambda: guesses.pop() if guesses else target())
    check(text, 15, was_in_the_cache=True)
    assert not guesses


def test_it_finds_what_this_process_imports(
    check: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "only_here.py").write_text("FACTOR = 7\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path), tmp_path, b"ignored"])
    text = "from only_here import FACTOR\n" + TEXT.format(factor="FACTOR")
    compile_ahead([*texts(1), text], 2)
    check(text, 7, was_in_the_cache=True)


def test_it_does_not_run_what_lies_in_the_current_folder(
    check: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not this one')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    compile_ahead(texts(1, 10), 2)
    check(*texts(10), 10, was_in_the_cache=True)


def test_what_is_compiled_is_left_alone(check: Callable[..., None]) -> None:
    """And what is left of the rest, if it is one module, is left to this process."""
    compiled, other = texts(4, 5)
    check(compiled, 4, was_in_the_cache=False)
    compile_ahead([compiled, other], 2)
    assert not numba_ahead._under_way


@pytest.mark.parametrize(("n_cpus", "n_threads"), [(1, 2), (2, 1)])
def test_without_a_second_thread_nothing_is_started(
    n_cpus: int, n_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba_ahead, "available_cpus", lambda: n_cpus)
    compile_ahead(texts(1, 5), n_threads)
    assert not numba_ahead._under_way


def test_an_application_with_python_in_it_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/application")
    compile_ahead(texts(1, 5), 2)
    assert not numba_ahead._under_way


def test_without_processes_it_is_compiled_here(
    check: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no processes today")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    compile_ahead(texts(1, 6), 2)
    check(*texts(6), 6, was_in_the_cache=False)


def test_a_process_that_fails_or_takes_too_long_is_made_up_for(
    check: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba_ahead, "COMPILE", "raise SystemExit(1)")
    compile_ahead(texts(1, 8), 2)
    check(*texts(8), 8, was_in_the_cache=False)
    monkeypatch.setattr(numba_ahead, "COMPILE", "import time; time.sleep(60)")
    monkeypatch.setattr(numba_ahead, "PATIENCE", 0.1)
    compile_ahead(texts(1, 9), 2)
    process = numba_ahead._under_way[source_file(*texts(9))]
    check(*texts(9), 9, was_in_the_cache=False)
    assert process.returncode not in (None, 0)


def test_processes_that_nobody_asked_for_take_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_ahead, "COMPILE", "")
    compile_ahead(texts(1, 11), 2)
    [process] = numba_ahead._under_way.values()
    process.wait()
    compile_ahead(texts(1, 12), 2)
    assert list(numba_ahead._under_way) == [source_file(*texts(12))]
    numba_ahead._end_all()


def test_ctrl_c_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(numba_ahead, "COMPILE", "import time; time.sleep(60)")
    compile_ahead(texts(1, 13), 2)
    [process] = numba_ahead._under_way.values()
    monkeypatch.setattr(time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_module(*texts(13))
    assert process.returncode is not None
