"""The kernels under pytest-benchmark: ``python -m pytest --pyargs fastmlp.benchmarks``."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastmlp.backend import backends
from fastmlp.benchmarks.cases import BATCH_SIZE, Case, Setting, cases_of
from fastmlp.datasets import load_digits

AVAILABLE = [info.name for info in backends() if info.available]


@pytest.mark.parametrize("backend", AVAILABLE)
@pytest.mark.parametrize("case", cases_of(["kernels"]), ids=lambda case: case.name)
def test_kernel(benchmark: BenchmarkFixture, case: Case, backend: str) -> None:
    """Time one kernel on one backend."""
    rows = case.rows_timed(backend, BATCH_SIZE)
    prepared = case.prepare(Setting(backend, load_digits(BATCH_SIZE, 0), rows))
    prepared.warm_up()
    benchmark.group = case.title
    benchmark.extra_info.update(rows_timed=rows, rows_reported=case.rows)
    benchmark(prepared.call)
