"""What a run measured, and its file: results.json."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from fastmlp.errors import FormatError
from fastmlp.files import write_text as write_text

from .case import REFERENCE, REFERENCE_PRECISION
from .shapes import MEASUREMENT, damaged_part, has_shape

SCHEMA = "fastmlp-benchmark"
SCHEMA_VERSION = 2

UNITS = {
    "repetitions": "seconds per call as timed, for rows_timed rows, before scaling",
    "median_seconds": "median of the repetitions times scale: seconds for rows_reported rows",
    "spread_seconds": "interquartile range of the repetitions times scale, seconds",
    "first_call_seconds": "seconds to prepare and call once, on few rows: compilation; not scaled",
    "scale": "rows_reported / rows_timed",
    "loops": "calls per repetition",
    "samples_per_second": "rows per second",
    "flops": "multiplications and additions of the products of one reported call",
    "accuracy": "share of the test rows predicted right, 0 to 1",
    "memory_bytes": "bytes",
    "precision": "what was computed in; by python in float64, whatever it is asked for",
}


@dataclass
class Measurement:
    """All repetitions of one case with one contender.

    Attributes
    ----------
    case, group : str
    contender : str
        The name of a backend or of a peer.
    kind : {"backend", "peer"}
    isa : str
    precision : str
        What it computed in; the reference computes in float64 whatever it is asked for.
    n_threads : int
        How many threads the contender would use at most.
    rows_timed, rows_reported : int
        How many rows a call worked on, and how many the reported times are for.
    loops : int
        How many calls a repetition is the mean of.
    first_call_seconds : float
        Preparation and first call, on few rows: compilation.
    repetitions : list of float
        Seconds per call, as timed.
    flops : int or None
        Multiplications and additions of the products of one reported call.
    accuracy : float or None
        On the test rows, after the last repetition.
    accuracy_note : str
        Why there is no accuracy, or after what it was taken.
    max_isa : str
        The cap on the instruction set (FASTMLP_MAX_ISA) that it ran under; empty for none.
    """

    case: str
    group: str
    contender: str
    kind: str
    isa: str
    precision: str
    n_threads: int
    rows_timed: int
    rows_reported: int
    loops: int
    first_call_seconds: float
    repetitions: list[float] = field(default_factory=list)
    flops: int | None = None
    accuracy: float | None = None
    accuracy_note: str = ""
    max_isa: str = ""

    def __post_init__(self) -> None:
        if self.contender == REFERENCE:
            self.precision = REFERENCE_PRECISION

    @property
    def scale(self) -> float:
        """What the timed seconds are multiplied by to be reported."""
        return self.rows_reported / self.rows_timed

    @property
    def is_scaled(self) -> bool:
        """Whether fewer rows were timed than are reported."""
        return self.rows_timed != self.rows_reported

    @property
    def median_seconds(self) -> float:
        """The median repetition, scaled."""
        return statistics.median(self.repetitions) * self.scale

    @property
    def spread_seconds(self) -> float:
        """The interquartile range of the repetitions, scaled; 0 for a single one."""
        if len(self.repetitions) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.repetitions, n=4, method="inclusive")
        return (high - low) * self.scale

    @property
    def relative_spread(self) -> float:
        """The spread as a part of the median."""
        return self.spread_seconds / self.median_seconds

    @property
    def scaled_repetitions(self) -> list[float]:
        """The repetitions as they are reported: seconds for rows_reported rows."""
        return [seconds * self.scale for seconds in self.repetitions]

    @property
    def samples_per_second(self) -> float:
        """Rows per second, by the median."""
        return self.rows_reported / self.median_seconds

    @property
    def gflops(self) -> float:
        """Billions of multiplications and additions per second; NaN where they are not counted."""
        return math.nan if self.flops is None else self.flops / self.median_seconds * 1e-9

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and what follows from them."""
        return asdict(self) | {
            "scale": self.scale,
            "is_scaled": self.is_scaled,
            "median_seconds": self.median_seconds,
            "spread_seconds": self.spread_seconds,
            "samples_per_second": self.samples_per_second,
        }


LEFT_OUT = "left out: "
"""How the error of `Results.failures` begins for a case that there was no time for."""

Failure = dict[str, str]


def without_left_out(failures: Sequence[Failure]) -> tuple[list[Failure], list[Failure], str]:
    """Return what has failed, the cases that were left out, and why they were."""
    left_out = [each for each in failures if each["error"].startswith(LEFT_OUT)]
    why = left_out[0]["error"].removeprefix(LEFT_OUT) if left_out else ""
    return [each for each in failures if each not in left_out], left_out, why


@dataclass
class Results:
    """Everything that a run found out; `as_dict` is the content of results.json.

    Attributes
    ----------
    date : str
        When the run began, UTC, ISO 8601.
    fastmlp_version : str
    command : str
        What to type to run it again.
    complete : bool
        False if it was interrupted.
    level : {"quick", "default", "full"}
    settings, data, machine, software : dict
    backends, peers, cases : list of dict
    measurements : list of Measurement
    roofline, cold_start, drawbacks : dict or None
        What the sections of these names found out; None if they were left out.
    failures : list of dict
        Case (or section), contender and error of what could not be measured; the error begins
        with `LEFT_OUT` if nothing is wrong but the time was over.
    """

    date: str
    fastmlp_version: str
    command: str
    complete: bool
    level: str
    settings: dict[str, Any]
    data: dict[str, Any]
    machine: dict[str, Any]
    software: dict[str, str]
    backends: list[dict[str, Any]]
    peers: list[dict[str, Any]]
    cases: list[dict[str, Any]]
    measurements: list[Measurement] = field(default_factory=list)
    roofline: dict[str, Any] | None = None
    cold_start: dict[str, Any] | None = None
    drawbacks: dict[str, Any] | None = None
    failures: list[Failure] = field(default_factory=list)

    @property
    def has_failed(self) -> bool:
        """Whether something could not be measured for another reason than the time."""
        return bool(without_left_out(self.failures)[0])

    def of_case(self, case: str) -> list[Measurement]:
        """Return all measurements of a case."""
        return [each for each in self.measurements if each.case == case]

    def of_group(self, group: str) -> Iterator[tuple[dict[str, Any], list[Measurement]]]:
        """Give each case of a group that was measured, with its main measurements."""
        for case in self.cases:
            found = [each for each in self.of_case(case["name"]) if self.is_main(each)]
            if case["group"] == group and found:
                yield case, found

    def is_fair(self, measurement: Measurement) -> bool:
        """Tell whether it had no more threads than the run was asked for: peers have no more."""
        return bool(measurement.n_threads <= self.settings["threads"])

    def is_main(self, measurement: Measurement) -> bool:
        """Tell whether it was measured as the run was asked to.

        The others show one dimension each: another instruction set, precision or thread count.
        """
        if measurement.kind == "peer":
            return True
        is_asked_for = measurement.precision == self.settings["precision"]
        if not (is_asked_for or measurement.contender == REFERENCE) or measurement.max_isa:
            return False
        if self.parameters_of(measurement.case).get("axis") == "threads":
            return True
        # Not all contenders use as many threads as they may: the most that one used is meant.
        counts = [
            each.n_threads
            for each in self.of_case(measurement.case)
            if each.contender == measurement.contender
            and each.precision == measurement.precision
            and each.max_isa == measurement.max_isa
            and self.is_fair(each)
        ]
        return measurement.n_threads == max(counts, default=0)

    def parameters_of(self, case: str) -> dict[str, Any]:
        """Return a case's parameters."""
        for each in self.cases:
            if each["name"] == case:
                found: dict[str, Any] = each["parameters"]
                return found
        return {}

    def label(self, measurement: Measurement) -> str:
        """Return the contender with what sets this measurement apart: ``cython, avx2``."""
        if self.is_main(measurement):
            return measurement.contender
        parts = [measurement.contender]
        if measurement.max_isa:
            parts.append(measurement.max_isa)
        if measurement.precision != self.settings["precision"]:
            parts.append(measurement.precision)
        if measurement.n_threads != self.settings["threads"] and len(parts) == 1:
            plural = "s" if measurement.n_threads > 1 else ""
            parts.append(f"{measurement.n_threads} thread{plural}")
        return ", ".join(parts)

    def speedup(self, measurement: Measurement, reference: str) -> float:
        """Return how many times faster than `reference` it is; NaN if that was not measured."""
        for each in self.of_case(measurement.case):
            if each.contender == reference and self.is_main(each):
                return each.median_seconds / measurement.median_seconds
        return math.nan

    def as_dict(self) -> dict[str, Any]:
        """Return it all as plain lists, dicts and numbers."""
        values = {name: value for name, value in vars(self).items() if name != "measurements"}
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            **values,
            "units": UNITS,
            "measurements": [each.as_dict() for each in self.measurements],
        }

    @classmethod
    def from_dict(cls, document: object) -> Results:
        """Make it from the content of results.json.

        Raises
        ------
        FormatError
            If it is damaged, of another kind or of another version.
        """
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise FormatError(
                "these are no benchmark results of fastmlp: expected a results.json that "
                "`fastmlp bench` wrote"
            )
        version = document.get("schema_version")
        if version != SCHEMA_VERSION:
            raise FormatError(
                f"these benchmark results have version {version!r}, written by another fastmlp "
                f"({document.get('fastmlp_version', 'unknown')}); expected version "
                f"{SCHEMA_VERSION}: run `fastmlp bench` again"
            )
        part = damaged_part(document)
        if part:
            raise damaged(f"the part {part!r}")
        found = document.get("measurements")
        if not isinstance(found, list):
            raise damaged("the part 'measurements'")
        known = {case["name"] for case in document["cases"]}
        measurements = [_measurement(each, i, known) for i, each in enumerate(found, 1)]
        names = [each.name for each in fields(cls) if each.name != "measurements"]
        return cls(**{name: document[name] for name in names}, measurements=measurements)


def damaged(what: str) -> FormatError:
    """Return the error to raise about something in results.json."""
    return FormatError(
        f"these benchmark results are damaged: {what} is not as `fastmlp bench` writes it; "
        "run it again"
    )


def _measurement(document: Any, number: int, known: Collection[str]) -> Measurement:
    """Make a measurement, and refuse one whose numbers are none, or whose case is not listed."""
    if not has_shape(document, MEASUREMENT):
        raise damaged(f"measurement {number}")
    names = [each.name for each in fields(Measurement) if each.name in document]
    made = Measurement(**{name: document[name] for name in names})
    what = f"measurement {number}, {made.case} with {made.contender},"
    times = [*made.repetitions, made.first_call_seconds]
    if not made.repetitions or min(times) < 0.0 or min(made.rows_timed, made.rows_reported) < 1:
        raise damaged(what)
    if made.case not in known:
        raise damaged(f"{what} of a case not listed,")
    return made


def write_results(results: Results, path: Path) -> None:
    """Write results.json, whole or not at all."""
    write_text(path, json.dumps(results.as_dict(), indent=2, allow_nan=False) + "\n")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"JSON has no number {name}")


def read_results(path: Path) -> Results:
    """Read results.json.

    Raises
    ------
    FormatError
        If it is damaged, of another kind or of another version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except ValueError as error:
        raise FormatError(f"{path}: damaged: not a JSON file ({error})") from error
    except RecursionError:
        raise FormatError(f"{path}: damaged: nested too deeply") from None
    try:
        return Results.from_dict(document)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
