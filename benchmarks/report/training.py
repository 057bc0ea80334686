"""The sections of training and of inference."""

from __future__ import annotations

from .dimensions import dimension_blocks
from .document import Document, is_reference
from .measured import Shown, dots, matrix, repetitions_table, times_table
from .model import Appendix, Block, Figure, Section
from .options import options_blocks


def training_section(document: Document) -> Section:
    """Return the section of training."""
    section = _section(
        document,
        "training",
        "Training",
        "Seconds for one epoch: every row once, forward, back and updated. The test accuracy "
        "stands beside each time, so that nobody wins by doing less.",
        "Time of an epoch",
        "network",
        "No training was measured in this run.",
    )
    section.blocks += options_blocks(document)
    return section


def inference_section(document: Document) -> Section:
    """Return the section of inference."""
    return _section(
        document,
        "inference",
        "Inference",
        "The time to predict: one row is a matter of overhead and of memory bandwidth, thousands "
        "are a matter of arithmetic.",
        "Time of a call",
        "case",
        "No inference was measured in this run.",
    )


def _section(
    document: Document, group: str, title: str, lead: str, figure: str, what: str, nothing: str
) -> Section:
    shown = list(document.of_group(group, only_main=True))
    if not shown:
        return Section(group, title, nothing)
    backends = _choose(shown, only_backends=True)
    with_peers = _choose(shown, only_backends=False)
    blocks: list[Block] = []
    if backends:
        blocks.append(_figure(document, f"{group}-backends", f"{figure}, backends", backends))
    if any(each["kind"] == "peer" for _, found in with_peers for each in found):
        name = f"{figure}, with the peers"
        blocks.append(_figure(document, f"{group}-peers", name, with_peers))
    dimensions = dimension_blocks(document, group, figure.lower())
    blocks += dimensions[:1]
    blocks.append(matrix(document, shown, figure, cases_down=False))
    blocks += dimensions[1:]
    blocks.append(Appendix(times_table(document, group, f"{title} in detail", what)))
    return Section(group, title, lead, blocks)


def _choose(shown: Shown, *, only_backends: bool) -> Shown:
    """Return the backends, or all but the reference, which would squeeze the others together."""
    chosen = [
        (
            case,
            [
                each
                for each in found
                if (each["kind"] == "backend" if only_backends else not is_reference(each))
            ],
        )
        for case, found in shown
    ]
    return [(case, found) for case, found in chosen if found]


def _figure(document: Document, name: str, title: str, shown: Shown) -> Figure:
    measurements = [each for _, found in shown for each in found]
    plot = dots(document, shown, title.split(",")[0].lower())
    return Figure(name, title, plot, repetitions_table(document, measurements))
