"""The cache of the numba backend: where it lies, what it takes for its own, and what is said."""

from __future__ import annotations

import importlib.metadata
import io
import os
import pkgutil
import re
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install 'fastmlp[numba]'")

from fastmlp.kernels import numba_cache, numba_source
from fastmlp.kernels.numba_cache import source_file
from fastmlp.kernels.numba_linking import ObjectCode

OBJECTS = [ObjectCode(("train",), 1, "symbol", (), b"code")]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("FASTMLP_CACHE_DIR", str(tmp_path / "mine"))
    return tmp_path / "mine" / "numba"


def test_a_text_is_kept_in_the_cache_folder(cache: Path) -> None:
    path = Path(source_file("x = 1\n").path)
    assert path.parents[2] == cache
    written = path.stat().st_mtime_ns
    assert source_file("x = 1\n").path == str(path) and path.stat().st_mtime_ns == written
    path.write_text("damaged", encoding="utf-8")
    source_file("x = 1\n")
    assert path.read_text(encoding="utf-8") == "x = 1\n"
    assert [each.name for each in path.parent.iterdir()] == [path.name]  # no temporary files


def test_a_folder_is_for_a_text_a_target_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {Path(source_file(text).path).parent for text in ("x = 1\n", "x = 2\n")}
    targets = [("a", "b", "c"), ("-", "b", "c"), ("a", "-", "c"), ("a", "b", "-")]
    for target in targets:
        monkeypatch.setattr(numba_cache, "target", lambda target=target: target)
        found.add(Path(source_file("x = 1\n").path).parent)
    for changed in (*numba_cache.PACKAGES, *numba_cache.INCLUDED):
        found.add(folder_after_a_change(changed))
    assert len(found) == 2 + len(targets) + len(numba_cache.PACKAGES + numba_cache.INCLUDED)


def folder_after_a_change(changed: str) -> Path:
    """Where a text is kept if this package, or this module, is another one."""
    version, get_data = importlib.metadata.version, pkgutil.get_data

    def changed_version(name: str) -> str:
        return version(name) + "+" * (name == changed)

    def changed_data(package: str, name: str) -> bytes:
        return (get_data(package, name) or b"") + b"#" * (name == f"{changed}.py")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba_cache, "_versions", numba_cache._versions.__wrapped__)
        patch.setattr(importlib.metadata, "version", changed_version)
        patch.setattr(pkgutil, "get_data", changed_data)
        return Path(source_file("x = 1\n").path).parent


def test_all_that_is_compiled_with_a_text_is_included() -> None:
    """What a text imports for its functions, and what that takes functions from."""
    kernels = Path(numba_cache.__file__).parent
    imported = set(re.findall(r"numba_\w+", numba_source.PRELUDE))
    texts = [(kernels / f"{name}.py").read_text(encoding="utf-8") for name in sorted(imported)]
    others = re.findall(r"^from \.(\w+) import", "".join(texts), re.MULTILINE)
    compiled_nowhere = {"numba_cpu", "formulas"}  # the text has the formulas' own text
    assert set(numba_cache.INCLUDED) == (imported | set(others)) - compiled_nowhere


def test_a_cache_that_is_complete_need_not_be_writable(monkeypatch: pytest.MonkeyPatch) -> None:
    file = source_file("x = 5\n")
    numba_cache.keep_compiled(file, OBJECTS)
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK and Path(path).exists())
    monkeypatch.setattr(os, "replace", lambda *_: pytest.fail("it was written"))
    assert source_file("x = 5\n") == file


def test_it_is_a_temporary_folder_if_the_cache_is_not_writable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"  # a file where the folder should be: not even root can write there
    blocked.write_text("", encoding="utf-8")
    monkeypatch.setenv("FASTMLP_CACHE_DIR", str(blocked))
    file = source_file("x = 2\n")
    assert Path(file.path).read_text(encoding="utf-8") == "x = 2\n"
    assert blocked not in Path(file.path).parents
    numba_cache.keep_compiled(file, OBJECTS)
    assert numba_cache.read_compiled(file) == OBJECTS
    assert not numba_cache.has_compiled()


def test_compiled_code_is_found_and_what_is_damaged_is_not_taken() -> None:
    file = source_file("x = 3\n")
    assert numba_cache.read_compiled(file) is None and not numba_cache.has_compiled()
    numba_cache.keep_compiled(file, OBJECTS)
    assert numba_cache.read_compiled(file) == OBJECTS and numba_cache.has_compiled()
    for size in (0, 10, file.compiled_path.stat().st_size - 1):
        os.truncate(file.compiled_path, size)
        assert numba_cache.read_compiled(file) is None


def test_a_full_disk_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no space left on device")

    file = source_file("x = 4\n")
    monkeypatch.setattr(os, "replace", refuse)
    numba_cache.keep_compiled(file, OBJECTS)
    assert numba_cache.read_compiled(file) is None
    assert [each.name for each in Path(file.path).parent.iterdir()] == ["kernels.py"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "n_lines"), [(Terminal(), 1), (io.StringIO(), 0)])
def test_compiling_is_announced_once_and_to_people_only(
    stream: io.StringIO, n_lines: int, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setattr("sys.stderr", stream)
    for text in ("x = 1\n", "x = 2\n"):
        numba_cache.announce(source_file(text))
    lines = stream.getvalue().splitlines()
    assert len(lines) == n_lines
    assert all(line.endswith(f" {cache}") for line in lines)
