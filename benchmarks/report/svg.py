"""Make a drawing part of a page: own ids, the page's colours and typeface, no addresses."""

from __future__ import annotations

import re
from html import escape

# What is drawn in these colours takes those of the page, light or dark. The last two digits tell.
INK, SOFT, GRID, PAPER = "#f100a0", "#f100a1", "#f100a2", "#f100a3"
PALETTE = [f"#f100{number:02}" for number in range(13)]
"""Colours of series by `Style.color`; 0 is ink."""

VARIABLES = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    GRID: "var(--line)",
    PAPER: "var(--card)",
    PALETTE[0]: "var(--ink)",
    **{color: f"var(--series-{number})" for number, color in enumerate(PALETTE) if number},
}
DECIMALS = re.compile(r"-?\d+\.\d{3,}")


def embed(drawing: str, name: str, label: str) -> str:
    """Return an SVG file as an element of a page.

    Parameters
    ----------
    drawing : str
        As matplotlib writes it.
    name : str
        Unique in the page; ids begin with it.
    label : str
        What a screen reader says.
    """
    text = drawing[drawing.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Its style sheet would hold for the whole page.
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    view = re.search(r'viewBox="([^"]*)"', text)
    box = view.group(1) if view else "0 0 400 300"
    text = re.sub(
        r"<svg[^>]*>",
        lambda _: f'<svg viewBox="{box}" role="img" aria-label="{escape(label)}">',
        text,
        count=1,
    )
    text = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', text)
    text = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r'\bxlink:href="#([^"]*)"', rf'href="#{name}-\1"', text)
    for color, variable in VARIABLES.items():
        text = text.replace(color, variable)
    text = DECIMALS.sub(lambda match: f"{float(match.group()):.2f}".rstrip("0").rstrip("."), text)
    return re.sub(r">\s+<", "><", text)
