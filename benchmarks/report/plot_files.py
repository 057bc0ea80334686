"""The plots as files of their own, for a README: light or dark, as the reader's system is."""

from __future__ import annotations

import re
from pathlib import Path

from ..results import write_text
from .model import Figure, Report
from .page import asset
from .plots import draw

SPACE = 'xmlns="http://www.w3.org/2000/svg"'
FONT = 'text { font-family: system-ui, -apple-system, "Segoe UI", sans-serif !important; }'


def write_plots(report: Report, folder: Path) -> list[Path]:
    """Write each plot as an SVG file of its figure's name into a folder that is there.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    figures = [
        block
        for section in report.sections
        for block in section.blocks
        if isinstance(block, Figure)
    ]
    drawings = {each.name: standalone(draw(each.plot, each.name, each.title)) for each in figures}
    paths = []
    for name, drawing in drawings.items():
        path = folder / f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)}.svg"
        write_text(path, drawing)
        paths.append(path)
    return paths


def standalone(drawing: str) -> str:
    """Return a drawing of the page as a file: with the page's colours inside."""
    colours = asset("report.css").partition("* {")[0]
    style = f"{colours}\nsvg {{ background: var(--card); }} {FONT}".replace("]]>", "")
    return drawing.replace("<svg ", f"<svg {SPACE} ", 1).replace(
        ">", f"><style><![CDATA[{style}]]></style>", 1
    )
