"""The report of a run: an HTML file that stands on its own, Markdown, or plain text.

``build`` turns the results into sections of tables, figures and text (``model``), whatever they
will be written as; ``page``, ``plain_page``, ``markdown`` and ``text`` write them. A section is a
file of its name with a function of the results; it is listed in ``build.SECTIONS``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from fastmlp.errors import MissingExtraError

from ..results import Results, write_text
from . import plot_files
from .build import build_report
from .document import Document, read_document
from .headline import headline
from .markdown import render_markdown
from .page import check_jinja, render_page
from .plain_page import render_plain_page
from .plots import check_matplotlib
from .text import render_text

__all__ = [
    "FORMATS", "Format", "missing_extras", "read_document", "render", "summary", "write_plots",
    "write_report", "write_text",
]  # fmt: skip

Format = Literal["html", "markdown", "text"]
FORMATS: dict[Format, str] = {"html": "report.html", "markdown": "report.md", "text": "report.txt"}
"""The formats, each with the usual name of its file."""


def _document(results: Document | Results | dict[str, Any]) -> Document:
    return results if isinstance(results, Document) else Document(results)


def render(results: Document | Results | dict[str, Any], form: Format = "html") -> str:
    """Return the report of some results.

    Without Jinja2, HTML is a plain page of tables; without matplotlib there are no plots.

    Parameters
    ----------
    results : Results, Document or the content of results.json
    form : {"html", "markdown", "text"}

    Raises
    ------
    FormatError
        If the results are damaged or of another version.
    """
    report = build_report(_document(results))
    if form == "markdown":
        return render_markdown(report)
    if form == "text":
        return render_text(report)
    try:
        return render_page(report)
    except MissingExtraError as error:
        return render_plain_page(report, f"This is the plain report: {error}")


def missing_extras() -> list[str]:
    """Return a line for each package that a page of full beauty lacks."""
    lines = []
    for check in (check_jinja, check_matplotlib):
        try:
            check()
        except MissingExtraError as error:
            lines.append(str(error))
    return lines


def write_report(
    results: Document | Results | dict[str, Any], path: Path, form: Format = "html"
) -> None:
    """Write the report, whole or not at all; see `render`."""
    write_text(path, render(results, form))


def write_plots(results: Document | Results | dict[str, Any], folder: Path) -> list[Path]:
    """Write each plot as an SVG file into a folder; return the files."""
    return plot_files.write_plots(build_report(_document(results)), folder)


def summary(results: Document | Results | dict[str, Any]) -> str:
    """Return the outcome in a sentence or two."""
    return headline(_document(results))
