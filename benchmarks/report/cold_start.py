"""The section of the cold start: from a new process to a trained network, and what it weighs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from .cells import columns, number, numbers, words
from .contestants import contender_style
from .document import Document
from .measured import axis_scale
from .model import Block, Cell, Figure, Kind, Paragraph, Plot, Section, Series, Table


def cold_start_section(document: Document) -> Section:
    """Return the section."""
    found: dict[str, Any] | None = document["cold_start"]
    blocks: list[Block] = []
    if found:
        if found.get("recipe"):
            blocks.append(Paragraph(_recipe(found["recipe"])))
        reached = [each for each in found.get("time_to_accuracy") or [] if each.get("seconds")]
        if reached:
            blocks.append(_figure(document, reached))
        for table in (
            _accuracy_table(document, found.get("time_to_accuracy") or []),
            _imports_table(found.get("import_seconds") or []),
            _sizes_table(found.get("install_bytes") or []),
            _memory_table(document, found.get("peak_memory_bytes") or []),
            _skipped_table(document, found.get("skipped") or []),
        ):
            if table.rows:
                blocks.append(table)
    if not blocks:
        return Section("cold-start", "Cold start", "The cold start was not measured in this run.")
    lead = (
        "From a new process, imports and compilation included: how long until a test accuracy is "
        "reached, how long the import takes, how much disk and memory it needs."
    )
    return Section("cold-start", "Cold start", lead, blocks)


def _figure(document: Document, reached: list[dict[str, Any]]) -> Figure:
    targets = sorted({float(each["target"]) for each in reached})
    series = []
    for name in dict.fromkeys(each["contender"] for each in reached):
        style = contender_style(document, name)
        line = Series(document.title_of(name), [], [], [], [], style)
        for each in reached:
            if each["contender"] == name:
                seconds = [float(value) for value in each["seconds"]]
                line.x.append(float(targets.index(float(each["target"]))))
                line.y.append(statistics.median(seconds))
                line.low.append(min(seconds))
                line.high.append(max(seconds))
        series.append(line)
    plot = Plot(
        "dots",
        series,
        "",
        "time from the start of the process",
        y_scale=axis_scale([y for line in series for y in line.y]),
        y_kind="seconds",
        names=[f"{target:.0%} test accuracy" for target in targets],
    )
    data = _accuracy_table(document, reached)
    return Figure(
        "cold-start-accuracy",
        "Time to accuracy",
        plot,
        data,
        question="Median of the runs; the bars go from the fastest to the slowest.",
    )


def _accuracy_table(document: Document, found: list[dict[str, Any]]) -> Table:
    rows = []
    for each in found:
        seconds = each.get("seconds") or []
        rows.append(
            [
                words(document.title_of(each["contender"])),
                number(each.get("target"), "share"),
                number(statistics.median(seconds) if seconds else None, "seconds"),
                number(each.get("epochs")),
                number(each.get("accuracy"), "share"),
                _repetitions(seconds, "seconds"),
                words(each.get("note")),
            ]
        )
    titles = columns(
        "contender", ">target", ">median", ">epochs", ">test accuracy", "repetitions", "note"
    )
    notes = (
        ["A dash: the target was not reached."] if any(not e.get("seconds") for e in found) else []
    )
    return Table("Time to a test accuracy, from a cold process", titles, rows, notes)


def _recipe(recipe: dict[str, Any]) -> str:
    parts = []
    for name, value in recipe.items():
        text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        if value is not None:
            parts.append(f"{name.removeprefix('n_').replace('_', ' ')} {text}")
    return f"All contenders train alike: {'; '.join(parts)}."


def _repetitions(values: Sequence[float], kind: Kind) -> Cell:
    """Return all of them, which is their spread; a single one has none, and says so."""
    return words("1 run") if len(values) == 1 else numbers(values, kind)


def _skipped_table(document: Document, found: list[dict[str, Any]]) -> Table:
    rows = [
        [words(each["part"]), words(document.title_of(each["name"])), words(each["reason"])]
        for each in found
    ]
    return Table("Not measured", columns("part", "name", "reason"), rows)


def _imports_table(found: list[dict[str, Any]]) -> Table:
    rows = [
        [
            words(each["name"]),
            number(
                statistics.median(each["repetitions"]) if each.get("repetitions") else None,
                "seconds",
            ),
            _repetitions(each.get("repetitions") or [], "seconds"),
        ]
        for each in found
    ]
    notes = [
        "Whole processes: the interpreter's start, the import and the end. `import fastmlp` by "
        "itself loads no NumPy, that comes with the first network; compare what is ready to train."
    ]
    return Table("Import", columns("package", ">median", "repetitions"), rows, notes)


def _sizes_table(found: list[dict[str, Any]]) -> Table:
    rows = [
        [
            words(each["name"]),
            number(each.get("bytes"), "bytes"),
            number(each.get("own_bytes"), "bytes"),
        ]
        for each in found
    ]
    titles = columns("package", ">size with what it needs", ">size alone")
    return Table("Size on disk", titles, rows)


def _memory_table(document: Document, found: list[dict[str, Any]]) -> Table:
    rows = [
        [
            words(document.title_of(each["contender"])),
            words(document.case_title(str(each.get("case") or ""))),
            number(each.get("bytes"), "bytes"),
            _repetitions(each.get("repetitions") or [], "bytes"),
        ]
        for each in found
    ]
    titles = columns("contender", "case", ">median peak", "repetitions")
    return Table("Peak memory of the process", titles, rows)
