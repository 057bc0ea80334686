"""Numbers, equations, tables and titles as plain text."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 92
"""No line that can be broken is longer."""

ASCII = str.maketrans(
    {"·": "*", "∂": "d", "Σ": "sum", "→": "->", "≤": "<=", "≥": ">=", "≈": "~", "─": "-", "═": "="}
)


def to_ascii(text: str) -> str:
    """Return `text` with its symbols spelled in ASCII: ∂L/∂w as dL/dw, · as * and so on."""
    return text.translate(ASCII).encode("ascii", "replace").decode("ascii")


def number(value: float, keep_zeros: bool = False) -> str:
    """Return a number to three places, or to three digits where it is small."""
    value, size = float(value), abs(float(value))
    if not math.isfinite(value) or value == 0.0:
        return f"{value:g}".replace("-0", "0")
    if size >= 1e5 or size < 1e-4:
        return f"{value:.3g}"
    places = 3 if size >= 0.1 else 2 - math.floor(math.log10(size))
    text = f"{value:.{places}f}"
    return text if keep_zeros else text.rstrip("0").rstrip(".")


def factor(value: float) -> str:
    """Return a number as it stands in a product: negative ones in parentheses."""
    text = number(value)
    return f"({text})" if text.startswith("-") else text


def plus(text: str, value: float) -> str:
    """Return `text` with a number added to it."""
    shown = number(value)
    return f"{text} - {shown[1:]}" if shown.startswith("-") else f"{text} + {shown}"


def vector(values: Iterable[float]) -> str:
    """Return numbers in parentheses, or a single one without."""
    shown = [number(value) for value in values]
    return shown[0] if len(shown) == 1 else f"({', '.join(shown)})"


def tidy(text: str) -> str:
    """Take the parentheses off a negative number that follows no operator."""
    return re.sub(r"(^|\()\((-[\d.]+(?:e[+-]?\d+)?)\)", r"\1\2", text)


def paragraph(text: str, indent: str = "") -> str:
    """Return prose, wrapped; numbers in parentheses stay together."""
    kept = re.sub(
        r"\([-\d., e+]+\)", lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text
    )
    filled = textwrap.fill(
        kept,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
    return filled.replace("\N{NO-BREAK SPACE}", " ")


def equation(name: str, *steps: str, remark: str = "", stacked: bool = False) -> str:
    """Return ``name = step = step``: on one line if it fits, or one step under the other."""
    steps, note = tuple(map(tidy, steps)), f"   ({remark})" if remark else ""
    in_one = f"  {name} = {' = '.join(steps)}{note}"
    if not stacked and len(in_one) <= WIDTH:
        return in_one
    lead = " " * (len(name) + 3)
    lines = []
    for step in steps:
        broken = textwrap.wrap(
            step, WIDTH - len(lead) - 2, break_long_words=False, break_on_hyphens=False
        )
        lines.append(f"{lead}= {broken[0]}")
        lines += [f"{lead}    {rest}" for rest in broken[1:]]
    lines[0] = f"  {name} = {lines[0][len(lead) + 2 :]}"
    return "\n".join(lines) + note


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return an indented table; its first `left` columns are flush left, the others flush right."""
    cells = [tuple(header), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        aligned = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "   ".join(aligned)).rstrip())
    rule = "  " + "─" * (sum(widths) + 3 * (len(widths) - 1))
    return "\n".join([lines[0], rule, *lines[1:]])


def indented(text: str) -> str:
    """Return `text` moved right by two columns."""
    return textwrap.indent(text, "  ")


def plain_name(name: str) -> str:
    """Return a loss's name in plain words."""
    return name.replace("_", " ").replace("cross entropy", "cross-entropy")


def title(text: str) -> str:
    """Return the title of the whole."""
    return f"{text}\n{'═' * len(text)}"


def heading(text: str) -> str:
    """Return the heading of a section."""
    return f"{text}\n{'─' * len(text)}"


def blocks(*parts: str) -> str:
    """Return the parts with an empty line between them; empty parts are left out."""
    return "\n\n".join(part for part in parts if part)
