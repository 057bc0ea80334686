"""The section of scaling: how the cost grows, and what share of the machine's limit is reached."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise

from .cells import columns, number, words
from .contestants import Contestants, Key
from .document import Document, Measured, gflops, quartiles
from .measured import axis_scale, pivot, repetitions_table
from .model import Block, Figure, Plot, Scale, Section, Series, Table
from .roofline import roofline_blocks
from .traffic import bandwidth_share, read_rate

AXES = {
    "width": ("Width", "width of the hidden layers"),
    "depth": ("Depth", "number of hidden layers"),
    "batch": ("Batch", "rows of a batch"),
    "rows": ("Rows", "rows of the data"),
    "threads": ("Threads", "threads"),
}
AXES_OF_WORK = ("width", "depth", "rows")
"""Those with which the work grows: of them a power says something."""
Points = list[tuple[float, Measured]]


def scaling_section(document: Document) -> Section:
    """Return the section."""
    blocks: list[Block] = []
    seen: Counter[str] = Counter()
    for (axis, _), points in _families(document).items():
        seen[axis] += 1
        suffix = "" if seen[axis] == 1 else f"-{seen[axis]}"
        blocks += _axis_figures(document, axis, f"scaling-{axis}{suffix}", points)
    roofline = roofline_blocks(document)
    if not blocks and not roofline:
        return Section(
            "scaling", "Scaling", "Neither growth nor the machine's limits were measured."
        )
    lead = (
        "How the cost grows with one size while the others stay, and what share of the machine's "
        "measured peak of multiply-add arithmetic is reached. Small work cannot reach the peak: "
        "there, calls, memory and waiting for threads cost more than the arithmetic."
    )
    if not blocks:
        lead = "Growth was not measured in this run. The machine's limits were."
    elif not roofline:
        lead += " The machine's limits were not measured in this run, so that no share is shown."
    return Section("scaling", "Scaling", lead, [*blocks, *roofline])


def _families(document: Document) -> dict[tuple[str, str], Points]:
    """Return the points of each curve figure by axis and by the case's name without numbers."""
    families: dict[tuple[str, str], Points] = {}
    for name, found in document.of_group("growth", only_main=True):
        parameters = document.parameters_of(name)
        axis, value = parameters.get("axis"), parameters.get("value")
        if axis is None or not isinstance(value, int | float):
            continue
        key = str(axis), re.sub(r"\d+", "#", name)
        families.setdefault(key, []).extend((float(value), each) for each in found)
    return families


def _axis_figures(document: Document, axis: str, name: str, points: Points) -> list[Block]:
    title, x_label = AXES.get(axis, (axis.capitalize(), axis))
    case = document.cases[points[0][1]["case"]]
    question = str(case.get("description") or "")
    measurements = [each for _, each in points]
    xs = sorted({value for value, _ in points})
    time = _plot(document, points, x_label, _x_scale(xs))
    raw = repetitions_table(document, measurements)
    cost = Figure(
        f"{name}-cost",
        f"{title}: cost",
        time,
        raw,
        question=question,
        caption=_growth_sentence(time, x_label) if axis in AXES_OF_WORK else "",
        compact=pivot(time, f"{title}: time"),
    )
    has_share = any(document.peak_gflops(each) and gflops(each) for each in measurements)
    if not any(gflops(each) for each in measurements):
        return [cost]
    rate = _plot(document, points, x_label, _x_scale(xs), is_rate=True, share=has_share)
    return [
        cost,
        Figure(
            f"{name}-rate",
            f"{title}: share of the peak" if has_share else f"{title}: rate",
            rate,
            _rate_table(document, points, x_label),
            question="The arithmetic done per second"
            + (", as a share of the measured peak with as many threads." if has_share else "."),
            compact=pivot(rate, f"{title}: share of the peak") if has_share else None,
        ),
    ]


def _plot(
    document: Document,
    points: Points,
    x_label: str,
    x_scale: Scale,
    *,
    is_rate: bool = False,
    share: bool = False,
) -> Plot:
    contestants = Contestants(document, [each for _, each in points])
    lines: dict[Key, Series] = {}
    for value, each in sorted(points, key=lambda point: point[0]):
        factor = 1.0
        if is_rate:
            peak = document.peak_gflops(each) if share else 1.0
            if not peak or not each.get("flops"):
                continue
            factor = each["flops"] / 1e9 / peak
        key = contestants.key(each)
        if key not in lines:
            lines[key] = Series(contestants.label(each), [], [], [], [], contestants.style(each))
        low, high = quartiles(each)
        shown = [each["median_seconds"], low, high]
        if is_rate:
            shown = [factor / seconds if seconds else math.nan for seconds in shown]
        line = lines[key]
        for values, number_ in zip(
            (line.x, line.y, line.low, line.high),
            (value, shown[0], min(shown), max(shown)),
            strict=True,
        ):
            values.append(number_)
    series = [lines[key] for key in contestants.order if key in lines]
    y_scale = axis_scale([y for line in series for y in line.y])
    if is_rate:
        if not share:
            return Plot("curves", series, x_label, "GFLOP/s", x_scale, y_scale, "rate")
        limits = [("the measured peak", 1.0)]
        label = "share of the peak"
        return Plot("curves", series, x_label, label, x_scale, y_scale, "share", limits=limits)
    return Plot("curves", series, x_label, "time", x_scale, y_scale, "seconds")


def _x_scale(xs: list[float]) -> Scale:
    steps = [right / left for left, right in pairwise(xs) if left > 0]
    return "log2" if steps and min(xs) > 0 and max(xs) >= 8 * min(xs) else "linear"


def _growth_sentence(plot: Plot, x_label: str) -> str:
    """Say by what power of x the time grows at the upper end of each curve, beyond the noise."""
    found = []
    for line in plot.series:
        if len(line.x) >= 2 and line.x[-2] > 0 and 0 < line.high[-2] < line.low[-1]:
            power = math.log(line.y[-1] / line.y[-2]) / math.log(line.x[-1] / line.x[-2])
            found.append(f"{line.label} {power:.2f}")
    if not found:
        return ""
    return (
        f"Over the last step, the time grows with this power of the {x_label}: "
        f"{', '.join(found)} (1: in proportion)."
    )


def _rate_table(document: Document, points: Points, x_label: str) -> Table:
    rows = []
    for value, each in points:
        rate, peak = gflops(each), document.peak_gflops(each)
        rows.append(
            [
                number(value),
                words(document.title_of(each["contender"])),
                words(each.get("isa")),
                words(each.get("precision")),
                number(each.get("n_threads")),
                number(each.get("flops")),
                number(each["median_seconds"], "seconds"),
                number(rate, "rate"),
                number(peak, "rate"),
                number(rate / peak if rate and peak else None, "share"),
                number(read_rate(document, each), "rate"),
                number(bandwidth_share(document, each), "share"),
            ]
        )
    titles = columns(
        f">{x_label}", "contender", "ISA", "precision", ">threads", ">operations", ">time",
        ">GFLOP/s", ">peak GFLOP/s", ">share of the peak", ">GB/s read at least",
        ">share of the bandwidth",
    )  # fmt: skip
    return Table("Raw data", titles, rows)
