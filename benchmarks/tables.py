"""The tables of a run, made once and shown twice: in the terminal and in the report."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from .cases import REFERENCE
from .results import Measurement, Results

LARGE_SPREAD = 0.25
"""A spread, relative to the median, above which the medians are not to be relied on."""

SCALED = "*"
"""Marks a time that was scaled up from fewer rows."""


@dataclass
class Table:
    """Cells of text under column titles, with notes below.

    Attributes
    ----------
    title : str
    columns : list of str
        A title that starts with ">" is that of numbers, set flush right.
    rows : list of list of str
    notes : list of str
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)

    @property
    def titles(self) -> list[str]:
        """The column titles without their marks."""
        return [column.removeprefix(">") for column in self.columns]

    @property
    def is_number(self) -> list[bool]:
        """Which columns are set flush right."""
        return [column.startswith(">") for column in self.columns]

    def as_text(self) -> str:
        """Return the table for a terminal."""
        lines = [self.titles, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        flush: list[Callable[[str, int], str]] = [
            str.rjust if number else str.ljust for number in self.is_number
        ]
        shown = [
            "  ".join(
                set_flush(cell, width)
                for set_flush, cell, width in zip(flush, line, widths, strict=True)
            ).rstrip()
            for line in lines
        ]
        rule = "-" * max(map(len, shown))
        return "\n".join([self.title, rule, shown[0], rule, *shown[1:], *self.notes])


def format_time(seconds: float) -> str:
    """Return a measured time with three digits: ``12.3 us``, ``0.456 s``, ``650 s``."""
    if seconds >= 0.1:
        return f"{_three_digits(seconds)} s"
    if seconds >= 1e-4:
        return f"{_three_digits(seconds * 1e3)} ms"
    return f"{_three_digits(seconds * 1e6)} us"


def format_speedup(factor: float) -> str:
    """Return a factor with three digits: ``1.00x``, ``2,130x``; a dash for NaN."""
    return "-" if math.isnan(factor) else f"{_three_digits(factor)}x"


def format_bytes(count: int) -> str:
    """Return a size in GiB."""
    return f"{count / 2**30:.1f} GiB" if count else "unknown"


def _three_digits(value: float) -> str:
    if value == 0.0 or not math.isfinite(value):
        return f"{value:g}"
    magnitude = math.floor(math.log10(abs(value)))
    rounded = round(value, 2 - magnitude)
    return f"{rounded:,.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"


def _spread(measurement: Measurement) -> str:
    if len(measurement.repetitions) < 2:
        return "-"
    return f"{measurement.relative_spread:.1%}"


def _time(measurement: Measurement) -> str:
    mark = SCALED if measurement.is_scaled else " "
    return format_time(measurement.median_seconds) + mark


def _scaling_notes(results: Results, group: str) -> list[str]:
    notes = []
    for case, measurements in results.of_group(group):
        by_scale: dict[tuple[int, int], list[str]] = {}
        for each in measurements:
            if each.is_scaled:
                by_scale.setdefault((each.rows_timed, each.rows_reported), []).append(each.backend)
        for (timed, reported), names in by_scale.items():
            notes.append(
                f"{SCALED} {case['title']}, {', '.join(names)}: timed on {timed:,} of "
                f"{reported:,} rows; the time is multiplied by {reported / timed:,.4g}."
            )
    return notes


def general_notes(results: Results) -> list[str]:
    """Return what holds for all tables."""
    notes = [
        "Times are medians; the spread is the interquartile range, relative to the median. The "
        "first call (compilation) is timed by itself.",
    ]
    if any(each.backend == REFERENCE for each in results.measurements):
        notes.append(f"The {REFERENCE} backend computes in float64 whatever the precision.")
    unsteady = max((each.relative_spread for each in results.measurements), default=0.0)
    if unsteady > LARGE_SPREAD:
        notes.append(
            f"Spreads reach {unsteady:.0%}: other programs were running. Measure again on a quiet "
            "machine."
        )
    return notes


def kernels_table(results: Results) -> Table:
    """Return time and speedup of each kernel on each backend."""
    rows = []
    for case, measurements in results.of_group("kernels"):
        for position, each in enumerate(measurements):
            rows.append(
                [
                    "" if position else case["title"],
                    each.backend,
                    _time(each),
                    _spread(each),
                    format_speedup(results.speedup(each, REFERENCE)),
                    format_time(each.first_call_seconds),
                ]
            )
    columns = ["kernel", "backend", ">time ", ">spread", ">speedup", ">first call"]
    return Table(_title(results, "Kernels"), columns, rows, _scaling_notes(results, "kernels"))


def training_table(results: Results) -> Table:
    """Return the time of an epoch, the throughput and the test accuracy of each backend."""
    rows = []
    notes = _scaling_notes(results, "training")
    for _, measurements in results.of_group("training"):
        for each in measurements:
            accuracy = "-" if each.accuracy is None else f"{each.accuracy:.2%}"
            rows.append(
                [
                    each.backend,
                    _time(each),
                    _spread(each),
                    f"{each.samples_per_second:,.0f}",
                    format_speedup(results.speedup(each, REFERENCE)),
                    accuracy,
                    format_time(each.first_call_seconds),
                ]
            )
            if each.accuracy is None:
                notes.append(f"No accuracy for {each.backend}: {each.accuracy_note}.")
        trained = sorted({each.accuracy_note for each in measurements if each.accuracy is not None})
        if trained:
            notes.append(f"Accuracy on {results.data['test_rows']:,} test rows {trained[0]}.")
    columns = [
        "backend", ">per epoch ", ">spread", ">samples/s", ">speedup", ">test accuracy",
        ">first call",
    ]  # fmt: skip
    title = _title(results, "Training, 784-128-10 on 60,000 images")
    return Table(title, columns, rows, notes)


def measurements_table(results: Results) -> Table:
    """Return every measurement with all its repetitions."""
    rows = [
        [
            each.case,
            each.backend,
            each.isa,
            str(each.n_threads),
            f"{each.rows_timed:,}",
            f"{each.rows_reported:,}",
            f"{each.loops:,}",
            format_time(each.median_seconds),
            ", ".join(format_time(seconds) for seconds in each.repetitions),
        ]
        for each in results.measurements
    ]
    columns = [
        "case", "backend", "ISA", ">threads", ">rows timed", ">rows reported", ">calls", ">median",
        "repetitions, as timed",
    ]  # fmt: skip
    return Table("Every measurement", columns, rows)


def backends_table(results: Results) -> Table:
    """Return what each backend is, or why it is not here."""
    rows = [
        [
            each["name"],
            each["isa"] or "-",
            str(each["n_threads"]) if each["available"] else "-",
            ", ".join(each["precisions"]) or "-",
            "available" if each["available"] else each["reason"],
        ]
        for each in results.backends
    ]
    return Table("Backends", ["backend", "ISA", ">threads", "precisions", "state"], rows)


def machine_table(results: Results) -> Table:
    """Return what it ran on."""
    machine, software = results.machine, results.software
    cpus = f"{machine['logical_cpus']} ({machine['usable_cpus']} usable)"
    rows = [
        ["CPU", f"{machine['cpu']} ({machine['architecture']})"],
        ["logical CPUs", cpus],
        ["memory", format_bytes(machine["memory_bytes"])],
        ["operating system", machine["os"]],
        ["fastmlp", results.fastmlp_version],
        *([name.replace("_", " "), version or "-"] for name, version in software.items()),
        ["date", results.date],
    ]
    return Table("Machine", ["what", "value"], rows)


def failure_lines(results: Results) -> list[str]:
    """Return a line for each measurement that failed."""
    return [
        f"{each['case']} on {each['backend']} failed: {each['error']}" for each in results.failures
    ]


def _title(results: Results, text: str) -> str:
    repeats = results.settings["repeats"]
    plural = "repetition" if repeats == 1 else "repetitions"
    return f"{text} ({results.settings['precision']}, {repeats} {plural})"
