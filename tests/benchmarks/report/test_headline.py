from __future__ import annotations

import math
from typing import Any

import pytest

from fastmlp.benchmarks.report.document import Document
from fastmlp.benchmarks.report.headline import compare, headline, tiles


def set_time(content: dict[str, Any], case: str, contender: str, seconds: float) -> None:
    for each in content["measurements"]:
        if (each["case"], each["contender"], each["precision"]) == (case, contender, "float32"):
            each["repetitions"] = [seconds * each["rows_timed"] / each["rows_reported"]]


@pytest.fixture
def two_cases(content: dict[str, Any]) -> dict[str, Any]:
    """Two networks with round times: ratios of 2 and 8 over scikit-learn."""
    names = ["train_784-30-10_10", "train_784-128-10_128"]
    content["measurements"] = [
        each for each in content["measurements"] if each["case"] in names and not each["max_isa"]
    ]
    for name, ratio in zip(names, (2.0, 8.0), strict=True):
        for each in content["measurements"]:
            set_time(content, name, each["contender"], 50.0)
        set_time(content, name, "cython", 1.0)
        set_time(content, name, "sklearn", ratio)
    return content


def test_the_mean_is_geometric(two_cases: dict[str, Any]) -> None:
    found = compare(Document(two_cases), {"sklearn"})
    assert found is not None and found.n_cases == 2
    assert math.isclose(found.factor, 4.0)
    assert math.isclose(found.low, 2.0) and math.isclose(found.high, 8.0)


def test_contenders_of_another_precision_do_not_count(two_cases: dict[str, Any]) -> None:
    assert compare(Document(two_cases), {"torch_bfloat16"}) is None
    # cython is faster in bfloat16 than this; the headline is about float32.
    assert ": 1.00 s per epoch" in headline(Document(two_cases))


def test_more_threads_than_the_peers_have_do_not_count(two_cases: dict[str, Any]) -> None:
    threads = two_cases["settings"]["threads"]
    name = "train_784-128-10_128"
    for each in list(two_cases["measurements"]):
        if (each["case"], each["contender"], each["precision"]) == (name, "cython", "float32"):
            seconds = [one / 4.0 for one in each["repetitions"]]
            two_cases["measurements"].append(
                each | {"n_threads": threads + 1, "repetitions": seconds}
            )
    found = compare(Document(two_cases), {"sklearn"})
    assert found is not None and math.isclose(found.high, 8.0)
    assert ": 1.00 s per epoch" in headline(Document(two_cases))


def test_a_backend_that_loses_is_said_to_lose(two_cases: dict[str, Any]) -> None:
    for name in ("train_784-30-10_10", "train_784-128-10_128"):
        set_time(two_cases, name, "sklearn", 0.5)
    assert tiles(Document(two_cases))[2].value == "0.500x"


def test_the_fastest_of_a_family_is_compared(content: dict[str, Any]) -> None:
    both = compare(Document(content), {"torch_eager", "torch_compile"})
    compiled = compare(Document(content), {"torch_compile"})
    assert both == compiled


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"available": False, "reason": "not installed"}, "not installed"),
        ({}, "no case of training was measured with it"),
    ],
)
def test_what_was_not_measured_says_why(
    content: dict[str, Any], change: dict[str, Any], expected: str
) -> None:
    content["measurements"] = [e for e in content["measurements"] if e["contender"] != "sklearn"]
    next(each for each in content["peers"] if each["name"] == "sklearn").update(change)
    tile = tiles(Document(content))[2]
    assert (tile.value, tile.detail, tile.is_measured) == ("not measured", expected, False)


def test_without_training_the_kernels_tell_the_best_backend(content: dict[str, Any]) -> None:
    content["measurements"] = [e for e in content["measurements"] if e["group"] == "kernels"]
    best = tiles(Document(content))[0]
    assert best.value == "cython" and "of the kernels" in best.detail


def test_without_cases_the_cold_start_is_the_outcome(bare_content: dict[str, Any]) -> None:
    rows = [("cython", 0.97, [0.5]), ("cython", 0.98, [0.7, 0.8, 0.9]), ("scikit_learn", 0.98, [8])]
    bare_content["cold_start"] = {
        "time_to_accuracy": [
            {"contender": name, "target": target, "seconds": seconds}
            for name, target, seconds in [*rows, ("jax_scan", 0.98, [])]
        ]
    }
    text = headline(Document(bare_content))
    assert text.startswith("From a cold process to 98% test accuracy: cython 0.800 s and scikit")
    assert "8.00 s" in text and "JAX" not in text
    bare_content["cold_start"] = {"import_seconds": [{"name": "numpy"}]}
    assert headline(Document(bare_content)) == "No case was measured."


def test_nothing_measured(bare_content: dict[str, Any]) -> None:
    assert headline(Document(bare_content)) == "Nothing was measured."
    assert not any(tile.is_measured for tile in tiles(Document(bare_content)))
