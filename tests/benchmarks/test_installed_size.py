"""Sizes of packages made up for the test, file by file."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastmlp.benchmarks.installed_size import installed_bytes, with_dependencies


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages: one needs two, one of them only for an extra."""

    def install(name: str, content: bytes, requires: list[str]) -> None:
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (tmp_path / f"{name}.py").write_bytes(content)
        lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
        lines += [f"Requires-Dist: {each}" for each in requires]
        (folder / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / "RECORD").write_text(f"{name}.py,,\nmissing_file.py,,\n", encoding="utf-8")

    install("made_up", b"12345", ["made-up.needed>=1 ; python_version >= '3'", "absent_one",
                                  "made-up-extra ; extra == 'more'"])  # fmt: skip
    install("made_up_needed", b"123", ["made_up"])
    install("made_up_extra", b"1", [])
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("site")
def test_the_files_that_are_there_are_summed():
    assert installed_bytes("made_up") == 5
    assert installed_bytes("made-up-needed") == 3


@pytest.mark.usefixtures("site")
def test_dependencies_are_followed_without_extras_and_circles():
    assert with_dependencies("made_up") == ["made-up", "made-up-needed"]


def test_what_is_not_installed_has_no_size():
    assert installed_bytes("a-package-that-nobody-has") is None
    assert with_dependencies("a-package-that-nobody-has") == []


def test_fastmlp_is_measured_by_its_code_however_it_is_installed():
    import fastmlp

    own = sum(file.stat().st_size for file in Path(fastmlp.__file__).parent.glob("*.py"))
    size = installed_bytes("fastmlp")
    assert size is not None
    assert size > own
