from __future__ import annotations

from fastmlp.benchmarks.results import Results
from fastmlp.benchmarks.tables import LINE_WIDTH
from fastmlp.benchmarks.terminal import failure_lines, missing_lines, terminal_tables


def test_terminal_shows_what_there_is_within_its_width(results: Results) -> None:
    titles = [table.title.split(",")[0].split(" (")[0] for table in terminal_tables(results)]
    assert titles[0] == "Kernels" and titles[-1].startswith("Against the fastest peer")
    assert len(titles) == 7
    for table in terminal_tables(results):
        assert max(map(len, table.as_text().splitlines())) <= LINE_WIDTH + 2
    results.measurements = results.measurements[:2]
    assert len(terminal_tables(results)) == 1


def test_missing_backends_and_peers_are_told(results: Results) -> None:
    assert missing_lines(results) == [
        "Without the numba backend: <not> installed.",
        "Not compared, not installed: PyTorch; for all of them: pip install 'fastmlp[peers]'.",
    ]


def test_failures_are_told(results: Results) -> None:
    results.failures = [
        {"case": "matmul", "contender": "numba", "error": "broken"},
        {"case": "roofline", "contender": "", "error": "broken too"},
    ]
    assert failure_lines(results) == [
        "matmul with numba failed: broken",
        "roofline failed: broken too",
    ]
