"""Tables and plots of measurements, for every section that shows some."""

from __future__ import annotations

from ..tables import SCALED
from .cells import columns, format_share, number, numbers, words
from .contestants import Contestants, Key
from .document import (
    Document,
    Measured,
    configuration,
    fastest,
    gflops,
    is_reference,
    quartiles,
    relative_spread,
)
from .model import Cell, Kind, Plot, Scale, Series, Table
from .traffic import bandwidth_share

Shown = list[tuple[str, list[Measured]]]
"""Cases with their measurements."""
LOG_FROM = 8.0
"""A ratio of the largest to the smallest value from which an axis is logarithmic."""


def axis_scale(values: list[float]) -> Scale:
    """Return the scale that lets all of the values be seen."""
    positive = [value for value in values if value > 0]
    is_wide = len(positive) == len(values) > 0 and max(values) > LOG_FROM * min(values)
    return "log10" if is_wide else "linear"


def repetitions_table(document: Document, measurements: list[Measured]) -> Table:
    """Return every repetition."""
    rows = [
        [
            words(document.case_title(each["case"])),
            words(document.title_of(each["contender"])),
            words(configuration(each)),
            number(each["median_seconds"], "seconds", SCALED if each.get("is_scaled") else ""),
            number(each["spread_seconds"] if len(each["repetitions"]) > 1 else None, "seconds"),
            number(each.get("rows_timed")),
            number(each.get("rows_reported")),
            number(each.get("loops")),
            numbers(each["repetitions"], "seconds"),
        ]
        for each in measurements
    ]
    titles = columns(
        "case", "contender", "configuration", ">median", ">spread", ">rows timed",
        ">rows reported", ">calls", "repetitions, as timed",
    )  # fmt: skip
    return Table("Raw data", titles, rows)


def speedup(measured: Measured, others: list[Measured]) -> float | None:
    """Return how many times the speed of the reference it has in its case."""
    reference = fastest(others, is_reference)
    if reference is None or not measured["median_seconds"]:
        return None
    return float(reference["median_seconds"] / measured["median_seconds"])


def times_table(document: Document, group: str, title: str, what: str) -> Table:
    """Return time, spread, rate, speedup and accuracy of each contender in each case."""
    shown = list(document.of_group(group))
    everything = [each for _, found in shown for each in found]
    has_flops = any(gflops(each) is not None for each in everything)
    has_accuracy = any(each.get("accuracy") is not None for each in everything)
    has_bandwidth = any(bandwidth_share(document, each) is not None for each in everything)
    rows, notes = [], []
    for case, found in shown:
        for each in found:
            rate = gflops(each)
            peak = document.peak_gflops(each)
            row = [
                words(document.case_title(case)),
                words(document.title_of(each["contender"])),
                words(configuration(each)),
                number(each["median_seconds"], "seconds", SCALED if each.get("is_scaled") else ""),
                number(relative_spread(each), "share"),
                number(speedup(each, found), "factor"),
                number(each.get("samples_per_second"), "count"),
            ]
            if has_flops:
                row += [
                    number(rate, "rate"),
                    number(rate / peak if rate and peak else None, "share"),
                ]
            if has_bandwidth:
                row.append(number(bandwidth_share(document, each), "share"))
            if has_accuracy:
                row.append(number(each.get("accuracy"), "share"))
            row.append(number(each.get("first_call_seconds"), "seconds"))
            rows.append(row)
    titles = [what, "contender", "configuration", ">time", ">spread", ">speedup", ">rows/s"]
    titles += [">GFLOP/s", ">of the peak"] if has_flops else []
    titles += [">of the bandwidth"] if has_bandwidth else []
    titles += [">test accuracy"] if has_accuracy else []
    titles.append(">first call")
    if has_flops:
        notes.append(
            "GFLOP/s and share of the peak count every product of the network. Where most inputs "
            "are zero, as in images of digits, the cython and numba engines leave products out, "
            "which may come to more than the peak."
        )
    if has_bandwidth:
        notes.append(
            "Of the bandwidth: the part of the time that reading what has to be read takes at the "
            "measured bandwidth: every row once, every parameter once a batch."
        )
    if any(each.get("is_scaled") for each in everything):
        notes.append(
            f"{SCALED} timed on fewer rows than are reported, and multiplied; the raw data say "
            "on how many."
        )
    noted = {
        f"{document.title_of(each['contender'])}: {each['accuracy_note']}"
        for each in everything
        if each.get("accuracy") is None and each.get("accuracy_note")
    }
    notes += [f"No accuracy for {text}." for text in sorted(noted)]
    after = {
        each["accuracy_note"]
        for each in everything
        if each.get("accuracy") is not None and each.get("accuracy_note")
    }
    if len(after) == 1:
        notes.append(f"Test accuracy {after.pop()}.")
    return Table(title, columns(*titles), rows, notes)


def matrix(document: Document, shown: Shown, title: str, *, cases_down: bool) -> Table:
    """Return the times of cases by contenders or, if not `cases_down`, turned round.

    The fastest of each case stands out. Below each time stand its spread and the test accuracy.
    """
    everything = [each for _, found in shown for each in found]
    contestants = Contestants(document, everything)
    labels = {contestants.key(each): contestants.label(each) for each in everything}
    has_accuracy = any(each.get("accuracy") is not None for each in everything)
    cells: dict[tuple[str, Key], Cell] = {}
    for case, found in shown:
        best = fastest(found, lambda each: True)
        for each in found:
            cells[case, contestants.key(each)] = _time_cell(each, has_accuracy, each is best)
    cases = [(case, words(document.case_title(case))) for case, _ in shown]
    keys = [(key, words(labels[key])) for key in contestants.order]
    empty = words("")
    if cases_down:
        titles = ["case", *(f">{name.text}" for _, name in keys)]
        rows = [[name, *(cells.get((c, key), empty) for key, _ in keys)] for c, name in cases]
    else:
        titles = ["contender", *(f">{name.text}" for _, name in cases)]
        rows = [[name, *(cells.get((c, key), empty) for c, _ in cases)] for key, name in keys]
    notes = [
        "With each median: its spread, the interquartile range as a part of it"
        + (", and the test accuracy." if has_accuracy else ".")
    ]
    if any(each.get("is_scaled") for each in everything):
        notes.append(f"{SCALED} timed on fewer rows than are reported, and multiplied.")
    return Table(title, columns(*titles), rows, notes)


def _time_cell(measured: Measured, with_accuracy: bool, is_best: bool) -> Cell:
    mark = SCALED if measured.get("is_scaled") else ""
    time = number(measured["median_seconds"], "seconds", mark)
    spread = relative_spread(measured)
    details = [] if spread is None else [f"\u00b1{format_share(spread)}"]
    if with_accuracy:
        accuracy = measured.get("accuracy")
        details.append("no accuracy" if accuracy is None else f"{accuracy:.2%}")
    return Cell(time.text, time.value, ", ".join(details), is_best)


def dots(document: Document, shown: Shown, y_label: str) -> Plot:
    """Return the times of contenders as dots: a lane per case, quartiles as bars."""
    everything = [each for _, found in shown for each in found]
    contestants = Contestants(document, everything)
    lines: dict[Key, Series] = {}
    for position, (_, found) in enumerate(shown):
        for each in found:
            key = contestants.key(each)
            if key not in lines:
                lines[key] = Series(
                    contestants.label(each), [], [], [], [], contestants.style(each)
                )
            low, high = quartiles(each)
            _append(lines[key], position, each["median_seconds"], low, high)
    return Plot(
        "dots",
        [lines[key] for key in contestants.order],
        "",
        y_label,
        y_scale=axis_scale([each["median_seconds"] for each in everything]),
        y_kind="seconds",
        names=[document.case_title(case) for case, _ in shown],
    )


def pivot(plot: Plot, title: str, x_kind: Kind = "number") -> Table:
    """Return a plot as a table: x down, series across."""
    positions = sorted({x for line in plot.series for x in line.x})
    rows = []
    for x in positions:
        name = words(plot.names[int(x)]) if plot.names else number(x, x_kind)
        found = [dict(zip(line.x, line.y, strict=True)).get(x) for line in plot.series]
        rows.append([name, *(number(value, plot.y_kind) for value in found)])
    first = plot.x_label or "case"
    titles = columns(first, *(f">{line.label}" for line in plot.series))
    return Table(title, titles, rows, [f"Shown: {plot.y_label}."] if plot.y_label else [])


def _append(line: Series, x: float, y: float, low: float, high: float) -> None:
    for values, value in ((line.x, x), (line.y, y), (line.low, low), (line.high, high)):
        values.append(float(value))
