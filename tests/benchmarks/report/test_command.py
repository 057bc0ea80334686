"""``fastmlp report``, with good input and bad."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fastmlp.cli import main


@pytest.fixture
def results(short_content: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(short_content), encoding="utf-8")
    return path


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run what must fail; return its one line."""
    assert main(["report", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("fastmlp: error: ")
    return lines[0]


def test_the_page_comes_beside_the_results(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(results)]) == 0
    path = results.with_name("report.html")
    assert capsys.readouterr().out == f"Report: {path}\n"
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("output", "form", "expected"),
    [
        ("new", "html", "new/report.html"),
        ("new/", "markdown", "new/report.md"),
        ("page.htm", "html", "page.htm"),
        ("notes.txt", "text", "notes.txt"),
    ],
)
def test_output_is_a_file_or_a_folder(results: Path, output: str, form: str, expected: str) -> None:
    folder = str(results.parent)
    arguments = [str(results), "--output", f"{folder}/{output}", "--format", form]
    assert main(["report", *arguments]) == 0
    assert (results.parent / expected).stat().st_size > 1000


@pytest.mark.parametrize("form", ["markdown", "text"])
def test_short_formats_go_to_standard_output(
    results: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(results), "--format", form]) == 0
    assert "Speed over PyTorch" in capsys.readouterr().out
    assert list(results.parent.iterdir()) == [results]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "not a JSON file"),
        ("[]", "no benchmark results of fastmlp"),
        ('{"schema": "fastmlp-benchmark", "schema_version": 1}', "version"),
        ('{"schema": "fastmlp-benchmark", "schema_version": 2}', "damaged"),
    ],
)
def test_a_damaged_file_is_one_line_and_overwrites_nothing(
    tmp_path: Path, text: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, report = tmp_path / "results.json", tmp_path / "report.html"
    path.write_text(text, encoding="utf-8")
    report.write_text("before", encoding="utf-8")
    line = error_of([str(path)], capsys)
    assert str(path) in line and expected in line
    assert report.read_text(encoding="utf-8") == "before"


def damaged_backend(content: dict[str, Any]) -> None:
    del content["backends"][0]["name"]


def damaged_time(content: dict[str, Any]) -> None:
    content["measurements"][3]["repetitions"] = ["fast"]


def damaged_roofline(content: dict[str, Any]) -> None:
    content["roofline"]["isas"] = [{"threads": "many"}, 3]


def damaged_cold_start(content: dict[str, Any]) -> None:
    content["cold_start"]["import_seconds"] = [{"repetitions": [1.0]}]


def damaged_failures(content: dict[str, Any]) -> None:
    content["failures"] = ["it broke"]


def odd_drawbacks(content: dict[str, Any]) -> None:
    content["drawbacks"] = {"something": "else"}


def drawbacks_of_another_length(content: dict[str, Any]) -> None:
    content["drawbacks"]["experiments"][1]["series"][0]["runs"][0].pop()


def drawbacks_in_words(content: dict[str, Any]) -> None:
    content["drawbacks"]["tables"] = "none"


def odd_roofline(content: dict[str, Any]) -> None:
    content["roofline"] = {"isas": {}, "bandwidth": []}


def roofline_without_numbers(content: dict[str, Any]) -> None:
    content["roofline"]["isas"][0]["repetitions"] = [True]


def odd_cold_start(content: dict[str, Any]) -> None:
    content["cold_start"] = {"something": []}


def damaged_number(content: dict[str, Any]) -> None:
    content["settings"]["seed"] = float("nan")


@pytest.mark.parametrize(
    "damage",
    [
        damaged_backend,
        damaged_time,
        damaged_roofline,
        damaged_cold_start,
        damaged_failures,
        damaged_number,
        odd_drawbacks,
        drawbacks_of_another_length,
        drawbacks_in_words,
        odd_roofline,
        roofline_without_numbers,
        odd_cold_start,
    ],
)
def test_damage_inside_is_one_line(
    content: dict[str, Any], tmp_path: Path, damage: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(content)
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    line = error_of([str(path)], capsys)
    assert str(path) in line and "damaged" in line
    assert not re.search("[A-Z][a-z]+Error|'str'|NoneType|object|class", line)  # no internals
    assert list(tmp_path.iterdir()) == [path]


def test_the_results_are_never_overwritten(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = results.read_bytes()
    assert "choose another name" in error_of([str(results), "--output", str(results)], capsys)
    assert results.read_bytes() == before


def test_missing_files_and_folders(
    results: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before anything is drawn, which takes seconds."""
    monkeypatch.setattr("fastmlp.benchmarks.report.render", lambda *_: pytest.fail("it was drawn"))
    assert "No such file" in error_of([str(tmp_path / "none.json")], capsys)
    nowhere = tmp_path / "no" / "folder" / "x.html"
    assert "there is no folder" in error_of([str(results), "--output", str(nowhere)], capsys)
    assert "expected a folder" in error_of([str(results), "--output", f"{results}/"], capsys)


def test_an_unknown_format_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["report", "results.json", "--format", "pdf"])
    assert left.value.code == 2
    assert "markdown" in capsys.readouterr().err
