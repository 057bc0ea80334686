"""Training under pytest-benchmark: ``python -m pytest --pyargs fastmlp.benchmarks``."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastmlp.backend import backends
from fastmlp.benchmarks.cases import Case, Setting, cases_of
from fastmlp.datasets import Dataset, load_digits

AVAILABLE = [info.name for info in backends() if info.available]
ROWS = 10_000


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """Draw the images once."""
    return load_digits(ROWS, 1000)


@pytest.mark.parametrize("backend", AVAILABLE)
@pytest.mark.parametrize("case", cases_of(["training"]), ids=lambda case: case.name)
def test_epoch(benchmark: BenchmarkFixture, digits: Dataset, case: Case, backend: str) -> None:
    """Time one epoch on one backend, and see that it learns."""
    rows = case.rows_timed(backend, ROWS)
    prepared = case.prepare(Setting(backend, digits, rows))
    prepared.warm_up()
    benchmark.group = case.title
    benchmark.extra_info.update(rows_timed=rows, rows_reported=case.rows)
    benchmark.pedantic(prepared.call, rounds=3, iterations=1)  # type: ignore[no-untyped-call]
    if prepared.score is not None:
        accuracy = prepared.score()
        benchmark.extra_info.update(accuracy=accuracy)
        assert accuracy > 0.5
