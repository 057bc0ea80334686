"""The pytest-benchmark suites run, each test once and without timing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastmlp.benchmarks.cases import cases_of

pytest.importorskip("pytest_benchmark")


def test_suites_enumerate_the_cases(tmp_path: Path) -> None:
    result = subprocess.run(
        [
            sys.executable, "-m", "pytest", "--pyargs", "fastmlp.benchmarks", "--benchmark-disable",
            "-v", "-k", "numpy and not numpy_by_hand", "-p", "no:cacheprovider",
        ],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    for case in cases_of(level="default"):
        assert f"[{case.name}-numpy] PASSED" in result.stdout
