"""The page without Jinja2, by the standard library: text and tables, no plots, no script."""

from __future__ import annotations

from html import escape

from .model import Appendix, Block, Code, Figure, Heading, Paragraph, Report, Table
from .page import asset


def render_plain_page(report: Report, note: str) -> str:
    """Return the page; `note` says what is missing, and what would bring it."""
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(report.title)}</title><style>{asset('report.css')}</style></head>",
        f'<body class="plain"><main><h1>{escape(report.title)}</h1><p>{escape(report.machine)}</p>',
        *(f'<p class="warning">{escape(text)}</p>' for text in report.warnings),
        f'<p class="note">{escape(note)}</p><p class="headline">{escape(report.headline)}</p>',
    ]
    parts.append('<div class="scroll"><table><tbody>')
    for tile in report.tiles:
        cells = "".join(f"<td>{escape(text)}</td>" for text in (tile.value, tile.detail))
        parts.append(f'<tr><th scope="row">{escape(tile.title)}</th>{cells}</tr>')
    parts.append("</tbody></table></div>")
    for section in report.sections:
        parts.append(f'<section id="{section.name}"><h2>{escape(section.title)}</h2>')
        parts.append(f'<p class="lead">{escape(section.lead)}</p>')
        parts += [_block(block) for block in section.blocks]
        parts.append("</section>")
    parts.append("</main></body></html>")
    return "\n".join(parts) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Appendix):
        return _table(block.table)
    if isinstance(block, Figure):
        caption = f"<p>{escape(block.caption)}</p>" if block.caption else ""
        shown = Table(block.title, block.data.columns, block.data.rows, block.data.notes)
        return _table(shown) + caption
    if isinstance(block, Heading):
        return f"<h3>{escape(block.text)}</h3>"
    if isinstance(block, Paragraph):
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, Code):
        return f"<pre>{escape(block.text)}</pre>"
    return ""


def _table(table: Table) -> str:
    def row(tag: str, texts: list[str]) -> str:
        kinds = [' class="number"' if column.is_number else "" for column in table.columns]
        cells = zip(texts, kinds, strict=True)
        return "".join(f"<{tag}{kind}>{escape(text)}</{tag}>" for text, kind in cells)

    head = row("th", [column.title for column in table.columns])
    body = "".join(
        f"<tr>{row('td', [cell.in_one_line for cell in cells])}</tr>" for cells in table.rows
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    return (
        f'<h3>{escape(table.title)}</h3><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
    )
