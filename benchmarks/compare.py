"""Compare times: a ratio of medians with a bootstrap interval, and what is beyond noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .comparability import reservations
from .results import Measurement, Results

RESAMPLES = 2000
CONFIDENCE = 0.95
FEWEST_REPETITIONS = 3
"""Fewer say nothing about the noise."""
SMALLEST_CHANGE = 0.02
"""A change below this is called none: the same binary differs by as much from run to run."""


@dataclass(frozen=True)
class Ratio:
    """How the new times compare with the old ones.

    Attributes
    ----------
    ratio : float
        The new median over the old one; below 1 is faster.
    low, high : float
        The bootstrap interval of the ratio; NaN if there are too few repetitions for one.
    """

    ratio: float
    low: float
    high: float

    @property
    def interval(self) -> str:
        """The interval for people; a dash if there is none."""
        return "-" if math.isnan(self.low) else f"{self.low:.3f} to {self.high:.3f}"

    @property
    def verdict(self) -> str:
        """``faster``, ``slower``, ``same`` (within the noise) or ``?`` (too few repetitions)."""
        if math.isnan(self.low):
            return "?"
        if self.high < 1.0 - SMALLEST_CHANGE:
            return "faster"
        if self.low > 1.0 + SMALLEST_CHANGE:
            return "slower"
        return "same"


def compare_times(old: Sequence[float], new: Sequence[float]) -> Ratio:
    """Return the ratio of the medians with its percentile bootstrap interval (Efron, 1979).

    Parameters
    ----------
    old, new : sequence of float
        The repetitions, seconds.
    """
    ratio = float(np.median(new) / np.median(old))
    if min(len(old), len(new)) < FEWEST_REPETITIONS:
        return Ratio(ratio, math.nan, math.nan)
    random = np.random.default_rng(0)  # the same interval every time it is shown
    ratios = _medians(new, random) / _medians(old, random)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(ratios, [tail, 1.0 - tail])
    return Ratio(ratio, float(low), float(high))


def _medians(times: Sequence[float], random: np.random.Generator) -> NDArray[np.float64]:
    """Return the medians of samples drawn from the times with replacement."""
    values = np.asarray(times, np.float64)
    chosen = random.integers(0, len(values), size=(RESAMPLES, len(values)))
    return np.asarray(np.median(values[chosen], axis=1))


def most_covered(n_old: int, n_new: int) -> float:
    """Return how often, at most, an interval of `compare_times` holds the true ratio.

    It reaches at most from the least ratio of two repetitions to the greatest (with three of each
    it does). Say that the new times are the old ones times the true ratio, with noise of any
    distribution. Then the ratio is outside if, divided by it, all new times lie below all old ones
    or above: 2 of the orders in which the two may lie, all of which are as likely.
    """
    return 1.0 - 2.0 / math.comb(n_old + n_new, n_old)


def coverage_lines(pairs: Sequence[tuple[Measurement, Measurement]]) -> list[str]:
    """Return what is to be said of ratios of few repetitions: a line for each kind of them."""
    counts = [(len(old.repetitions), len(new.repetitions)) for old, new in pairs]
    without = [each for each in counts if min(each) < FEWEST_REPETITIONS]
    weak = [each for each in counts if min(each) == FEWEST_REPETITIONS]
    lines = []
    if without:
        lines.append(
            f"No interval for {len(without)} of {len(pairs)} ratios: fewer than "
            f"{FEWEST_REPETITIONS} repetitions say nothing of the noise (--repeats 5 makes more)."
        )
    if weak:
        most = min(most_covered(*each) for each in weak)
        covers = f"{most:.0%} at most" if most < CONFIDENCE else "less"
        lines.append(
            f"{len(weak)} of {len(pairs)} ratios are of {FEWEST_REPETITIONS} repetitions: their "
            f"intervals cover {covers}, not {CONFIDENCE:.0%}."
        )
    return lines


@dataclass(frozen=True)
class Change:
    """One measurement in both runs."""

    old: Measurement
    new: Measurement
    ratio: Ratio


@dataclass(frozen=True)
class Comparison:
    """Two runs, measurement by measurement.

    Attributes
    ----------
    changes : list of Change
        In the order of the new run.
    only_old, only_new : list of str
        What was measured in one of them alone.
    warnings : list of str
        Why the two may not be comparable.
    """

    changes: list[Change]
    only_old: list[str]
    only_new: list[str]
    warnings: list[str]


Key = tuple[str, str, str, int, str]


def _keys(results: Results) -> dict[Key, Measurement]:
    """Return the measurements by what must agree; the ISA's name may change with a library."""
    return {
        (each.case, each.contender, each.precision, each.n_threads, each.max_isa): each
        for each in results.measurements
    }


def compare_results(old: Results, new: Results) -> Comparison:
    """Compare all that was measured in both runs."""
    before, after = _keys(old), _keys(new)
    changes = [
        Change(
            before[key],
            after[key],
            compare_times(before[key].scaled_repetitions, after[key].scaled_repetitions),
        )
        for key in after
        if key in before
    ]
    pairs = [(change.old, change.new) for change in changes]
    warnings = [*coverage_lines(pairs), *reservations(old, new, pairs)]
    return Comparison(
        changes,
        [f"{old.label(before[key])} {key[0]}" for key in before if key not in after],
        [f"{new.label(after[key])} {key[0]}" for key in after if key not in before],
        warnings,
    )
