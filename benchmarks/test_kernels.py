"""The kernels under pytest-benchmark; see `suite`."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from fastmlp.benchmarks.case import Case, Setting
from fastmlp.benchmarks.suite import time_contest


def test_kernels(benchmark: BenchmarkFixture, contest: tuple[Case, Setting]) -> None:
    """Time one contender in one case."""
    time_contest(benchmark, contest)
