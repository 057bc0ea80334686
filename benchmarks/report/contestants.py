"""Who is compared: a label and a style for each contender, the same in every figure."""

from __future__ import annotations

from ..case import REFERENCE
from .document import Document, Measured
from .model import Dash, Style

SOLID: Dash = (0, None)
DASHES: tuple[Dash, ...] = (SOLID, (0, (5, 2)), (0, (6, 2, 1, 2)), (0, (1, 1.5)))
BACKEND_STYLES = {
    "cython": Style(1, "o", DASHES[0]),
    "numba": Style(2, "s", DASHES[1]),
    "numpy": Style(3, "^", DASHES[2]),
    REFERENCE: Style(0, "X", DASHES[3]),
}
PEER_MARKERS = ("D", "v", "P", "<", "*", ">", "d", "1", "|")
MARKERS = ("o", "s", "^", "D", "v", "P", "<", "*", ">", "d", "p", "X", "h", "8")
FIRST_PEER_COLOR = 4
"""Those before are the backends'; there is a colour for each peer."""
N_COLORS = FIRST_PEER_COLOR - 1 + len(PEER_MARKERS)

Key = tuple[str, str]
"""A contender and its variant."""


def series_style(position: int) -> Style:
    """Return a style for the series of a figure that has no contenders."""
    return Style(
        position % N_COLORS + 1, MARKERS[position % len(MARKERS)], DASHES[position % len(DASHES)]
    )


def contender_style(document: Document, name: str) -> Style:
    """Return how a backend or a peer is drawn, in every figure alike."""
    if name in BACKEND_STYLES:
        return BACKEND_STYLES[name]
    others = [each for each in document.titles if each not in BACKEND_STYLES]
    position = others.index(name) if name in others else len(others)
    return Style(
        FIRST_PEER_COLOR + position % len(PEER_MARKERS),
        PEER_MARKERS[position % len(PEER_MARKERS)],
        DASHES[(position + 1) % len(DASHES)],
    )


class Contestants:
    """Labels and styles of the measurements of a figure or a table.

    Parameters
    ----------
    document : Document
    measurements : list of dict

    Attributes
    ----------
    order : list of (contender, variant)
        Backends first, then peers, as results.json has them.
    """

    def __init__(self, document: Document, measurements: list[Measured]) -> None:
        self.document = document
        names = list(document.titles)

        def rank(key: Key) -> int:
            return names.index(key[0]) if key[0] in names else len(names)

        self.order = sorted(dict.fromkeys(map(self.key, measurements)), key=rank)

    def key(self, measured: Measured) -> Key:
        """Return what tells one line of the figure from another."""
        return measured["contender"], measured["variant"]

    def label(self, measured: Measured) -> str:
        """Return the contender's title and its variant."""
        name, variant = self.key(measured)
        return f"{self.document.title_of(name)} {variant}".strip()

    def style(self, measured: Measured) -> Style:
        """Return how it is drawn."""
        name, variant = self.key(measured)
        style = contender_style(self.document, name)
        if not variant:
            return style
        # The variants of a contender have its colour, and are hollow.
        position = 1 + [key for key in self.order if key[1]].index((name, variant))
        marker = MARKERS[position % len(MARKERS)]
        return Style(style.color, marker, DASHES[position % len(DASHES)], is_hollow=True)
