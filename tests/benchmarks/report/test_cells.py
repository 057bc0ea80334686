from __future__ import annotations

import math

import pytest

from fastmlp.benchmarks.report import cells
from fastmlp.benchmarks.report.model import Cell, Kind


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (0.001, "seconds", "1 ms"),
        (2e-5, "seconds", "20 us"),
        (1000.0, "seconds", "1,000 s"),
        (0.0, "seconds", "0"),
        (0.25, "share", "25%"),
        (0.005, "share", "0.5%"),
        (10.0, "factor", "10x"),
        (16e6, "bytes", "16 MB"),
        (1024.0, "number", "1,024"),
    ],
)
def test_ticks(value: float, kind: Kind, expected: str) -> None:
    assert cells.tick(value, kind) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(231.3, "231"), (54_937.0, "54,937"), (4.962e6, "4.96 million"), (2.1e9, "2.1 billion")],
)
def test_counts(value: float, expected: str) -> None:
    assert cells.format_count(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(999.0, "999 B"), (999.6, "1 kB"), (7e8, "700 MB")]
)
def test_sizes(value: float, expected: str) -> None:
    assert cells.format_size(value) == expected


def test_what_is_missing_is_a_dash_without_a_value() -> None:
    assert cells.number(None) == cells.number(math.nan, "seconds") == Cell("-")
    assert cells.words(None) == cells.words("") == Cell("-")
    assert cells.number(0.5, "share") == Cell("50.0%", 0.5)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(25_690_112, "25,690,112"), (0.07215, "0.07215"), (2e-5, "2e-05"), (0, "0"), (9e13, "9e+13")],
)
def test_numbers(value: float, expected: str) -> None:
    assert cells.format_number(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(1240.4, "1,240"), (60.47, "60.5"), (0.195, "0.195")]
)
def test_rates(value: float, expected: str) -> None:
    assert cells.format_rate(value) == expected
