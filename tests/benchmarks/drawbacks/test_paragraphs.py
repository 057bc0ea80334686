"""The texts say what the numbers say, whatever they are."""

from __future__ import annotations

from typing import Any

import pytest

from fastmlp.benchmarks.drawbacks import paragraphs


def experiment(x: list[float], **series: list[float]) -> dict[str, Any]:
    return {
        "x": x,
        "series": [
            {
                "label": label.replace("_", " "), "mean": values, "low": values, "high": values,
                "runs": [values],
            }
            for label, values in series.items()
        ],
    }  # fmt: skip


def test_permutation_as_expected() -> None:
    text = paragraphs.permutation(experiment([0, 100], MLP=[0.9, 0.895], CNN=[0.97, 0.5]))
    assert "MLP's accuracy hardly changes (from 90.0% to 89.5%)" in text
    assert "CNN's falls from 97.0% to 50.0%" in text
    assert "never knew which pixels are neighbours" in text
    assert "tears them apart" in text
    assert "7.0 percentage points" in text
    assert "(one run)" in text


def test_the_larger_perceptron_is_named() -> None:
    found = experiment([0, 100], MLP=[0.8, 0.8], CNN=[0.9, 0.5], larger=[0.87, 0.86])
    found["series"][2]["label"] = "MLP, 10 times the parameters"
    text = paragraphs.permutation(found)
    assert text.endswith("(The MLP with 10 times the parameters reaches 87.0%.)")


def test_permutation_the_other_way_round() -> None:
    text = paragraphs.permutation(experiment([0, 100], MLP=[0.9, 0.5], CNN=[0.8, 0.81]))
    assert "MLP's accuracy falls from 90.0% to 50.0%" in text
    assert "never knew" not in text
    assert "tears" not in text
    assert "CNN was not better here" in text


def test_a_change_within_the_spread_is_called_that() -> None:
    found = experiment([0, 100], MLP=[0.9, 0.86], CNN=[0.97, 0.5])
    found["series"][0]["low"] = [0.85, 0.82]
    text = paragraphs.permutation(found)
    assert "changes by no more than it does from run to run (from 90.0% to 86.0%)" in text


def test_translation() -> None:
    moved = "MLP_trained_on_moved_digits"
    text = paragraphs.translation(
        experiment(
            [0, 2, 8], MLP=[0.99, 0.3, 0.1], CNN=[0.98, 0.95, 0.6], **{moved: [0.9, 0.9, 0.8]}
        )
    )
    for part in ("99.0%", "30.0%", "10.0%", "98.0%", "95.0%", "60.0%", "80.0%", "by 2 pixels"):
        assert part in text
    assert "separate weights for each pixel" in text
    assert "can learn other places" in text
    text = paragraphs.translation(
        experiment([0, 2, 8], MLP=[0.9, 0.9, 0.9], CNN=[0.9, 0.5, 0.4], **{moved: [0.9, 0.8, 0.7]})
    )
    assert "separate weights" not in text
    assert "depends less on the place" not in text
    assert "can learn other places" not in text


def test_rotation_and_scale() -> None:
    found = experiment([0, 90], MLP=[0.99, 0.2], CNN=[0.99, 0.4])
    text = paragraphs.rotation(found)
    assert "turned by 90 degrees" in text
    assert "CNN is ahead by 10.0 percentage points" in text
    assert "nothing in it is shared over angles" in text
    found = experiment([0.5, 1.0, 1.5], MLP=[0.7, 0.9, 0.2], CNN=[0.7, 0.9, 0.9])
    text = paragraphs.scale(found)
    assert "from 90.0% to 20.0%" in text
    assert "1.5 times as large" in text
    assert "shared over sizes" not in text  # the CNN did not suffer where the MLP did most


def test_adding_and_recall() -> None:
    guess = {"always_the_mean": [0.41, 0.41, 0.41]}
    good = experiment(
        [6, 12, 24], MLP=[0.1, 0.1, 0.4], RNN=[0.2, 0.2, 0.3], LSTM=[0.02, 0.02, 0.08], **guess
    )
    text = paragraphs.adding(12)(good)
    for part in (
        "0.100",
        "0.200",
        "0.020",
        "0.400",
        "0.080",
        "0.410",
        "out of its sight",
        "drifts",
    ):
        assert part in text
    bad = experiment(
        [6, 12, 24], MLP=[0.1, 0.1, 0.1], RNN=[0.2, 0.2, 0.3], LSTM=[0.02, 0.02, 0.9], **guess
    )
    text = paragraphs.adding(12)(bad)
    assert "out of its sight" not in text
    assert "gate" not in text
    text = paragraphs.recall(12)(
        experiment([12, 24, 48], MLP=[0.9, 0.5, 0.3], RNN=[1, 1, 0.9], LSTM=[1, 0.99, 0.8])
    )
    assert "reach the MLP" in text
    assert "not without end" in text
    assert "Inside its window too" in text
    text = paragraphs.recall(12)(
        experiment([12, 24, 48], MLP=[0.9, 0.9, 0.9], RNN=[0.4] * 3, LSTM=[0.4] * 3)
    )
    assert "reach the MLP" not in text
    assert "Inside its window too" not in text
    assert "carries a state" not in text


def test_shift() -> None:
    text = paragraphs.shift(
        experiment([0, 1, 5], MLP=[1, 0.2, 0.5], RNN=[1, 1, 1], LSTM=[1, 1, 0.7])
    )
    assert "MLP's accuracy falls from 100.0% to 20.0%" in text
    assert "a mark is a mark" in text
    assert "plain RNN" not in text
    assert "70.0%" in text
    text = paragraphs.shift(experiment([0, 1, 5], MLP=[1, 1, 1], RNN=[1, 0.1, 1], LSTM=[1, 0.5, 1]))
    assert "another input" not in text
    assert "a mark is a mark" not in text
    assert "plain RNN" in text


def test_photographs() -> None:
    paragraph = paragraphs.photographs("CIFAR-10", "photographs")
    assert "edges" in paragraph(experiment([1000], MLP=[0.3], CNN=[0.4]))
    assert "the MLP was ahead" in paragraph(experiment([1000], MLP=[0.4], CNN=[0.3]))
    assert "are alike" in paragraph(experiment([1000], MLP=[0.3], CNN=[0.31]))


def test_growth() -> None:
    text = paragraphs.growth_parameters(experiment([28, 56], MLP=[100, 401], CNN=[20, 20]))
    assert "from 100 to 401 parameters" in text
    assert "(4 times as many)" in text
    text = paragraphs.growth_seconds(experiment([28, 56], MLP=[0.5, 2.0], CNN=[1.0, 5.0]))
    assert "0.5 s and then 2 s (4 times)" in text


@pytest.mark.parametrize("names", [(), ("shift",), ("permutation", "shift")])
def test_summary_is_of_what_was_run(names: tuple[str, ...]) -> None:
    found = {
        "permutation": experiment([0, 100], MLP=[0.9, 0.9], CNN=[0.9, 0.4]),
        "shift": experiment([0, 1], MLP=[1, 0.2], LSTM=[1, 0.95]),
    }
    text = paragraphs.summary({name: found[name] for name in names})
    assert ("-50.0" in text) == ("permutation" in names)
    assert ("95.0%" in text) == ("shift" in names)
    assert bool(text) == bool(names)
