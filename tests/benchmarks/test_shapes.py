"""The shapes of results.json: what is written has them, and what is odd has not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fastmlp.benchmarks.results import Results, read_results
from fastmlp.benchmarks.roofline import measure
from fastmlp.benchmarks.shapes import MAYBE_NUMBERS, NUMBER, ROOFLINE, damaged_part, has_shape

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_the_results_of_the_repository_are_whole(path: Path) -> None:
    results = read_results(path)
    assert results.measurements or results.cold_start


def test_what_is_measured_has_the_shape() -> None:
    found = measure("quick", n_threads=1)
    assert found is None or has_shape(found, ROOFLINE)


@pytest.mark.parametrize(
    ("value", "shape", "expected"),
    [
        (1, NUMBER, True),
        (True, NUMBER, False),
        (float("nan"), NUMBER, False),
        ([1.0, None], MAYBE_NUMBERS, True),
        ([1.0, "2"], MAYBE_NUMBERS, False),
        (True, int, False),
        (True, bool, True),
        ({"a": 1}, {"a": int, "b?": str}, True),
        ({"a": 1, "b": 2}, {"a": int, "b?": str}, False),
        ({}, {"a": int}, False),
        ({}, [int], False),
    ],
)
def test_has_shape(value: Any, shape: Any, expected: bool) -> None:
    assert has_shape(value, shape) is expected


@pytest.mark.parametrize("part", ["date", "settings", "machine", "peers", "failures"])
def test_the_part_that_is_damaged_is_named(results: Results, part: str) -> None:
    document = results.as_dict()
    assert damaged_part(document) == ""
    assert damaged_part(document | {part: 3}) == part
    del document[part]
    assert damaged_part(document) == part
