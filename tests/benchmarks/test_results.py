from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from fastmlp.benchmarks.results import (
    SCHEMA,
    SCHEMA_VERSION,
    UNITS,
    Results,
    read_results,
    write_results,
    write_text,
)
from fastmlp.errors import FormatError


def test_median_and_spread_are_scaled(results: Results) -> None:
    python, numpy = results.measurements[:2]
    assert python.scale == 4 and python.is_scaled
    assert python.median_seconds == pytest.approx(1.0)
    assert python.spread_seconds == pytest.approx(0.2)  # quartiles 0.225 and 0.275, times 4
    assert python.relative_spread == pytest.approx(0.2)
    assert python.samples_per_second == pytest.approx(128)
    assert not numpy.is_scaled and numpy.median_seconds == 0.002


def test_speedup(results: Results) -> None:
    python, numpy = results.measurements[:2]
    assert results.speedup(numpy, "python") == pytest.approx(500)
    assert results.speedup(python, "python") == 1.0
    assert math.isnan(results.speedup(numpy, "numba"))


def test_file_holds_everything(results: Results, tmp_path: Path) -> None:
    write_results(results, tmp_path / "results.json")
    document = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert (document["schema"], document["schema_version"]) == (SCHEMA, SCHEMA_VERSION)
    for name in ("date", "fastmlp_version", "machine", "software", "settings", "backends", "units"):
        assert document[name], name
    first = document["measurements"][0]
    assert first["repetitions"] == [0.2, 0.25, 0.3]
    assert first["is_scaled"] is True and first["scale"] == 4
    assert set(UNITS) - {"accuracy", "memory_bytes"} <= set(first)
    assert read_results(tmp_path / "results.json") == results
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "other"}, "got \\('other', 1\\)"),
        ({"schema_version": 99}, "99"),
        ({"measurements": [{}]}, "no benchmark results"),
        ({"measurements": 3}, "no benchmark results"),
    ],
)
def test_other_files_are_refused(change: dict, said: str, results: Results) -> None:
    with pytest.raises(FormatError, match=said):
        Results.from_dict(results.as_dict() | change)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(FormatError, match="not a JSON file"):
        read_results(tmp_path / "results.json")


def test_write_text_leaves_the_old_file_if_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "text"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["text"]
