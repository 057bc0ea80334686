"""The folders that are searched, and the cache of each platform."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from fastmlp.datasets.locations import cache_folder, folders_to_search


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX path is not absolute on Windows")
def test_linux_cache(monkeypatch: pytest.MonkeyPatch, clean_environment: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == clean_environment / ".cache" / "fastmlp"
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/fastmlp")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification: ignore it
    assert cache_folder() == clean_environment / ".cache" / "fastmlp"


def test_macos_cache(monkeypatch: pytest.MonkeyPatch, clean_environment: Path) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == clean_environment / "Library" / "Caches" / "fastmlp"


def test_windows_cache(monkeypatch: pytest.MonkeyPatch, clean_environment: Path) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert cache_folder() == clean_environment / "AppData" / "Local" / "fastmlp" / "Cache"
    monkeypatch.setenv("LOCALAPPDATA", str(clean_environment / "local"))
    assert cache_folder() == clean_environment / "local" / "fastmlp" / "Cache"


def test_given_folder_takes_the_place_of_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert folders_to_search(None, "mnist") == []
    monkeypatch.setenv("FASTMLP_DATA", str(tmp_path / "variable"))
    variable = [tmp_path / "variable", tmp_path / "variable" / "mnist"]
    assert folders_to_search(None, "mnist") == variable
    assert folders_to_search(str(tmp_path), "mnist") == [tmp_path, tmp_path / "mnist"]
    cache = [cache_folder(), cache_folder() / "mnist"]
    assert folders_to_search(None, "mnist", with_cache=True) == variable + cache


def test_the_folder_of_one_data_set_leads_to_that_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "mnist"
    folder.mkdir()
    beside = tmp_path / "cifar-10-batches-bin"
    assert folders_to_search(folder, beside.name) == [folder, folder / beside.name, beside]
    assert folders_to_search(folder, "mnist") == [folder, folder / "mnist"]


def test_given_folder_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    wrong: Any = 3
    with pytest.raises(TypeError, match=r"data_dir must be a path.*int: 3"):
        folders_to_search(wrong, "mnist")
    with pytest.raises(FileNotFoundError, match="absent does not exist"):
        folders_to_search(tmp_path / "absent", "mnist")
    with pytest.raises(NotADirectoryError, match="data_dir must be a folder"):
        folders_to_search(tmp_path / "file", "mnist")
