from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

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
    assert python.scaled_repetitions == pytest.approx([0.8, 1.0, 1.2])
    assert not numpy.is_scaled and numpy.median_seconds == 0.002
    assert numpy.gflops == pytest.approx(0.128)
    numpy.flops = None
    assert math.isnan(numpy.gflops)


def test_speedup(results: Results) -> None:
    python, numpy = results.measurements[:2]
    assert results.speedup(numpy, "python") == pytest.approx(500)
    assert results.speedup(python, "python") == 1.0
    assert math.isnan(results.speedup(numpy, "numba"))


def test_the_main_measurements_are_those_the_run_was_asked_for(results: Results) -> None:
    main = {case["name"]: [each.contender for each in found] for group in
            ("kernels", "training", "inference", "growth")
            for case, found in results.of_group(group)}  # fmt: skip
    assert main == {
        "matmul": ["python", "numpy"],
        "M128": ["python", "numpy", "jax_scan"],
        "predict_1": ["numpy", "onnxruntime"],
        "growth_threads_1": ["numpy"],
    }
    labels = [results.label(each) for each in results.measurements]
    assert labels[1:3] == ["numpy", "numpy, float64"]
    assert labels[4:8] == ["numpy", "numpy, 1 thread", "numpy, avx2", "jax_scan"]


def test_more_threads_than_asked_for_are_another_dimension(results: Results) -> None:
    several, one = results.measurements[4:6]
    assert results.is_main(several) and not results.is_main(one)
    results.settings["threads"] = 1
    assert results.is_main(one) and not results.is_main(several)
    assert results.label(one) == "numpy"
    assert results.label(several) == f"numpy, {several.n_threads} threads"


def test_file_holds_everything(results: Results, tmp_path: Path) -> None:
    results.roofline = {"isas": [], "bandwidth": []}
    write_results(results, tmp_path / "results.json")
    document = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert (document["schema"], document["schema_version"]) == (SCHEMA, SCHEMA_VERSION)
    for name in ("date", "machine", "software", "settings", "backends", "peers", "units"):
        assert document[name], name
    assert document["roofline"] == {"isas": [], "bandwidth": []} and document["drawbacks"] is None
    first = document["measurements"][0]
    assert first["repetitions"] == [0.2, 0.25, 0.3]
    assert first["is_scaled"] is True and first["scale"] == 4
    assert set(UNITS) - {"memory_bytes"} <= set(first)
    assert read_results(tmp_path / "results.json") == results
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def of_first(results: Results, **changes: Any) -> dict[str, Any]:
    """Return a change to the first measurement alone."""
    document = results.as_dict()
    first = document["measurements"][0] | changes
    return {"measurements": [first, *document["measurements"][1:]]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "other"}, "no benchmark results of fastmlp"),
        ({"schema_version": 1}, "version 1, written by another fastmlp .9.8.7.; expected version"),
        ({"schema_version": None}, "version None"),
        ({"measurements": [{}]}, "damaged"),
        ({"measurements": 3}, "damaged"),
        ({"cases": []}, "damaged"),
        ({"settings": {}}, "damaged"),
        ({"roofline": 3}, "damaged"),
        ({"complete": "yes"}, "damaged"),
    ],
)
def test_other_files_are_refused(change: dict[str, Any], said: str, results: Results) -> None:
    with pytest.raises(FormatError, match=said):
        Results.from_dict(results.as_dict() | change)


@pytest.mark.parametrize(
    "change",
    [
        {"repetitions": []},
        {"repetitions": ["1"]},
        {"repetitions": [-1.0]},
        {"rows_timed": 0},
        {"first_call_seconds": None},
    ],
)
def test_damaged_measurements_are_refused(change: dict[str, Any], results: Results) -> None:
    with pytest.raises(FormatError, match="damaged"):
        Results.from_dict(results.as_dict() | of_first(results, **change))


def test_the_damage_is_told_in_the_words_of_the_file(results: Results) -> None:
    for change, part in (
        ({"cases": "none"}, "the part 'cases'"),
        (of_first(results, repetitions=["1"]), "measurement 1"),
        (
            of_first(results, case="S"),
            "measurement 1, S with python, of a case not listed,",
        ),
    ):
        with pytest.raises(FormatError) as caught:
            Results.from_dict(results.as_dict() | change)
        assert str(caught.value) == (
            f"these benchmark results are damaged: {part} is not as `fastmlp bench` writes it; "
            "run it again"
        )


def test_the_reference_computes_in_float64_whatever_a_file_says(results: Results) -> None:
    reference = results.measurements[0]
    assert reference.contender == "python" and reference.precision == "float64"
    assert results.is_main(reference) and results.label(reference) == "python"
    read = Results.from_dict(results.as_dict() | of_first(results, precision="float32"))
    assert read.measurements[0].precision == "float64"


@pytest.mark.parametrize("text", ["{", "[]", "3", "", "[" * 100_000])
def test_a_file_that_holds_no_results_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"results\.json: "):
        read_results(path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match=r"results\.json: damaged"):
        read_results(tmp_path / "results.json")


def test_write_text_leaves_the_old_file_if_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "text"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["text"]
