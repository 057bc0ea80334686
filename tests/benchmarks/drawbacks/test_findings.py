"""What is written of the experiments, while they run."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from fastmlp.benchmarks.drawbacks.findings import Findings, part_of


def write(findings: Findings, runs: dict[str, list[list[float]]], name: str = "some") -> None:
    findings.experiment(
        name, title="t", question="q", x_label="x", x=[1, 2], y_label="y", runs=runs,
        paragraph=lambda found: f"{len(found['series'])} series",
    )  # fmt: skip


def test_mean_low_and_high_are_over_the_runs() -> None:
    into: dict[str, Any] = {}
    write(Findings(into), {"a": [[1.0, 5.0], [2.0, 3.0], [6.0, 1.0]]})
    (found,) = into["experiments"]
    assert found["paragraph"] == "1 series"
    (series,) = found["series"]
    assert series == {
        "label": "a", "mean": [3.0, 3.0], "low": [1.0, 1.0], "high": [6.0, 5.0],
        "runs": [[1.0, 5.0], [2.0, 3.0], [6.0, 1.0]],
    }  # fmt: skip


def test_a_mean_is_never_beside_equal_runs() -> None:
    into: dict[str, Any] = {}
    value = (1 / 6) ** 0.5
    write(Findings(into), {"a": [[value, 0.1]] * 3})
    series = into["experiments"][0]["series"][0]
    assert series["mean"] == series["low"] == series["high"]


def test_an_experiment_is_replaced_by_a_later_one_of_its_name() -> None:
    into: dict[str, Any] = {}
    findings = Findings(into)
    write(findings, {"a": [[1.0, 2.0]]})
    write(findings, {"b": [[1.0, 2.0]]}, name="other")
    write(findings, {"a": [[1.0, 2.0], [3.0, 4.0]]})
    assert [each["name"] for each in into["experiments"]] == ["some", "other"]
    assert len(into["experiments"][0]["series"][0]["runs"]) == 2


def test_pictures_show_zero_as_grey() -> None:
    into: dict[str, Any] = {}
    images = np.array([[[-2.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]]])
    Findings(into).picture("w", "weights", images, ["one", "two"], "text")
    (picture,) = into["pictures"]
    assert picture["images"] == [[[1, 128, 192]], [[128, 128, 128]]]
    assert (picture["width"], picture["height"]) == (3, 1)
    assert json.loads(json.dumps(picture)) == picture


def test_tables_grow_and_skips_are_listed() -> None:
    into: dict[str, Any] = {}
    findings = Findings(into)
    for _ in range(2):
        findings.budget("e", "MLP", 10, "1 epoch")
    findings.budget("e", "CNN", 9, "1 epoch")
    findings.skip("CIFAR-10", "no files")
    (table,) = into["tables"]
    assert table["rows"] == [["e", "MLP", 10, "1 epoch"], ["e", "CNN", 9, "1 epoch"]]
    assert into["skipped"] == [{"name": "CIFAR-10", "reason": "no files"}]


def test_part_of() -> None:
    calls: list[tuple[float, str]] = []
    part = part_of(lambda fraction, text: calls.append((fraction, text)), 0.5, 0.75, "now")
    part(0.0)
    part(1.0)
    assert calls == [(0.5, "now"), (0.75, "now")]
