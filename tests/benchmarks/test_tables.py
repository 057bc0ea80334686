from __future__ import annotations

import math
from dataclasses import replace

import pytest

from fastmlp.benchmarks.results import Results
from fastmlp.benchmarks.tables import (
    LINE_WIDTH,
    Table,
    backends_table,
    dimensions_table,
    format_bytes,
    format_speedup,
    format_time,
    general_notes,
    growth_table,
    inference_peers_table,
    inference_table,
    kernels_table,
    machine_table,
    measurements_table,
    options_table,
    peers_table,
    training_table,
)
from fastmlp.benchmarks.terminal import terminal_tables


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


TABLE = Table("title", ["name", ">value"], [["a", "1"], ["long|", "1000"]], ["note"])


def test_text_is_aligned() -> None:
    assert TABLE.as_text().splitlines() == [
        "title",
        "------------",
        "name   value",
        "------------",
        "a          1",
        "long|   1000",
        "note",
    ]


def test_markdown() -> None:
    assert TABLE.as_markdown().splitlines() == [
        "### title",
        "",
        "| name | value |",
        "| --- | ---: |",
        "| a | 1 |",
        "| long\\| | 1000 |",
        "",
        "- note",
    ]


def test_kernels(results: Results) -> None:
    table = kernels_table(results)
    assert table.columns == ["kernel", ">python ", ">numpy ", ">spread", ">speedup"]
    assert table.rows == [["product <of two>", "1.00 s*", "2.00 ms ", "50%", "500x"]]
    assert table.notes[1] == (
        "* product <of two>, python: timed on 32 of 128 rows; the time is multiplied by 4."
    )


def test_training(results: Results) -> None:
    table = training_table(results)
    assert table.rows == [
        ["M128: 784-128-10", "python", "703 s*", "-", "85", "1.00x", "-", "0.250 s"],
        ["", "numpy", "0.500 s ", "0.0%", "120,000", "1,410x", "97.50%", "0.250 s"],
        ["", "jax_scan", "0.250 s ", "0.0%", "240,000", "2,810x", "97.49%", "0.250 s"],
    ]
    assert table.notes == [
        "* M128, python: timed on 128 of 60,000 rows; the time is multiplied by 468.8.",
        "No accuracy of M128 with python: trained on 128 rows only.",
        "Accuracy on the test rows after 1 epoch (M128).",
    ]


def test_backends_and_peers_have_tables_of_their_own(results: Results) -> None:
    assert inference_table(results).rows == [["784-128-10, 1 row", "10.0 us ", "0%"]]
    peers = inference_peers_table(results)
    assert peers.columns == ["network, rows", ">onnxrt ", ">spread"]
    assert peers.rows == [["784-128-10, 1 row", "40.0 us ", "0%"]]
    assert growth_table(results).rows == [["threads 1", "0.250 s ", "0%"]]


def test_options_are_compared_with_the_epoch_without_them(results: Results) -> None:
    for name, seconds in (("option_plain", 0.5), ("option_adam", 0.625)):
        title = name.removeprefix("option_")
        results.cases.append(results.cases[-1] | {"name": name, "group": "options", "title": title})
        changes = {"case": name, "group": "options", "n_threads": 2, "repetitions": [seconds]}
        results.measurements.append(replace(results.measurements[-1], **changes))
    table = options_table(results)
    assert table.columns == ["epoch with", ">numpy ", ">/ plain", ">spread"]
    assert table.rows == [["plain", "0.500 s ", "1.00x", "0%"], ["adam", "0.625 s ", "1.25x", "0%"]]
    assert table.notes == ["/ plain: relative to plain."]
    assert table in terminal_tables(results)
    del results.measurements[-2]  # an interrupted run may lack it
    assert options_table(results).rows == [["adam", "0.625 s ", "-", "0%"]]


def test_dimensions_are_compared_with_the_main_measurement(results: Results) -> None:
    rows = dimensions_table(results).rows
    assert [row[:1] + row[2:6] + row[-1:] for row in rows] == [
        ["product <of two>", "<fast>", "float64", "2", "4.00 ms ", "2.00x"],
        ["M128", "<fast>", "float32", "1", "0.800 s ", "1.60x"],
        ["", "avx2", "float32", "2", "0.700 s ", "1.40x"],
    ]


def test_long_notes_are_wrapped() -> None:
    table = Table("title", ["name"], [["a"]], ["word " * 60])
    assert max(map(len, table.as_text().splitlines())) <= LINE_WIDTH


def test_every_repetition_is_shown(results: Results) -> None:
    rows = measurements_table(results).rows
    assert len(rows) == len(results.measurements)
    assert rows[0][-1] == "0.200 s, 0.250 s, 0.300 s"


def test_backends_peers_and_machine(results: Results) -> None:
    assert backends_table(results).rows[0] == ["numba", "-", "-", "float32", "<not> installed"]
    assert ["memory", "3.0 GiB"] in machine_table(results).rows
    assert ["numba", "-"] in machine_table(results).rows
    assert peers_table(results).rows == [
        ["JAX", "1.2", "measured"],
        ["PyTorch", "-", "<torch> is not installed; do"],
        ["ONNX Runtime", "1.2", "measured"],
    ]


def test_a_busy_machine_is_named(results: Results) -> None:
    assert any("Spreads reach 50%" in note for note in general_notes(results))
    results.measurements[1].repetitions = [0.002, 0.002, 0.002]
    assert not any("Spreads" in note for note in general_notes(results))
