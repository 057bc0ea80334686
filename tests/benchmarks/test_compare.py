from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastmlp.benchmarks.compare import Ratio, compare_results, compare_times, most_covered
from fastmlp.benchmarks.results import Results

STEADY = [1.0, 1.01, 0.99, 1.005, 0.995]


def scaled(times: list[float], factor: float) -> list[float]:
    return [factor * time for time in times]


@pytest.mark.parametrize(
    ("factor", "verdict"), [(0.5, "faster"), (2.0, "slower"), (1.0, "same"), (1.01, "same")]
)
def test_a_change_beyond_noise_is_seen(factor: float, verdict: str) -> None:
    ratio = compare_times(STEADY, scaled(STEADY, factor))
    assert ratio.ratio == pytest.approx(factor)
    assert ratio.low <= factor <= ratio.high
    assert ratio.verdict == verdict


def test_noise_hides_a_change() -> None:
    noisy = [1.0, 2.0, 0.5, 1.5, 0.7]
    assert compare_times(noisy, scaled(noisy, 1.2)).verdict == "same"


def test_the_interval_is_the_same_every_time_and_narrows_without_noise() -> None:
    noisy = [1.0, 1.3, 0.8, 1.1, 0.9]
    assert compare_times(noisy, STEADY) == compare_times(noisy, STEADY)
    wide, narrow = compare_times(noisy, noisy), compare_times(STEADY, STEADY)
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)


def test_two_repetitions_say_nothing_about_noise() -> None:
    ratio = compare_times([1.0, 1.0], [2.0, 2.0])
    assert ratio.ratio == 2.0 and math.isnan(ratio.low)
    assert ratio.verdict == "?" and ratio.interval == "-"
    assert Ratio(0.5, 0.4, 0.6).interval == "0.400 to 0.600"


def test_runs_are_compared_by_what_was_measured(results: Results) -> None:
    new = copy.deepcopy(results)
    new.measurements[1].repetitions = [0.0001, 0.0001, 0.0001]
    new.measurements[1].isa = "another BLAS"
    del new.measurements[0]
    new.machine["cpu"] = "another"
    comparison = compare_results(results, new)
    changed = {
        (change.new.case, change.new.contender, change.new.precision): change.ratio
        for change in comparison.changes
    }
    assert changed["matmul", "numpy", "float32"].verdict == "faster"
    assert changed["M128", "jax_scan", "float32"].verdict == "same"
    assert len(comparison.changes) == len(new.measurements)
    assert comparison.only_old == ["python matmul"] and comparison.only_new == []
    assert comparison.warnings[-2:] == [
        "The CPU differs: A & B <CPU> before, another now.",
        "The instruction set of numpy differs: <fast> before, another BLAS now.",
    ]
    assert compare_results(new, results).only_new == ["python matmul"]


def test_times_of_different_slices_are_compared_as_reported(results: Results) -> None:
    new = copy.deepcopy(results)
    python = new.measurements[0]
    python.rows_timed, python.repetitions = 64, scaled(python.repetitions, 2.0)
    comparison = compare_results(results, new)
    assert comparison.changes[0].ratio.ratio == pytest.approx(1.0)
    assert "different numbers of rows" in comparison.warnings[-1]


def test_three_repetitions_cover_as_much_as_is_said() -> None:
    random = np.random.default_rng(0)
    draws: list[Callable[[int], Any]] = [
        lambda n: 1.0 + 0.01 * random.standard_normal(n),
        lambda n: 1.0 + 0.05 * random.exponential(size=n),
    ]
    assert most_covered(3, 3) == 0.9
    for draw in draws:
        ratios = [compare_times(draw(3), draw(3)) for _ in range(400)]
        covered = np.mean([ratio.low <= 1.0 <= ratio.high for ratio in ratios])
        assert covered == pytest.approx(0.9, abs=0.03)
    assert most_covered(2, 3) < most_covered(3, 3) < most_covered(3, 4) < 0.95 < most_covered(4, 4)


def test_few_repetitions_are_told(results: Results) -> None:
    for measurement in results.measurements:
        measurement.repetitions = [1.0, 1.1, 1.2]
    results.measurements[0].repetitions.pop()
    assert compare_results(results, results).warnings == [
        "No interval for 1 of 11 ratios: fewer than 3 repetitions say nothing of the noise "
        "(--repeats 5 makes more).",
        "10 of 11 ratios are of 3 repetitions: their intervals cover 90% at most, not 95%.",
    ]
    for measurement in results.measurements:
        measurement.repetitions = [1.0, 1.1, 1.2, 1.3, 1.4]
    assert compare_results(results, results).warnings == []
