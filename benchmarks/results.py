"""What a run measured, and its file: results.json."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fastmlp.errors import FormatError

SCHEMA = "fastmlp-benchmark"
SCHEMA_VERSION = 1

UNITS = {
    "repetitions": "seconds per call as timed, for rows_timed rows, before scaling",
    "median_seconds": "median of the repetitions times scale: seconds for rows_reported rows",
    "spread_seconds": "interquartile range of the repetitions times scale, seconds",
    "first_call_seconds": "seconds to prepare and call once, on few rows: compilation; not scaled",
    "scale": "rows_reported / rows_timed",
    "loops": "calls per repetition",
    "samples_per_second": "rows per second",
    "accuracy": "share of the test rows predicted right, 0 to 1",
    "memory_bytes": "bytes",
}


@dataclass
class Measurement:
    """All repetitions of one case on one backend.

    Attributes
    ----------
    case, group, backend, isa, precision : str
    n_threads : int
        How many threads the backend would use at most.
    rows_timed, rows_reported : int
        How many rows a call worked on, and how many the reported times are for.
    loops : int
        How many calls a repetition is the mean of.
    first_call_seconds : float
        Preparation and first call, on few rows: compilation.
    repetitions : list of float
        Seconds per call, as timed.
    accuracy : float or None
        On the test rows, after the last repetition.
    accuracy_note : str
        Why there is no accuracy, or after what it was taken.
    """

    case: str
    group: str
    backend: str
    isa: str
    precision: str
    n_threads: int
    rows_timed: int
    rows_reported: int
    loops: int
    first_call_seconds: float
    repetitions: list[float] = field(default_factory=list)
    accuracy: float | None = None
    accuracy_note: str = ""

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
    def samples_per_second(self) -> float:
        """Rows per second, by the median."""
        return self.rows_reported / self.median_seconds

    def as_dict(self) -> dict[str, Any]:
        """Return the fields and what follows from them."""
        return asdict(self) | {
            "scale": self.scale,
            "is_scaled": self.is_scaled,
            "median_seconds": self.median_seconds,
            "spread_seconds": self.spread_seconds,
            "samples_per_second": self.samples_per_second,
        }


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
    settings, data, machine, software : dict
    backends, cases : list of dict
    measurements : list of Measurement
    failures : list of dict
        Case, backend and error of what could not be measured.
    """

    date: str
    fastmlp_version: str
    command: str
    complete: bool
    settings: dict[str, Any]
    data: dict[str, Any]
    machine: dict[str, Any]
    software: dict[str, str]
    backends: list[dict[str, Any]]
    cases: list[dict[str, Any]]
    measurements: list[Measurement] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)

    def of_group(self, group: str) -> Iterator[tuple[dict[str, Any], list[Measurement]]]:
        """Give each case of a group that was measured, with its measurements."""
        for case in self.cases:
            found = [each for each in self.measurements if each.case == case["name"]]
            if case["group"] == group and found:
                yield case, found

    def speedup(self, measurement: Measurement, reference: str) -> float:
        """Return how many times faster than `reference` it is; NaN if that was not measured."""
        for each in self.measurements:
            if each.case == measurement.case and each.backend == reference:
                return each.median_seconds / measurement.median_seconds
        return math.nan

    def as_dict(self) -> dict[str, Any]:
        """Return it all as plain lists, dicts and numbers."""
        fields = {name: value for name, value in vars(self).items() if name != "measurements"}
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            **fields,
            "units": UNITS,
            "measurements": [each.as_dict() for each in self.measurements],
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Results:
        """Make it from the content of results.json.

        Raises
        ------
        FormatError
            If it is of another kind or version.
        """
        try:
            kind = document["schema"], document["schema_version"]
            if kind != (SCHEMA, SCHEMA_VERSION):
                raise FormatError(
                    f"expected results of schema {SCHEMA} version {SCHEMA_VERSION}; got {kind}"
                )
            names = cls.__dataclass_fields__
            fields = {name: document[name] for name in names if name != "measurements"}
            known = Measurement.__dataclass_fields__
            measurements = [
                Measurement(**{name: each[name] for name in known})
                for each in document["measurements"]
            ]
        except (KeyError, TypeError) as error:
            raise FormatError(f"these are no benchmark results of fastmlp ({error!r})") from error
        return cls(**fields, measurements=measurements)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_results(results: Results, path: Path) -> None:
    """Write results.json, whole or not at all."""
    write_text(path, json.dumps(results.as_dict(), indent=2, allow_nan=False) + "\n")


def read_results(path: Path) -> Results:
    """Read results.json.

    Raises
    ------
    FormatError
        If it is damaged, of another kind or version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(f"{path}: not a JSON file ({error})") from error
    return Results.from_dict(document)
