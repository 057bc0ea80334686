"""The section of drawbacks: what a dense network cannot do, by experiment."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from .cells import columns, number, numbers, words
from .contestants import series_style
from .document import Document
from .measured import axis_scale, pivot
from .model import (
    Block,
    Cell,
    Figure,
    Kind,
    Paragraph,
    Picture,
    Plot,
    Scale,
    Section,
    Series,
    Style,
    Table,
)

MODELS = ("MLP", "CNN", "RNN", "LSTM")
KINDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("share", ("accuracy", "share")),
    ("seconds", ("second",)),
    ("bytes", ("byte",)),
)


def _styles(labels: list[str]) -> dict[str, Style]:
    """Return a style for each series of a figure; a model looks the same in every figure."""
    others = [label for label in labels if label not in MODELS]
    return {label: series_style(i) for i, label in enumerate([*MODELS, *others])}


def drawbacks_section(document: Document) -> Section:
    """Return the section."""
    found: dict[str, Any] | None = document["drawbacks"]
    if not found:
        return Section("drawbacks", "Drawbacks", "The experiments were not part of this run.")
    blocks: list[Block] = []
    for text in found.get("paragraphs") or []:
        blocks.append(Paragraph(str(text)))
    for each in found.get("experiments") or []:
        blocks.append(_experiment(each))
    for each in found.get("pictures") or []:
        blocks.append(_picture(each))
    for each in found.get("tables") or []:
        blocks.append(_table(each))
    skipped = found.get("skipped") or []
    if skipped:
        rows = [[words(each["name"]), words(each["reason"])] for each in skipped]
        blocks.append(Table("Skipped", columns("experiment", "reason"), rows))
    lead = (
        "Where dense networks struggle, measured with equal parameter budgets against small "
        "convolutional and recurrent networks. Lines are means over the seeds that there was time "
        "for, as each figure says; bars and bands are their spread."
    )
    return Section("drawbacks", "Drawbacks", lead, blocks)


def _kind(label: str, values: list[float]) -> Kind:
    for kind, parts in KINDS:
        is_possible = kind != "share" or all(0 <= value <= 1 for value in values)
        if is_possible and any(part in label.lower() for part in parts):
            return kind
    return "number"


def _experiment(found: dict[str, Any]) -> Figure:
    names = [str(x) for x in found["x"]] if any(isinstance(x, str) for x in found["x"]) else []
    positions = [float(i) for i in range(len(names))] or [float(x) for x in found["x"]]
    series = []
    styles = _styles([str(each["label"]) for each in found["series"]])
    for each in found["series"]:
        label = str(each["label"])
        points = [
            (x, y, low, high)
            for x, y, low, high in zip(
                positions, each["mean"], each.get("low") or each["mean"],
                each.get("high") or each["mean"], strict=True,
            )
            if y is not None
        ]  # fmt: skip
        x, y, low, high = ([float(point[k]) for point in points] for k in range(4))
        series.append(Series(label, x, y, low, high, styles[label]))
    values = [y for line in series for y in line.y]
    kind = _kind(str(found["y_label"]), values)
    plot = Plot(
        "curves",
        series,
        str(found["x_label"]),
        str(found["y_label"]),
        "names" if names else _x_scale(positions),
        "linear" if kind == "share" else axis_scale(values),
        kind,
        names=names,
    )
    return Figure(
        f"drawback-{found['name']}",
        str(found["title"]),
        plot,
        _runs_table(found, names, kind),
        question=str(found.get("question") or ""),
        caption=str(found.get("paragraph") or ""),
        compact=pivot(plot, str(found["title"])),
    )


def _x_scale(xs: list[float]) -> Scale:
    ratios = [b / a for a, b in pairwise(xs) if a > 0]
    is_geometric = len(ratios) == len(xs) - 1 >= 2 and min(ratios) >= 1.3
    return "log2" if is_geometric and xs[-1] >= 4 * xs[0] else "linear"


def _runs_table(found: dict[str, Any], names: list[str], kind: Kind) -> Table:
    rows = []
    for each in found["series"]:
        runs = each.get("runs") or []
        low, high = each.get("low") or each["mean"], each.get("high") or each["mean"]
        for i, x in enumerate(found["x"]):
            at_x = [run[i] for run in runs if len(run) > i and run[i] is not None]
            rows.append(
                [
                    words(each["label"]),
                    words(x) if names else number(x),
                    number(each["mean"][i], kind),
                    number(low[i], kind),
                    number(high[i], kind),
                    numbers(at_x, kind),
                ]
            )
    x_title = str(found["x_label"]) if names else f">{found['x_label']}"
    titles = columns("model", x_title, ">mean", ">low", ">high", "each seed")
    return Table("Raw data", titles, rows)


def _picture(found: dict[str, Any]) -> Picture:
    width, height = int(found["width"]), int(found["height"])
    images = []
    for image in found["images"]:
        flat = [value for row in image for value in (row if isinstance(row, list) else [row])]
        if len(flat) != width * height:
            raise ValueError(
                f"an image of {found['name']} has {len(flat)} pixels, not {width}x{height}"
            )
        pixels = [min(max(int(value), 0), 255) for value in flat]
        images.append([pixels[i * width : (i + 1) * width] for i in range(height)])
    labels = [str(label) for label in found.get("labels") or []]
    labels += [""] * (len(images) - len(labels))
    caption = str(found.get("paragraph") or found.get("description") or "")
    title = str(found["title"])
    return Picture(f"picture-{found['name']}", title, width, height, images, labels, caption)


def _table(found: dict[str, Any]) -> Table:
    rows = [[_cell(value) for value in row] for row in found["rows"]]
    titles = [
        f">{title}" if all(row[i].value is not None for row in rows) and rows else str(title)
        for i, title in enumerate(found["columns"])
    ]
    notes = [str(found["paragraph"])] if found.get("paragraph") else []
    return Table(str(found["title"]), columns(*titles), rows, notes)


def _cell(value: object) -> Cell:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value)
    return words(value)
