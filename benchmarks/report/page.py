"""The report as one HTML file that loads nothing: styles, script, plots and data are inside."""

from __future__ import annotations

import importlib.resources
import json
from typing import Any

from fastmlp.errors import MissingExtraError

from .layout import arranged, is_roomy
from .model import Cell, Column, Figure, Picture, Report
from .picture import data_uri, mosaic
from .plots import check_matplotlib, draw

PACKAGE = "fastmlp.benchmarks.report"
PICTURE_WIDTH, LARGEST_PIXEL = 400, 16
LONG_TEXT = 44
"""Characters from which a cell is wrapped."""


def asset(name: str) -> str:
    """Return the text of a file of the templates."""
    folder = importlib.resources.files(PACKAGE).joinpath("templates")
    return folder.joinpath(name).read_text(encoding="utf-8")


def json_for_script(text: str) -> str:
    """Return JSON that stays JSON inside a script element, whatever its strings hold."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def check_jinja() -> None:
    """Refuse to render without Jinja2.

    Raises
    ------
    MissingExtraError
    """
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("jinja2", "report", "the page with plots and sorting") from error


def render_page(report: Report) -> str:
    """Return the page.

    Raises
    ------
    MissingExtraError
        Without Jinja2; matplotlib may be missing.
    """
    check_jinja()
    import jinja2
    from markupsafe import Markup

    notes = []
    try:
        check_matplotlib()
        has_plots = True
    except MissingExtraError as error:
        has_plots = False
        notes.append(f"There are no plots: {error}")

    def plot_of(figure: Figure) -> Any:
        if not has_plots:
            return ""
        label = f"{figure.title}: {figure.plot.y_label} {figure.plot.x_label}. {figure.question}"
        return Markup(draw(figure.plot, figure.name, label.strip()))  # its text is escaped

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("report.html").render(
        report=report,
        notes=notes,
        style=Markup(asset("report.css")),
        script=Markup(asset("report.js")),
        results=Markup(json_for_script(json.dumps(json.loads(report.json)))),
        class_of=_class_of,
        arranged=arranged if has_plots else list,
        is_roomy=is_roomy,
        kind_of=lambda block: type(block).__name__,
        plot_of=plot_of,
        picture_of=_picture_of,
    )
    return str(text)


def _class_of(cell: Cell, column: Column) -> str | None:
    names = ["number"] if column.is_number else []
    names += ["best"] if cell.is_best else []
    names += ["long"] if len(cell.text) > LONG_TEXT else []
    return " ".join(names) or None


def _picture_of(picture: Picture) -> dict[str, Any]:
    pixels = mosaic(picture)
    height, width = len(pixels), len(pixels[0])
    scale = max(1, min(LARGEST_PIXEL, PICTURE_WIDTH // width))
    return {"address": data_uri(pixels), "width": width * scale, "height": height * scale}
