"""The pytest-benchmark suites run, each test once and without timing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastmlp.benchmarks.case import LEVELS, Level
from fastmlp.benchmarks.cases import cases_of

pytest.importorskip("pytest_benchmark")


COMMAND = (
    sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", "numpy and not by_hand",
)  # fmt: skip
CHECKOUT = Path(__file__).parents[2] / "benchmarks"


def run_suites(*arguments: str, folder: Path) -> str:
    # Nothing of a pytest around this one: among its workers nothing is timed.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    result = subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=own, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_suites_enumerate_the_cases(tmp_path: Path) -> None:
    arguments = ("--pyargs", "fastmlp.benchmarks", "--benchmark-disable")
    shown = run_suites(*arguments, folder=tmp_path)
    for case in [*cases_of(level="default"), *cases_of(["options"])]:
        assert f"[{case.name}-numpy] PASSED" in shown


@pytest.mark.parametrize("level", LEVELS)
def test_the_level_chooses_the_cases(level: Level, tmp_path: Path) -> None:
    arguments = (str(CHECKOUT), "--collect-only", "-q", "--level", level)
    shown = run_suites(*arguments, folder=tmp_path)
    found = set(re.findall(r"\[(\w+)-numpy\]", shown))
    assert found == {case.name for case in [*cases_of(level=level), *cases_of(["options"])]}


def test_a_saved_run_is_compared_group_by_group(tmp_path: Path) -> None:
    inference = str(CHECKOUT / "test_inference.py")
    arguments = (inference, "--level", "quick", "--benchmark-storage", "runs")
    run_suites(*arguments, "--benchmark-save", "old", folder=tmp_path)
    compared = run_suites(*arguments, "--benchmark-compare", folder=tmp_path)
    groups = re.findall(r"benchmark '(.+?)': 2 tests", compared)
    assert groups == ["784-128-10, 1 row", "784-128-10, 64 rows"]
    assert "test_inference[predict_1-numpy] (0001_old)" in compared
