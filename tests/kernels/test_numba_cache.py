"""The cache of the numba backend: where it lies, that it is found again, and what is said."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install 'fastmlp[numba]'")

from fastmlp.kernels import numba_cache


def load(text: str) -> ModuleType:
    return numba_cache.load_file(numba_cache.source_file(text))


def test_module_is_kept_in_the_cache_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FASTMLP_CACHE_DIR", str(tmp_path / "mine"))
    path = numba_cache.write_module("x = 1\n", "key")
    assert path.parent == tmp_path / "mine" / "numba" / "key"
    written = path.stat().st_mtime_ns
    assert numba_cache.write_module("x = 1\n", "key").stat().st_mtime_ns == written
    path.write_text("damaged", encoding="utf-8")
    assert numba_cache.write_module("x = 1\n", "key").read_text(encoding="utf-8") == "x = 1\n"
    assert [each.name for each in path.parent.iterdir()] == [path.name]  # no temporary files


def test_module_goes_to_a_temporary_folder_if_the_cache_is_not_writable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"  # a file where the folder should be: not even root can write there
    blocked.write_text("", encoding="utf-8")
    monkeypatch.setenv("FASTMLP_CACHE_DIR", str(blocked))
    path = numba_cache.write_module("x = 2\n", "key")
    assert path.read_text(encoding="utf-8") == "x = 2\n"
    assert blocked not in path.parents


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "n_lines"), [(Terminal(), 1), (io.StringIO(), 0)])
def test_compiling_is_announced_once_and_to_people_only(
    stream: io.StringIO, n_lines: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FASTMLP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("sys.stderr", stream)
    for text in ("x = 1\n", "x = 2\n"):
        load(text)
    lines = stream.getvalue().splitlines()
    assert len(lines) == n_lines
    assert all(str(tmp_path / "numba") in line for line in lines)


def test_what_is_compiled_already_is_not_announced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FASTMLP_CACHE_DIR", str(tmp_path))
    module = load("x = 3\n")
    assert module.__file__ is not None
    kept = Path(module.__file__).parent / "__pycache__"
    kept.mkdir(exist_ok=True)
    (kept / "kernels.train.nbi").write_bytes(b"")  # what Numba writes
    monkeypatch.setattr("sys.stderr", stream := Terminal())
    load("x = 3\n")
    assert stream.getvalue() == ""
