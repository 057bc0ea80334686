"""What the options of training cost: a table in the section of training."""

from __future__ import annotations

from ..cases_options import PLAIN
from .cells import columns, number, words
from .document import Document
from .measured import repetitions_table
from .model import Appendix, Block, Heading, Table


def options_blocks(document: Document) -> list[Block]:
    """Return the table, and the raw data; nothing if no option was measured."""
    shown = list(document.of_group("options", only_main=True))
    if not shown:
        return []
    seconds = {
        (case, each["contender"]): float(each["median_seconds"])
        for case, found in shown
        for each in found
    }
    contenders = [n for n in document.contenders("backend") if any(n == c for _, c in seconds)]
    rows = []
    for case, _ in shown:
        row = [words(document.case_title(case))]
        for contender in contenders:
            found, plain = seconds.get((case, contender)), seconds.get((PLAIN, contender))
            row.append(number(found, "seconds"))
            row.append(number(found / plain if found and plain else None, "factor"))
        rows.append(row)
    titles = [title for name in contenders for title in (f">{document.title_of(name)}", ">/ plain")]
    note = "/ plain: relative to the first row. " + str(document.cases[shown[0][0]]["description"])
    measurements = [each for _, found in shown for each in found]
    return [
        Heading("Options"),
        Table("Time of an epoch with each option", columns("epoch with", *titles), rows, [note]),
        Appendix(repetitions_table(document, measurements)),
    ]
