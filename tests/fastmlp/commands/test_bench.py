"""What ``fastmlp bench`` reads and writes besides measuring."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastmlp.benchmarks.request import Request
from fastmlp.benchmarks.results import Results, write_results
from fastmlp.benchmarks.runner import run
from fastmlp.cli import main

QUICK = ("bench", "--quick", "--cases", "matmul", "--backends", "numpy", "--peers", "none",
         "--rows", "128", "--repeats", "3")  # fmt: skip


def measure(folder: Path) -> Results:
    request = Request(
        level="quick", cases=["matmul"], backends=["numpy"], peers=[], rows=128, repeats=3
    )
    results = run(request)
    write_results(results, folder / "results.json")
    return results


def test_two_runs_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = measure(tmp_path)
    for measurement in results.measurements:
        measurement.repetitions = [2.0 * seconds for seconds in measurement.repetitions]
    write_results(results, tmp_path / "new.json")
    arguments = ["bench", "--compare", str(tmp_path / "results.json"), str(tmp_path / "new.json")]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "  2.000  " in shown and "95% interval" in shown
    assert main([*arguments, "--format", "markdown"]) == 0
    assert "| matmul | numpy |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "other"}, "no benchmark results of fastmlp"),
        ({"schema_version": 1}, "version 1"),
        ({"measurements": 3}, "damaged"),
    ],
)
def test_a_foreign_file_is_not_written_over(
    change: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = measure(tmp_path).as_dict() | change
    path = tmp_path / "results.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    before = path.read_bytes()
    assert main([*QUICK, "--output", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0] and "not written over" in lines[0]
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["results.json"]


def test_results_of_this_version_are_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(tmp_path)
    before = (tmp_path / "results.json").read_bytes()
    assert main([*QUICK, "--output", str(tmp_path), "--format", "markdown"]) == 0
    assert (tmp_path / "results.json").read_bytes() != before
    assert (tmp_path / "report.md").read_text(encoding="utf-8").startswith("#")
    assert f"Report: {tmp_path / 'report.md'}" in capsys.readouterr().out


def test_failures_are_told_and_make_the_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastmlp.kernels.numpy_backend import NumpyBackend

    def matmul(*arguments: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(NumpyBackend, "matmul", matmul)
    assert main([*QUICK, "--output", str(tmp_path)]) == 1
    assert "matmul with numpy failed: RuntimeError: broken" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["report.html", "results.json"])
def test_a_folder_in_the_place_of_a_file_is_told_before_the_run(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measured(*arguments: object) -> None:
        raise AssertionError("the run began")

    monkeypatch.setattr("fastmlp.benchmarks.runner.run", measured)
    (tmp_path / name).mkdir()
    assert main([*QUICK, "--output", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / name}: expected the name of a file" in line
    assert [each.name for each in tmp_path.iterdir()] == [name]
