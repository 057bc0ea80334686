"""The report as plain text, for a terminal."""

from __future__ import annotations

import textwrap

from .model import Block, Code, Figure, Heading, Paragraph, Report, Table

WIDTH = 92


def render_text(report: Report) -> str:
    """Return the report as plain text."""
    lines = [report.title, "=" * len(report.title), report.machine, ", ".join(report.facts), ""]
    lines += [line for text in report.warnings for line in [*_wrap(f"! {text}", "  "), ""]]
    lines += [*_wrap(report.headline), ""]
    width = max(len(tile.title) for tile in report.tiles)
    for tile in report.tiles:
        lines += _wrap(f"{tile.title:{width}}  {tile.value}  ({tile.detail})", " " * (width + 2))
    for section in report.sections:
        lines += ["", "", section.title, "-" * len(section.title), *_wrap(section.lead)]
        for block in section.blocks:
            shown = _block(block)
            lines += ["", *shown] if shown else []
    return "\n".join(line.rstrip() for line in lines) + "\n"


def table_lines(table: Table) -> list[str]:
    """Return a table with aligned columns."""
    titles = [column.title for column in table.columns]
    lines = [titles, *([cell.in_one_line for cell in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [
        "  ".join(
            cell.rjust(width) if column.is_number else cell.ljust(width)
            for cell, width, column in zip(line, widths, table.columns, strict=True)
        ).rstrip()
        for line in lines
    ]
    rule = "-" * max(map(len, shown))
    notes = [line for note in table.notes for line in _wrap(note, "  ")]
    return [table.title, rule, shown[0], rule, *shown[1:], *notes]


def _block(block: Block) -> list[str]:
    if isinstance(block, Table):
        return table_lines(block)
    if isinstance(block, Figure) and block.compact is not None:
        lines = table_lines(block.compact)
        return [*lines, *_wrap(block.caption)] if block.caption else lines
    if isinstance(block, Paragraph | Heading):
        return _wrap(block.text)
    if isinstance(block, Code):
        return [f"    {line}" for line in block.text.splitlines()]
    return []


def _wrap(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False)
