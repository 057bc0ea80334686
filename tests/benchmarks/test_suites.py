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
    # Of the larger groups one case is enough: which there are, the next test looks at.
    some = (
        "numpy and not by_hand and (not growth or batch_512) and (not option or plain) and not M32"
    )
    arguments = ("--pyargs", "fastmlp.benchmarks", "--benchmark-disable", "-k", some)
    shown = run_suites(*arguments, folder=tmp_path)
    left_out = re.compile("growth_(?!batch_512)|option_(?!plain)|M32")
    cases = [*cases_of(level="default"), *cases_of(["options"])]
    names = [case.name for case in cases if not left_out.match(case.name)]
    assert {"M128", "growth_batch_512", "option_plain"} < set(names)
    for name in names:
        assert f"[{name}-numpy] PASSED" in shown


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
