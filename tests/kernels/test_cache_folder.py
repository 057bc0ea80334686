"""The variable that names the cache; the platforms' own folders: test_locations.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastmlp.kernels.cache_folder import cache_folder


def test_the_variable_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FASTMLP_CACHE_DIR", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    assert not (tmp_path / "mine").exists()


def test_a_relative_folder_starts_where_the_process_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTMLP_CACHE_DIR", "here")
    assert cache_folder() == tmp_path / "here"


def test_an_empty_variable_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTMLP_CACHE_DIR", raising=False)
    expected = cache_folder()
    monkeypatch.setenv("FASTMLP_CACHE_DIR", " ")
    assert cache_folder() == expected
