"""The tables of a run, made once and shown twice: in the terminal and in the report."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field

from fastmlp.machine import format_bytes as format_bytes

from .case import REFERENCE
from .cases_options import PLAIN
from .results import Measurement, Results

LINE_WIDTH = 108

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
        notes = [line for note in self.notes for line in wrapped(note)]
        return "\n".join([self.title, rule, shown[0], rule, *shown[1:], *notes])

    def as_markdown(self) -> str:
        """Return the table for a README or a pull request."""
        lines = [self.titles, *self.rows]
        cells = [[cell.strip().replace("|", "\\|") for cell in line] for line in lines]
        rule = ["---:" if number else "---" for number in self.is_number]
        shown = [f"| {' | '.join(line)} |" for line in (cells[0], rule, *cells[1:])]
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([f"### {self.title}", "", *shown, *(["", *notes] if notes else [])])


def wrapped(text: str) -> list[str]:
    """Return a text in lines that fit a terminal."""
    return textwrap.wrap(text, LINE_WIDTH, subsequent_indent="  ", break_long_words=False)


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


def _three_digits(value: float) -> str:
    if value == 0.0 or not math.isfinite(value):
        return f"{value:g}"
    magnitude = math.floor(math.log10(abs(value)))
    rounded = round(value, 2 - magnitude)
    return f"{rounded:,.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"


def shown_spread(measurement: Measurement) -> str:
    """Return the spread relative to the median; a dash for a single repetition."""
    if len(measurement.repetitions) < 2:
        return "-"
    return f"{measurement.relative_spread:.1%}"


def shown_time(measurement: Measurement) -> str:
    """Return the median with a mark if it was scaled, or a space in its place."""
    mark = SCALED if measurement.is_scaled else " "
    return format_time(measurement.median_seconds) + mark


def _scaling_notes(results: Results, group: str) -> list[str]:
    """Return a note for each number of rows that was timed in place of more."""
    by_scale: dict[tuple[int, int], tuple[set[str], list[str]]] = {}
    for case, measurements in results.of_group(group):
        for each in measurements:
            if each.is_scaled:
                key = each.rows_timed, each.rows_reported
                contenders, cases = by_scale.setdefault(key, (set(), []))
                contenders.add(each.contender)
                name = case["title"].split(":")[0]
                if name not in cases:
                    cases.append(name)
    notes = []
    for (timed, reported), (contenders, cases) in by_scale.items():
        shown = ", ".join(sorted(contenders)) if len(contenders) < 4 else "all"
        if len(contenders) >= 4 and REFERENCE not in contenders:
            shown += f" but {REFERENCE}"
        named = ", ".join(cases) if len(cases) < 4 else f"{len(cases)} cases"
        notes.append(
            f"{SCALED} {named}, {shown}: timed on {timed:,} of {reported:,} rows; the time is "
            f"multiplied by {reported / timed:,.4g}."
        )
    return notes


def general_notes(results: Results) -> list[str]:
    """Return what holds for all tables."""
    notes = [
        "Times are medians; the spread is the interquartile range, relative to the median. The "
        "first call (compilation) is timed by itself.",
    ]
    if any(each.contender == REFERENCE for each in results.measurements):
        notes.append(f"The {REFERENCE} backend computes in float64 whatever the precision.")
    unsteady = max((each.relative_spread for each in results.measurements), default=0.0)
    if unsteady > LARGE_SPREAD:
        notes.append(
            f"Spreads reach {unsteady:.0%}: other programs were running. Measure again on a quiet "
            "machine."
        )
    return notes


def _pivot(results: Results, group: str, title: str, first: str, kind: str = "backend") -> Table:
    """Return a row per case and a column per contender, with the speedup of the fastest."""
    infos = reversed(results.backends) if kind == "backend" else results.peers
    of_kind = [
        (case, [each for each in measurements if each.kind == kind])
        for case, measurements in results.of_group(group)
    ]
    found = [(case, measurements) for case, measurements in of_kind if measurements]
    present = {each.contender for _, measurements in found for each in measurements}
    contenders = [each["name"] for each in infos if each["name"] in present]
    rows = []
    for case, measurements in found:
        by_name = {each.contender: each for each in measurements}
        cells = [shown_time(by_name[name]) if name in by_name else "- " for name in contenders]
        fastest = min(measurements, key=lambda each: each.median_seconds)
        largest = max(each.relative_spread for each in measurements)
        speedup = format_speedup(results.speedup(fastest, REFERENCE))
        rows.append([case["title"], *cells, f"{largest:.0%}", speedup])
    columns = [first, *(f">{SHORT_NAMES.get(name, name)} " for name in contenders), ">spread"]
    if all(row[-1] == "-" for row in rows):
        rows = [row[:-1] for row in rows]
    else:
        columns.append(">speedup")
    notes = []
    if rows:
        notes = _scaling_notes(results, group) if kind == "backend" else []
        speedup = f" Speedup: of the fastest over {REFERENCE}." if ">speedup" in columns else ""
        notes.insert(0, f"Spread: the largest of the row.{speedup}")
    return Table(_title(results, title), columns, rows, notes)


SHORT_NAMES = {
    "numpy_by_hand": "by hand",
    "scikit_learn": "sklearn",
    "torch_eager": "torch",
    "torch_compile": "compiled",
    "torch_bfloat16": "bf16",
    "jax_scan": "jax",
    "tensorflow": "tf",
    "onnxruntime": "onnxrt",
}
"""Peers in the heads of columns."""


def kernels_table(results: Results) -> Table:
    """Return the time of each kernel on each backend."""
    return _pivot(results, "kernels", "Kernels", "kernel")


def inference_table(results: Results) -> Table:
    """Return the time of a prediction with each contender."""
    return _pivot(results, "inference", "Inference", "network, rows")


def inference_peers_table(results: Results) -> Table:
    """Return the time of a prediction with each peer."""
    return _pivot(results, "inference", "Inference, peers", "network, rows", "peer")


def growth_table(results: Results) -> Table:
    """Return the time of an epoch against width, depth, batch, rows and threads."""
    return _pivot(results, "growth", "Growth: seconds per epoch", "what grows")


def growth_peers_table(results: Results) -> Table:
    """Return the time of an epoch of the peers against the same."""
    return _pivot(results, "growth", "Growth, peers", "what grows", "peer")


def options_table(results: Results) -> Table:
    """Return the time of an epoch with each option, and what it is of that without it."""
    cases = list(results.of_group("options"))
    plain = {each.contender: each for case, found in cases if case["name"] == PLAIN
             for each in found}  # fmt: skip
    names = {each.contender for _, found in cases for each in found}
    contenders = [each["name"] for each in reversed(results.backends) if each["name"] in names]
    rows = []
    for case, found in cases:
        by_name = {each.contender: each for each in found}
        cells = []
        for name in contenders:
            ratio = math.nan
            if name in by_name and name in plain:
                ratio = by_name[name].median_seconds / plain[name].median_seconds
            cells += [shown_time(by_name[name]) if name in by_name else "- ", format_speedup(ratio)]
        largest = max(each.relative_spread for each in found)
        rows.append([case["title"], *cells, f"{largest:.0%}"])
    columns = ["epoch with", *(title for name in contenders for title in (f">{name} ", ">/ plain"))]
    notes = [f"/ plain: relative to {cases[0][0]['title']}."] if plain else []
    notes += _scaling_notes(results, "options")
    return Table(_title(results, "Options"), [*columns, ">spread"], rows, notes)


def training_table(results: Results) -> Table:
    """Return the time of an epoch, the throughput and the test accuracy of each contender."""
    rows = []
    notes = _scaling_notes(results, "training")
    no_accuracy: dict[str, list[str]] = {}
    for case, measurements in results.of_group("training"):
        for position, each in enumerate(measurements):
            rows.append(
                [
                    "" if position else case["title"].split(", batch")[0],
                    each.contender,
                    shown_time(each),
                    shown_spread(each),
                    f"{each.samples_per_second:,.0f}",
                    format_speedup(results.speedup(each, REFERENCE)),
                    shown_accuracy(each),
                    format_time(each.first_call_seconds),
                ]
            )
            if each.accuracy is None:
                no_accuracy.setdefault(each.accuracy_note, []).append(
                    f"{case['name']} with {each.contender}"
                )
    for note, where in no_accuracy.items():
        named = ", ".join(where) if len(where) < 4 else f"{len(where)} measurements"
        notes.append(f"No accuracy of {named}: {note}.")
    notes += _accuracy_notes(results)
    columns = [
        "case", "contender", ">per epoch ", ">spread", ">samples/s", ">speedup", ">accuracy",
        ">first call",
    ]  # fmt: skip
    return Table(_title(results, "Training"), columns, rows, notes)


def _accuracy_notes(results: Results) -> list[str]:
    """Return after how many epochs the accuracies were taken."""
    after: dict[str, list[str]] = {}
    for case, measurements in results.of_group("training"):
        for each in measurements:
            names = after.setdefault(each.accuracy_note, [])
            if each.accuracy is not None and case["name"] not in names:
                names.append(case["name"])
    told = "; ".join(f"{note} ({', '.join(names)})" for note, names in after.items() if names)
    return [f"Accuracy on the test rows {told}."] if told else []


def dimensions_table(results: Results) -> Table:
    """Return what another instruction set, precision or number of threads costs."""
    rows = []
    for case in results.cases:
        measurements = results.of_case(case["name"])
        others = [each for each in measurements if not results.is_main(each)]
        for position, each in enumerate(others):
            ratio = math.nan
            for main in measurements:
                if main.contender == each.contender and results.is_main(main):
                    ratio = each.median_seconds / main.median_seconds
            rows.append(
                [
                    "" if position else case["title"].split(":")[0],
                    each.contender,
                    each.max_isa or each.isa,
                    each.precision,
                    str(each.n_threads),
                    shown_time(each),
                    shown_spread(each),
                    format_speedup(ratio),
                ]
            )
    columns = [
        "case", "contender", "ISA", "precision", ">threads", ">time ", ">spread", ">time / main",
    ]  # fmt: skip
    title = "Other instruction sets, precisions and thread counts"
    return Table(title, columns, rows)


def shown_accuracy(measurement: Measurement) -> str:
    """Return the test accuracy; a dash if there is none."""
    return "-" if measurement.accuracy is None else f"{measurement.accuracy:.2%}"


def peers_table(results: Results) -> Table:
    """Return what each peer is, or why it was not measured."""
    measured = {each.contender for each in results.measurements}
    rows = [
        [
            each["title"],
            each["version"] or "-",
            "measured" if each["name"] in measured else (each["reason"] or "no case for it"),
        ]
        for each in results.peers
    ]
    return Table("Peers", ["peer", "version", "state"], rows)


def measurements_table(results: Results) -> Table:
    """Return every measurement with all its repetitions."""
    rows = [
        [
            each.case,
            results.label(each),
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
        "case", "contender", "ISA", ">threads", ">rows timed", ">rows reported", ">calls",
        ">median", "repetitions, as timed",
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


def _title(results: Results, text: str) -> str:
    repeats = results.settings["repeats"]
    plural = "repetition" if repeats == 1 else "repetitions"
    return f"{text} ({results.settings['precision']}, {repeats} {plural})"
