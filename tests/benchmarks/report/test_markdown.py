from __future__ import annotations

import re
from typing import Any

import pytest

from fastmlp.benchmarks.report import render
from fastmlp.benchmarks.report.markdown import escape, table_lines
from fastmlp.benchmarks.report.model import Cell, Column, Table


def test_a_table_is_in_the_pipe_syntax() -> None:
    table = Table(
        "t",
        [Column("name"), Column("time", True)],
        [[Cell("a|b"), Cell("1 s", 1.0, "±2%", True)], [Cell("-"), Cell("")]],
    )
    assert table_lines(table).splitlines() == [
        "| name | time |",
        "| --- | ---: |",
        "| a\\|b | **1 s ±2%** |",
        "| - |  |",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<b> & *x*", "&lt;b&gt; &amp; \\*x\\*"),
        ("two\nlines", "two lines"),
        ("a_b[c](d)`e`", "a\\_b\\[c\\](d)\\`e\\`"),
    ],
)
def test_text_stays_text(text: str, expected: str) -> None:
    assert escape(text) == expected


def test_all_tables_of_a_report_have_as_many_cells_in_each_row(content: dict[str, Any]) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", render(content, "markdown"), re.MULTILINE)
    assert len(tables) > 15
    for table in tables:
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(counts) == 1, table
        assert re.fullmatch(r"\|(( ?-+:? ?)\|)+", table.splitlines()[1]), table


def test_the_fastest_stands_out(content: dict[str, Any]) -> None:
    text = render(content, "markdown")
    row = next(line for line in text.splitlines() if line.startswith("| forward 128x784"))
    assert row.split(" | ")[1].startswith("**0.121 ms") and row.count("**") == 2
