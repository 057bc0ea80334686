from __future__ import annotations

import html.parser
import re
from pathlib import Path

from fastmlp.benchmarks.report import render, summary, write_report
from fastmlp.benchmarks.results import Results
from fastmlp.benchmarks.tables import format_time


class Reader(html.parser.HTMLParser):
    """Collects the text, checks the nesting, and what would be loaded."""

    VOID = ("meta", "line", "br")
    LOADING = ("src", "href", "data", "action", "poster", "srcset")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.loaded += [f"{tag} {name}" for name, _ in attrs if name in self.LOADING]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data + "\n"


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def test_every_measurement_is_in_the_report(results: Results) -> None:
    text = read(render(results)).text
    for each in results.measurements:
        assert format_time(each.median_seconds) in text
        for repetition in each.repetitions:
            assert format_time(repetition) in text
    assert "97.50%" in text and "product <of two>" in text and "A & B <CPU>" in text
    assert "<not> installed" in text and "fastmlp bench --data digits" in text


def test_nothing_is_loaded(results: Results) -> None:
    page = render(results)
    assert read(page).loaded == []
    assert not re.search(r"https?:|url\(|@import|<script|<link|<img|<iframe", page)
    assert "prefers-color-scheme: dark" in page


def test_bars_are_as_long_as_the_logarithm_of_the_speedup(results: Results) -> None:
    widths = re.findall(r'<rect class="(\w+)" x="330" y="\d+" width="([\d.]+)"', render(results))
    assert [kind for kind, _ in widths] == ["reference", "bar"] * 2
    # 1,406 of 4 decades and 500 of 3 decades, each 530 wide.
    assert [float(width) for _, width in widths] == [2.0, 417.1, 2.0, 476.8]


def test_no_bars_without_the_reference(results: Results) -> None:
    results.measurements = [each for each in results.measurements if each.backend != "python"]
    assert "<svg" not in render(results)


def test_summary(results: Results) -> None:
    assert summary(results) == (
        "The fastest backend here is numpy: 0.500 s per epoch of 60,000 images, 120,000 samples "
        "per second, 1,410x the speed of pure Python."
    )


def test_incomplete_and_failed_are_marked(results: Results) -> None:
    assert 'class="warning"' not in render(results)
    results.complete = False
    results.failures = [{"case": "matmul", "backend": "numba", "error": "<broken>"}]
    text = read(render(results)).text
    assert "Incomplete:" in text and "matmul on numba failed: <broken>" in text


def test_empty_results_make_a_report(results: Results, tmp_path: Path) -> None:
    results.measurements, results.complete, results.data = [], False, {"name": "digits"}
    write_report(results, tmp_path / "report.html")
    assert "Incomplete" in read((tmp_path / "report.html").read_text(encoding="utf-8")).text
