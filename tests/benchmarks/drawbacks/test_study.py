"""The whole run: the quick level, and runs that are stopped."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from fastmlp import Trainer
from fastmlp.benchmarks.drawbacks import levels, run, study
from fastmlp.benchmarks.drawbacks.perceptron import train_perceptron

TINY = levels.Level(
    "tiny",
    seeds=(0, 1),
    digit_rows=60,
    digit_test_rows=40,
    digit_epochs=1,
    shifts=(0, 2),
    angles=(0, 90),
    factors=(0.5, 1.0),
    sides=(28, 56),
    growth_rows=16,
    growth_repeats=2,
    photograph_rows=(20, 40),
    photograph_test_rows=20,
    photograph_epochs=1,
    sequence_rows=100,
    sequence_epochs=1,
    train_steps=(4, 6),
    test_steps=(4, 6, 12),
    shift_steps=(0, 1),
)
IMAGES = ["permutation", "translation", "rotation", "scale"]
GROWTH = ["growth_parameters", "growth_seconds", "growth_memory"]
SEQUENCES = ["adding", "recall", "shift"]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the default level tiny."""
    monkeypatch.setitem(levels.LEVELS, "default", TINY)
    monkeypatch.delenv("FASTMLP_DATA", raising=False)


def check_shapes(result: dict[str, Any], n_seeds: int) -> None:
    for found in result["experiments"]:
        for series in found["series"]:
            lengths = {len(found["x"]), len(series["mean"]), len(series["low"])}
            assert lengths == {len(series["high"])}
            assert found["name"].startswith("growth") or len(series["runs"]) == n_seeds
            for low, mean, high in zip(series["low"], series["mean"], series["high"], strict=True):
                assert low <= mean <= high
    for picture in result["pictures"]:
        assert len(picture["labels"]) == len(picture["images"])
        for image in picture["images"]:
            assert len(image) == picture["height"]
            assert all(len(row) == picture["width"] for row in image)
            assert all(0 <= value <= 255 for row in image for value in row)
    for table in result["tables"]:
        assert all(len(row) == len(table["columns"]) for row in table["rows"])


def test_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = dataclasses.replace(levels.LEVELS["quick"], seconds=math.inf)
    monkeypatch.setitem(levels.LEVELS, "quick", quick)
    calls: list[float] = []
    result = run("quick", lambda fraction, text: calls.append(fraction))
    assert json.loads(json.dumps(result)) == result
    names = [each["name"] for each in result["experiments"]]
    assert names == [*IMAGES, *GROWTH, "shift"]
    assert [each["name"] for each in result["skipped"]] == ["photographs", "adding", "recall"]
    assert result["complete"]
    assert result["level"] == "quick"
    assert result["seconds"] > 0
    check_shapes(result, len(result["seeds"]))
    assert calls == sorted(calls)
    assert calls[-1] == 1.0
    assert all(0 <= fraction <= 1 for fraction in calls)
    # What the experiments are there to show.
    found = {each["name"]: each for each in result["experiments"]}
    means = {
        (name, series["label"]): series["mean"]
        for name, each in found.items()
        for series in each["series"]
    }
    assert abs(means["permutation", "MLP"][1] - means["permutation", "MLP"][0]) < 0.1
    assert means["permutation", "CNN"][1] < means["permutation", "CNN"][0] - 0.3
    at_two = found["translation"]["x"].index(2)
    assert means["translation", "CNN"][at_two] > means["translation", "MLP"][at_two] + 0.3
    assert means["shift", "LSTM"][1] > means["shift", "MLP"][1] + 0.3
    # The texts hold the numbers.
    for name, label, at in [
        ("permutation", "CNN", 1),
        ("translation", "MLP", at_two),
        ("shift", "LSTM", 1),
    ]:
        assert f"{100 * means[name, label][at]:.1f}%" in found[name]["paragraph"]
    for each in result["experiments"]:
        assert re.search(r"\d", each["paragraph"])
        assert "nan" not in each["paragraph"]


def test_a_slow_machine_runs_the_first_seed_only(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    level = dataclasses.replace(levels.LEVELS["quick"], seconds=0.0)
    monkeypatch.setitem(levels.LEVELS, "quick", level)
    result = run("quick", data_dir=tmp_path)
    assert result["complete"] and len(level.seeds) > 1
    check_shapes(result, 1)


def test_a_slow_machine_runs_two_seeds_at_the_default_level(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    level = dataclasses.replace(TINY, seeds=(0, 1, 2), seconds=0.0)
    assert level.fewest_seeds == levels.LEVELS["default"].fewest_seeds
    monkeypatch.setitem(levels.LEVELS, "default", level)
    check_shapes(run("default", data_dir=tmp_path), 2)


def test_every_section(tiny: None, tmp_path: Path) -> None:
    result = run("default", data_dir=tmp_path, seeds=[3, 4, 5])
    assert [each["name"] for each in result["experiments"]] == [
        *IMAGES, *GROWTH, "photographs", *SEQUENCES
    ]  # fmt: skip
    check_shapes(result, 3)
    assert json.loads(json.dumps(result)) == result
    assert [each["name"] for each in result["skipped"]] == ["CIFAR-10"]
    assert {each["name"] for each in result["tables"]} == {"budgets", "growth"}
    assert [each["name"] for each in result["pictures"]] == [
        "mlp_weights", "cnn_kernels", "mlp_weights_permuted", "mlp_weights_restored"
    ]  # fmt: skip
    # Equal budgets: the MLP never has less than what it is compared with, nor a unit too much.
    budgets = next(each for each in result["tables"] if each["name"] == "budgets")["rows"]
    counts = {(row[0], row[1].split(" on ")[0]): row[2] for row in budgets}
    for experiment, other, one_unit in [
        ("pixels permuted", "CNN", 795),
        ("digits moved, turned, resized", "CNN", 795),
        ("coloured digits", "CNN", 3083),
        ("adding problem", "LSTM", 15),
        ("recall task", "LSTM", 36),
    ]:
        assert 0 <= counts[experiment, "MLP"] - counts[experiment, other] < one_unit


def test_the_same_seeds_give_the_same_numbers(tiny: None, tmp_path: Path) -> None:
    results = [run("default", data_dir=tmp_path, seeds=[1]) for _ in range(2)]
    for first, second in zip(*(result["experiments"] for result in results), strict=True):
        assert first["name"] == "growth_seconds" or first == second


@pytest.mark.parametrize("stop_at", [0.02, 0.5, 0.9])
def test_ctrl_c_keeps_what_was_done(tiny: None, tmp_path: Path, stop_at: float) -> None:
    def progress(fraction: float, text: str) -> None:
        if fraction >= stop_at:
            raise KeyboardInterrupt

    into: dict[str, Any] = {}
    with pytest.raises(KeyboardInterrupt):
        run("default", progress, data_dir=tmp_path, into=into)
    assert not into["complete"]
    assert json.loads(json.dumps(into)) == into
    assert len(into["experiments"]) < len([*IMAGES, *GROWTH, "photographs", *SEQUENCES])
    assert bool(into["experiments"]) == (stop_at > 0.1)
    for found in into["experiments"]:
        assert found["paragraph"]
        for series in found["series"]:
            assert len(series["mean"]) == len(found["x"])


def test_an_experiment_is_there_after_its_first_seed(tiny: None, tmp_path: Path) -> None:
    into: dict[str, Any] = {}

    def progress(fraction: float, text: str) -> None:
        if text.startswith("pixels permuted, seed 1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("default", progress, data_dir=tmp_path, into=into)
    (found,) = into["experiments"]
    assert found["name"] == "permutation"
    assert [len(series["runs"]) for series in found["series"]] == [1] * len(found["series"])


def test_ctrl_c_inside_the_trainer_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    # `Trainer.fit` returns after Ctrl-C; an experiment must not take that for a whole training.
    def interrupted(self: Trainer, *arguments: object, **settings: object) -> object:
        self.history.stop_reason = "interrupted"
        return self.history

    monkeypatch.setattr(Trainer, "fit", interrupted)
    x, y = study.image_experiments.varied_digits(10, 0)
    with pytest.raises(KeyboardInterrupt):
        train_perceptron(
            x.reshape(10, -1), y, hidden=2, n_outputs=10, output="softmax", epochs=1, seed=0
        )


def test_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match=r"level must be .*'quick'.* Did you mean 'quick'"):
        run("quik")
    with pytest.raises(ValueError, match="seeds must hold at least one integer"):
        run("quick", seeds=[])
    with pytest.raises(TypeError, match=r"seeds\[1\] must be an integer"):
        run("quick", seeds=[0, 1.5])  # type: ignore[list-item]


def test_levels_are_in_order() -> None:
    for name, level in levels.LEVELS.items():
        assert level.name == name
        assert set(level.sections) <= set(study.SECTIONS)
        assert all(side % 28 == 0 for side in level.sides)
        assert len(set(level.seeds)) == len(level.seeds) > 1
    quick, full = (dataclasses.asdict(levels.LEVELS[name]) for name in ("quick", "full"))
    assert quick["digit_rows"] < full["digit_rows"]
