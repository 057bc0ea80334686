"""Files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastmlp.files import replaced_file, write_text


def test_bytes_and_text(tmp_path: Path) -> None:
    with replaced_file(tmp_path / "a.bin") as file:
        file.write(b"\x00\xff")
        assert not (tmp_path / "a.bin").exists()
    write_text(tmp_path / "b.txt", "z = Σ\n")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\xff"
    assert (tmp_path / "b.txt").read_bytes() == "z = Σ\n".encode()  # the same on every system
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "b.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_old_file_stays_if_writing_fails(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(error), replaced_file(path) as file:
        file.write(b"half of the n")
        raise error
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_the_old_file_stays_if_it_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "a.txt", "old")

    def fail(source: object, destination: object) -> None:
        raise PermissionError("in use")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(PermissionError, match="in use"):
        write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        write_text(tmp_path / "missing" / "a.txt", "text")
