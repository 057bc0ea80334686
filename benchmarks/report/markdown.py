"""The report as Markdown, for a README or a pull request."""

from __future__ import annotations

import html
import re

from .model import Block, Cell, Code, Figure, Heading, Paragraph, Report, Table

SPECIAL = re.compile(r"([\\`*_{}\[\]#|~$])")


def render_markdown(report: Report) -> str:
    """Return the report as GitHub Markdown."""
    parts = [f"# {escape(report.title)}", escape(report.machine), escape(", ".join(report.facts))]
    parts += [f"> **Warning:** {escape(text)}" for text in report.warnings]
    parts.append(f"**{escape(report.headline)}**")
    rows = [
        f"| {escape(tile.title)} | {escape(tile.value)} | {escape(tile.detail)} |"
        for tile in report.tiles
    ]
    parts.append("\n".join(["| | | |", "|---|---:|---|", *rows]))
    for section in report.sections:
        parts += [f"## {escape(section.title)}", escape(section.lead)]
        for block in section.blocks:
            parts += _block(block)
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return text that Markdown shows as it is: no markup, no HTML, one line."""
    return SPECIAL.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


def table_lines(table: Table) -> str:
    """Return a table in the pipe syntax."""
    rule = ["---:" if column.is_number else "---" for column in table.columns]
    lines = [
        [escape(column.title) for column in table.columns],
        rule,
        *([_cell(cell) for cell in row] for row in table.rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell: Cell) -> str:
    text = escape(cell.in_one_line)
    return f"**{text}**" if cell.is_best else text


def _block(block: Block) -> list[str]:
    if isinstance(block, Figure) and block.compact is not None:
        caption = [escape(block.caption)] if block.caption else []
        return [*_block(block.compact), *caption]
    if isinstance(block, Table):
        notes = "\n".join(f"- {escape(note)}" for note in block.notes)
        title = f"### {escape(block.title)}"
        return [title, table_lines(block), *([notes] if notes else [])]
    if isinstance(block, Heading):
        return [f"### {escape(block.text)}"]
    if isinstance(block, Paragraph):
        return [escape(block.text)]
    if isinstance(block, Code):
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
        return [f"{fence}sh\n{block.text}\n{fence}"]
    return []
