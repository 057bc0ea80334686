"""The dimensions of a comparison: other instruction sets, precisions and numbers of threads."""

from __future__ import annotations

from .document import Document
from .measured import dots, matrix, repetitions_table
from .model import Appendix, Block, Figure


def dimension_blocks(document: Document, group: str, y_label: str) -> list[Block]:
    """Return a figure and a table of the cases that were measured in several ways; or nothing."""
    shown = []
    for case, found in document.of_group(group):
        varied = {each["contender"] for each in found if each["variant"]}
        if varied:
            shown.append((case, [each for each in found if each["contender"] in varied]))
    if not shown:
        return []
    title = "Instruction sets, precisions, threads"
    measurements = [each for _, found in shown for each in found]
    table = matrix(document, shown, f"{title}: {y_label}", cases_down=False)
    return [
        Figure(
            f"{group}-dimensions",
            title,
            dots(document, shown, y_label),
            repetitions_table(document, measurements),
            question="The same work with what is named; without a name, as in the other figures.",
            compact=table,
        ),
        Appendix(table),
    ]
