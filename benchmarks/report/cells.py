"""Numbers as text: the cells of tables and the ticks of axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from ..tables import format_speedup, format_time
from .model import Cell, Column, Kind

NOTHING = "-"
LARGEST_WHOLE, SMALLEST_PLAIN = 1e12, 1e-3
BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")


def columns(*titles: str) -> list[Column]:
    """Return columns; a title that starts with ">" is that of numbers."""
    return [Column(title.removeprefix(">"), title.startswith(">")) for title in titles]


def words(text: object) -> Cell:
    """Return a cell of text; a dash for None and the empty text."""
    return Cell(str(text) if text not in (None, "") else NOTHING)


def format_size(count: float) -> str:
    """Return a number of bytes with three digits: ``512 B``, ``20.1 MB``."""
    size, unit = float(count), 0
    while abs(size) >= 999.5 and unit < len(BYTE_UNITS) - 1:
        size, unit = size / 1000.0, unit + 1
    return f"{size:.3g} {BYTE_UNITS[unit]}"


def format_number(value: float) -> str:
    """Return a number with up to four digits, without an exponent where that is readable."""
    if value and (abs(value) >= LARGEST_WHOLE or abs(value) < SMALLEST_PLAIN):
        return f"{value:.3g}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def format_rate(value: float) -> str:
    """Return a rate with three digits: ``0.195``, ``60.5``, ``1,240``."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def format_count(value: float) -> str:
    """Return a count with three digits or so: ``231``, ``54,937``, ``4.96 million``."""
    for factor, unit in ((1e12, "e12"), (1e9, " billion"), (1e6, " million")):
        if abs(value) >= factor:
            return f"{value / factor:.3g}{unit}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def format_share(value: float) -> str:
    """Return a share as percent."""
    return f"{value:.1%}"


FORMATS: dict[Kind, Callable[[float], str]] = {
    "seconds": format_time,
    "share": format_share,
    "factor": format_speedup,
    "bytes": format_size,
    "rate": format_rate,
    "count": format_count,
    "number": format_number,
}


def number(value: float | None, kind: Kind = "number", mark: str = "") -> Cell:
    """Return a cell with a number; a dash for None and NaN."""
    if value is None or math.isnan(value):
        return Cell(NOTHING)
    return Cell(FORMATS[kind](value) + mark, float(value))


def numbers(values: Iterable[float], kind: Kind = "number") -> Cell:
    """Return a cell with several numbers."""
    return Cell(", ".join(FORMATS[kind](value) for value in values) or NOTHING)


def tick(value: float, kind: Kind) -> str:
    """Return a number for an axis, where round numbers stand."""
    if kind == "seconds" and value > 0:
        for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")):
            if value >= factor * 0.9999 or unit == "ns":
                return f"{value / factor:,.4g} {unit}"
    if kind == "share":
        percent = value * 100
        return f"{percent:.0f}%" if abs(percent) >= 1 or not percent else f"{percent:.2g}%"
    if kind == "factor":
        return f"{value:,.4g}x" if value < 1000 else f"{value:,.0f}x"
    if kind == "bytes":
        return format_size(value)
    return format_number(value)
