"""Compare times: a ratio of medians with a bootstrap interval, and what is beyond noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    warnings = []
    for name, what in (("cpu", "CPU"), ("usable_cpus", "number of CPUs")):
        there, here = old.machine.get(name), new.machine.get(name)
        if there != here:
            warnings.append(f"The {what} differs: {there} before, {here} now.")
    if old.data.get("name") != new.data.get("name"):
        warnings.append(f"The data differ: {old.data.get('name')} before, {new.data.get('name')}.")
    if any(change.old.rows_timed != change.new.rows_timed for change in changes):
        warnings.append("Some times were scaled from different numbers of rows.")
    for which, results in (("old", old), ("new", new)):
        if not results.complete:
            warnings.append(f"The {which} run was interrupted.")
    return Comparison(
        changes,
        [f"{old.label(before[key])} {key[0]}" for key in before if key not in after],
        [f"{new.label(after[key])} {key[0]}" for key in after if key not in before],
        warnings,
    )
