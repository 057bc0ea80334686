"""The section of method: how it was measured, on what, how noisy it was, and how to repeat it."""

from __future__ import annotations

import statistics
from typing import Any

from ..case import REFERENCE, REFERENCE_PRECISION
from ..tables import LARGE_SPREAD, SCALED, format_bytes
from .cells import columns, format_share, number, words
from .document import Document, relative_spread
from .measured import repetitions_table
from .model import Appendix, Block, Code, Heading, Paragraph, Section, Table


def method_section(document: Document) -> Section:
    """Return the section."""
    lead = (
        "Each case is prepared and called once for every contender; that call, which compiles what "
        "has to be compiled, is timed by itself. Then all are repeated in turn (A B A B), so that "
        "a change of the machine's speed meets all alike. Calls too short for the clock are looped."
    )
    blocks: list[Block] = [
        Paragraph(
            "A time is the median of the repetitions; the spread is their interquartile range, in "
            "tables as a part of the median. A speedup is the ratio of two medians of one case: of "
            f"the {REFERENCE} backend, pure Python in {REFERENCE_PRECISION}, over the contender's. "
            "Means of ratios are geometric."
        ),
        *_noise(document),
        *_scaling(document),
        Heading("Do it again"),
        Code(f"pip install '.[all,peers]'  # in a clone of fastmlp\n{document['command']}"),
    ]
    for table in (
        _failures_table(document),
        _backends_table(document),
        _machine_table(document),
        _settings_table(document),
    ):
        if table.rows:
            blocks.append(table)
    if document.measurements:
        table = repetitions_table(document, document.measurements)
        table.title = "Every measurement, with every repetition"
        blocks.append(Appendix(table))
    return Section("method", "Method", lead, blocks)


def noise_warning(document: Document) -> str:
    """Return what to say if the spreads are large; "" if they are not."""
    spreads = [(relative_spread(each) or 0.0, each) for each in document.measurements]
    large = [each for spread, each in spreads if spread > LARGE_SPREAD]
    if not large:
        return ""
    worst = max(spread for spread, _ in spreads)
    return (
        f"Spreads reach {worst:.0%} of the median ({len(large)} of {len(spreads)} measurements "
        f"are above {LARGE_SPREAD:.0%}): other programs were running. Measure again on a quiet "
        "machine."
    )


def _noise(document: Document) -> list[Block]:
    spreads = [
        spread for each in document.measurements if (spread := relative_spread(each)) is not None
    ]
    if not spreads:
        return []
    text = (
        f"Noise of this run: half of the {len(spreads)} spreads are below "
        f"{format_share(statistics.median(spreads))}, the largest is {format_share(max(spreads))}. "
        "Differences smaller than the spreads are no differences."
    )
    return [Paragraph(text)]


def _scaling(document: Document) -> list[Block]:
    scaled = [each for each in document.measurements if each.get("is_scaled")]
    if not scaled:
        return []
    names = sorted({document.title_of(each["contender"]) for each in scaled})
    text = (
        f"Times marked {SCALED} were measured on fewer rows and multiplied by the ratio of the "
        f"rows ({', '.join(names)}; {len(scaled)} measurements): a whole epoch would take too "
        "long, and its time is nearly in proportion to the rows. Where a slice of the reference "
        "is less than a batch, what is done once per batch counts too often."
    )
    return [Paragraph(text)]


def _failures_table(document: Document) -> Table:
    rows = [
        [
            words(document.case_title(each["case"])),
            words(document.title_of(each["contender"])),
            words(each["error"]),
        ]
        for each in document["failures"]
    ]
    return Table("Not measured", columns("case", "contender", "error"), rows)


def _backends_table(document: Document) -> Table:
    rows = [
        [
            words(each["name"]),
            words(each.get("isa")),
            number(each.get("n_threads") if each["available"] else None),
            words(_precisions(each)),
            words("available" if each["available"] else each.get("reason")),
        ]
        for each in document["backends"]
    ]
    return Table("Backends", columns("backend", "ISA", ">threads", "precisions", "state"), rows)


def _precisions(backend: dict[str, Any]) -> str:
    text = ", ".join(backend.get("precisions") or [])
    if text and backend["name"] == REFERENCE:
        return f"{text}; computes in {REFERENCE_PRECISION}"
    return text


def _machine_table(document: Document) -> Table:
    machine = dict(document["machine"])
    rows = []
    for name, value in machine.items():
        if name == "memory_bytes" and isinstance(value, int):
            rows.append([words("memory"), words(format_bytes(value))])
        else:
            rows.append([words(_plain(name)), words(_plain_value(value))])
    rows += [[words(_plain(name)), words(value)] for name, value in document["software"].items()]
    return Table("Machine and software", columns("what", "value"), rows)


def _settings_table(document: Document) -> Table:
    rows = [
        [words(_plain(name)), words(_plain_value(value))]
        for key in ("settings", "data")
        for name, value in document[key].items()
    ]
    rows.insert(0, [words("level"), words(document["level"])])
    return Table("Settings and data", columns("setting", "value"), rows)


def _plain(name: str) -> str:
    return "CPU" if name == "cpu" else name.replace("_", " ").replace("cpus", "CPUs")


def _plain_value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}"
    return "-" if value is None else str(value)
