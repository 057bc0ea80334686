from __future__ import annotations

import math

import pytest

from fastmlp.benchmarks.results import Results
from fastmlp.benchmarks.tables import (
    Table,
    backends_table,
    format_bytes,
    format_speedup,
    format_time,
    general_notes,
    kernels_table,
    machine_table,
    measurements_table,
    training_table,
)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (650.4, "650 s"),
        (12345.0, "12,300 s"),
        (1.0, "1.00 s"),
        (0.4567, "0.457 s"),
        (0.012345, "12.3 ms"),
        (0.0009996, "1.00 ms"),
        (0.0000123, "12.3 us"),
        (9.996e-6, "10.0 us"),
        (0.0, "0 us"),
    ],
)
def test_format_time(seconds: float, shown: str) -> None:
    assert format_time(seconds) == shown


def test_format_speedup_and_bytes() -> None:
    assert format_speedup(2134.0) == "2,130x"
    assert format_speedup(math.nan) == "-"
    assert format_bytes(3 * 2**30) == "3.0 GiB"
    assert format_bytes(0) == "unknown"


def test_text_is_aligned() -> None:
    table = Table("title", ["name", ">value"], [["a", "1"], ["long", "1000"]], ["note"])
    assert table.as_text().splitlines() == [
        "title",
        "-----------",
        "name  value",
        "-----------",
        "a         1",
        "long   1000",
        "note",
    ]


def test_kernels(results: Results) -> None:
    table = kernels_table(results)
    assert table.rows == [
        ["product <of two>", "python", "1.00 s*", "20.0%", "1.00x", "0.250 s"],
        ["", "numpy", "2.00 ms ", "50.0%", "500x", "0.250 s"],
    ]
    assert table.notes == [
        "* product <of two>, python: timed on 32 of 128 rows; the time is multiplied by 4."
    ]


def test_training(results: Results) -> None:
    table = training_table(results)
    assert table.rows == [
        ["python", "703 s*", "-", "85", "1.00x", "-", "0.250 s"],
        ["numpy", "0.500 s ", "-", "120,000", "1,410x", "97.50%", "0.250 s"],
    ]
    assert table.notes == [
        "* epoch, python: timed on 128 of 60,000 rows; the time is multiplied by 468.8.",
        "No accuracy for python: trained on 128 rows only.",
        "Accuracy on 10,000 test rows after 1 epoch.",
    ]


def test_every_repetition_is_shown(results: Results) -> None:
    rows = measurements_table(results).rows
    assert len(rows) == 4
    assert rows[0][-1] == "0.200 s, 0.250 s, 0.300 s"


def test_backends_and_machine(results: Results) -> None:
    assert backends_table(results).rows[0] == ["numba", "-", "-", "float32", "<not> installed"]
    assert ["memory", "3.0 GiB"] in machine_table(results).rows
    assert ["numba", "-"] in machine_table(results).rows


def test_a_busy_machine_is_named(results: Results) -> None:
    assert any("Spreads reach 50%" in note for note in general_notes(results))
    results.measurements[1].repetitions = [0.002, 0.002, 0.002]
    assert not any("Spreads" in note for note in general_notes(results))
