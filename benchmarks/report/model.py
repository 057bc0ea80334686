"""What a report is made of, whatever it is written as: sections of tables, figures and text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Dash = tuple[float, tuple[float, ...] | None]
"""Offset and lengths as matplotlib takes them; None for a solid line."""
Scale = Literal["linear", "log2", "log10", "names"]
Kind = Literal["seconds", "share", "factor", "bytes", "rate", "count", "number"]
"""What a number is, which decides how it is written."""


@dataclass(frozen=True)
class Cell:
    """What stands in a table.

    Attributes
    ----------
    text : str
    value : float or None
        The number that it is sorted by; None: by the text.
    detail : str
        What stands below in small type.
    is_best : bool
        Whether it stands out.
    """

    text: str
    value: float | None = None
    detail: str = ""
    is_best: bool = False

    @property
    def in_one_line(self) -> str:
        """Text and detail, where there is no small type."""
        return f"{self.text} {self.detail}".rstrip()


@dataclass(frozen=True)
class Column:
    """The title of a column; numbers are set flush right."""

    title: str
    is_number: bool = False


@dataclass
class Table:
    """Cells under column titles, with notes below."""

    title: str
    columns: list[Column]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Style:
    """How a contender is drawn, in every figure alike; never told apart by colour only.

    Attributes
    ----------
    color : int
        0 for ink, 1 to 12 for the palette.
    marker : str
        As matplotlib names it.
    dash : tuple of (offset, lengths)
    is_hollow : bool
    """

    color: int = 0
    marker: str = "o"
    dash: Dash = (0, None)
    is_hollow: bool = False


@dataclass
class Series:
    """One line, or one set of points.

    Attributes
    ----------
    label : str
    x : list of float
        Positions; of names, their index.
    y : list of float
    low, high : list of float
        The ends of the error bars.
    style : Style
    """

    label: str
    x: list[float]
    y: list[float]
    low: list[float]
    high: list[float]
    style: Style = Style()


@dataclass
class Plot:
    """What is drawn.

    Attributes
    ----------
    form : {"dots", "curves"}
        Dots: values to the right, one lane per name and series. Curves: y against x.
    series : list of Series
    x_label, y_label : str
    x_scale, y_scale : {"linear", "log2", "log10", "names"}
    y_kind : what y is
    names : list of str
        The lanes of dots, or the positions of a curve over names.
    limits : list of (label, y)
        Lines across: what the machine can do at most, or a value of 1.
    """

    form: Literal["dots", "curves"]
    series: list[Series]
    x_label: str
    y_label: str
    x_scale: Scale = "linear"
    y_scale: Scale = "linear"
    y_kind: Kind = "number"
    names: list[str] = field(default_factory=list)
    limits: list[tuple[str, float]] = field(default_factory=list)


@dataclass
class Figure:
    """A plot with its raw data.

    Attributes
    ----------
    name : str
        Unique in the report.
    title, question, caption : str
        Above (what is it, what does it answer) and below.
    plot : Plot
    data : Table
        Every number behind the plot.
    compact : Table or None
        What stands in its place where nothing can be drawn; None where a table says it already.
    """

    name: str
    title: str
    plot: Plot
    data: Table
    question: str = ""
    caption: str = ""
    compact: Table | None = None


@dataclass
class Picture:
    """Small grey images of `height` rows, with a label each."""

    name: str
    title: str
    width: int
    height: int
    images: list[list[list[int]]]
    labels: list[str]
    caption: str = ""


@dataclass
class Paragraph:
    """Plain words."""

    text: str
    is_warning: bool = False


@dataclass
class Code:
    """Commands to type."""

    text: str


@dataclass
class Heading:
    """A title inside a section."""

    text: str


@dataclass
class Appendix:
    """A long table that is folded away; left out of the short formats."""

    table: Table


Block = Paragraph | Heading | Table | Figure | Picture | Code | Appendix


@dataclass
class Section:
    """A part of the report; `blocks` is empty if nothing was measured, and `lead` says why."""

    name: str
    title: str
    lead: str
    blocks: list[Block] = field(default_factory=list)


@dataclass(frozen=True)
class Tile:
    """One figure of the summary: a value in large type and what it means."""

    title: str
    value: str
    detail: str
    is_measured: bool = True


@dataclass
class Report:
    """All of it.

    Attributes
    ----------
    title, machine, headline : str
    facts : list of str
        Date, version, level.
    warnings : list of str
        An interrupted run, failures, large spreads.
    tiles : list of Tile
    sections : list of Section
    json : str
        The results, as they are in results.json.
    """

    title: str
    machine: str
    headline: str
    facts: list[str]
    warnings: list[str]
    tiles: list[Tile]
    sections: list[Section]
    json: str
