"""The section of peers: other libraries, in the same run, on the same work."""

from __future__ import annotations

from .cells import columns, number, words
from .contestants import Contestants, Key
from .document import Document, Measured, configuration, fastest, quartiles
from .layout import is_narrow
from .measured import Shown, axis_scale, repetitions_table
from .model import Appendix, Block, Cell, Figure, Plot, Section, Series, Table

GROUPS = {"training": "Training", "inference": "Inference"}


def peers_section(document: Document) -> Section:
    """Return the section."""
    figures: list[Block] = []
    tables: list[Block] = []
    details: list[Block] = []
    for group, title in GROUPS.items():
        shown = [
            (case, found)
            for case, found in document.of_group(group, only_fair=True)
            if any(each["kind"] == "peer" and rival(found, each) for each in found)
        ]
        if shown:
            figures.append(_figure(document, group, title, shown))
            tables.append(_matrix(document, title, shown))
            details.append(Appendix(_table(document, title, shown)))
    lead = (
        "Every peer is in its fastest idiomatic form, measured in turn with the backends (A B A "
        "B), with the same data, initial weights, batches and threads. A ratio above 1 says how "
        "many times as long the peer takes as the fastest backend of the same precision."
    )
    if not figures:
        lead = "No peer was measured in this run."
    took_part = [_installed(document)] if document["peers"] else []
    if all(map(is_narrow, took_part)):
        blocks = [*figures, *took_part, *tables, *details]
    else:
        blocks = [*figures, *tables, *details, *took_part]
    return Section("peers", "Peers", lead, blocks)


def rival(found: list[Measured], peer: Measured) -> Measured | None:
    """Return the fastest backend of the peer's precision, or of any if none has it."""

    def is_alike(other: Measured) -> bool:
        return is_backend(other) and other.get("precision") == peer.get("precision")

    def is_backend(other: Measured) -> bool:
        return bool(other["kind"] == "backend" and other["median_seconds"])

    return fastest(found, is_alike) or fastest(found, is_backend)


def _figure(document: Document, group: str, title: str, shown: Shown) -> Figure:
    measured = [each for _, found in shown for each in found if each["kind"] == "peer"]
    contestants = Contestants(document, measured)
    lines: dict[Key, Series] = {}
    for position, (_, found) in enumerate(shown):
        for each in found:
            ours = rival(found, each)
            if each["kind"] != "peer" or ours is None:
                continue
            key = contestants.key(each)
            if key not in lines:
                style = contestants.style(each)
                lines[key] = Series(contestants.label(each), [], [], [], [], style)
            low, high = quartiles(each)
            for values, seconds in zip(
                (lines[key].y, lines[key].low, lines[key].high),
                (each["median_seconds"], low, high),
                strict=True,
            ):
                values.append(seconds / ours["median_seconds"])
            lines[key].x.append(float(position))
    series = [lines[key] for key in contestants.order if key in lines]
    plot = Plot(
        "dots",
        series,
        "",
        "time, as a multiple of the fastest backend's",
        y_scale=axis_scale([1.0, *(y for line in series for y in line.y)]),
        y_kind="factor",
        names=[document.case_title(case) for case, _ in shown],
        limits=[("the fastest backend", 1.0)],
    )
    everything = [each for _, found in shown for each in found]
    return Figure(
        f"peers-{group}", f"{title}, against the peers", plot,
        repetitions_table(document, everything),
    )  # fmt: skip


def _matrix(document: Document, title: str, shown: Shown) -> Table:
    """Return the ratios: peers down, cases across, the accuracies of both below."""
    peers = [each for _, found in shown for each in found if each["kind"] == "peer"]
    contestants = Contestants(document, peers)
    labels = {contestants.key(each): contestants.label(each) for each in peers}
    rows = {key: [words(labels[key])] for key in contestants.order}
    has_accuracy = False
    for _, found in shown:
        here = {contestants.key(each): each for each in found if each["kind"] == "peer"}
        for key, row in rows.items():
            peer = here.get(key)
            ours = rival(found, peer) if peer else None
            if peer is None or ours is None:
                row.append(words(""))
                continue
            ratio = number(peer["median_seconds"] / ours["median_seconds"], "factor")
            accuracies = [peer.get("accuracy"), ours.get("accuracy")]
            detail = ", ".join("-" if each is None else f"{each:.2%}" for each in accuracies)
            has_accuracy |= accuracies != [None, None]
            row.append(Cell(ratio.text, ratio.value, "" if accuracies == [None, None] else detail))
    titles = ["peer", *(f">{document.case_title(case)}" for case, _ in shown)]
    notes = ["With each ratio: the test accuracy of the peer, then that of the backend."]
    return Table(
        f"{title}: how many times as long as the fastest backend",
        columns(*titles), list(rows.values()), notes if has_accuracy else [],
    )  # fmt: skip


def _table(document: Document, title: str, shown: Shown) -> Table:
    has_accuracy = any(each.get("accuracy") is not None for _, found in shown for each in found)
    rows = []
    for case, found in shown:
        for each in found:
            ours = rival(found, each)
            if each["kind"] != "peer" or ours is None:
                continue
            row = [
                words(document.case_title(case)),
                words(document.title_of(each["contender"])),
                words(configuration(each)),
                number(each["median_seconds"], "seconds"),
                number(ours["median_seconds"], "seconds"),
                words(f"{ours['contender']}, {configuration(ours)}"),
                number(each["median_seconds"] / ours["median_seconds"], "factor"),
            ]
            if has_accuracy:
                row += [
                    number(each.get("accuracy"), "share"),
                    number(ours.get("accuracy"), "share"),
                ]
            rows.append(row)
    titles = ["case", "peer", "configuration", ">its time", ">our time", "our backend", ">ratio"]
    titles += [">its accuracy", ">our accuracy"] if has_accuracy else []
    return Table(f"{title}: each peer and the fastest backend, in detail", columns(*titles), rows)


def _installed(document: Document) -> Table:
    measured = set(document.contenders("peer"))
    rows = []
    for each in document["peers"]:
        if each["name"] in measured:
            state = "measured"
        elif each["available"]:
            state = "not measured in this run"
        else:
            state = f"skipped: {each.get('reason') or 'not available'}"
        rows.append(
            [words(document.title_of(each["name"])), words(each.get("version")), words(state)]
        )
    return Table("Which peers took part", columns("peer", "version", "state"), rows)
