from __future__ import annotations

from typing import Any

from fastmlp.benchmarks.report import render
from fastmlp.benchmarks.report.model import Cell, Column, Table
from fastmlp.benchmarks.report.text import table_lines


def test_columns_are_aligned() -> None:
    table = Table(
        "Times",
        [Column("name"), Column("time", True)],
        [[Cell("numpy"), Cell("1 s")], [Cell("a"), Cell("12.5 s", None, "±1%")]],
        ["A note."],
    )
    assert table_lines(table) == [
        "Times",
        "-----------------",
        "name         time",
        "-----------------",
        "numpy         1 s",
        "a      12.5 s ±1%",
        "A note.",
    ]


def test_tiles_tables_and_captions_are_in_the_text(content: dict[str, Any]) -> None:
    text = render(content, "text")
    assert "Speed over scikit-learn   5.04x" in text
    assert "At 4 pixels the MLP falls to 63%, the CNN to 78%." in text
    assert "fastmlp bench --data digits" in text
    assert "\t" not in text and all(line == line.rstrip() for line in text.splitlines())
