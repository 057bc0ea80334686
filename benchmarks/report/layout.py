"""Where the blocks of a section stand on a wide page: side by side, with no halves left empty."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .model import Block, Figure, Picture, Table
from .picture import mosaic_shape
from .plots import height_of

WHOLE, HALF = 1100, 540
"""Pixels of a page 1280 wide, and of half of it."""
CHARACTER, DETAIL_CHARACTER, CELL_PADDING, SORT_MARK = 7.6, 6.6, 26, 16
ROW, DETAIL, TEXT_LINE, AROUND, ZOOM = 36, 17, 23, 110, 1.25
CHARACTERS_PER_LINE = 66
ALIKE, EVEN = 160, 90
"""Differences of heights: one that leaves no empty place, and one that a card is stretched by."""


@dataclass
class Pair:
    """Two columns; `is_even` if they have about the same height."""

    left: list[Block] = field(default_factory=list)
    right: list[Block] = field(default_factory=list)
    is_even: bool = False


def arranged(blocks: Iterable[Block]) -> list[Block | Pair]:
    """Return the blocks in their order, those that need half of the page at most in pairs.

    A block goes to the shorter column; the pair is closed as soon as both are alike.
    """
    found: list[Block | Pair] = []
    pair, heights = Pair(), [0.0, 0.0]
    for block in [*blocks, None]:
        if block is not None and is_narrow(block):
            side = 0 if heights[0] <= heights[1] else 1
            (pair.left, pair.right)[side].append(block)
            heights[side] += estimated_height(block)
            difference = abs(heights[0] - heights[1])
            pair.is_even = difference <= EVEN
            if not pair.right or difference > ALIKE:
                continue
        if pair.left:
            found.append(pair if pair.right else pair.left[0])
            pair, heights = Pair(), [0.0, 0.0]
        if block is not None and not is_narrow(block):
            found.append(block)
    return found


def is_narrow(block: Block) -> bool:
    """Tell whether half of a page is enough for it."""
    if isinstance(block, Table):
        return _table_width(block) <= HALF
    return isinstance(block, Figure | Picture)


def is_roomy(table: Table) -> bool:
    """Tell whether there is room for details beside, not below, what they belong to."""
    return _table_width(table, beside=True) <= WHOLE


def _table_width(table: Table, *, beside: bool = False) -> float:
    width = 0.0
    for position, column in enumerate(table.columns):
        widths = [CHARACTER * len(column.title) + SORT_MARK]
        for row in table.rows:
            text, detail = (len(each) for each in (row[position].text, row[position].detail))
            parts = CHARACTER * text, DETAIL_CHARACTER * detail
            widths.append(sum(parts) + CHARACTER if beside and detail else max(parts))
        width += CELL_PADDING + max(widths)
    return width


def estimated_height(block: Block) -> float:
    """Return about how many pixels it takes in half of a page."""
    texts: list[str] = []
    height = 0.0
    if isinstance(block, Figure):
        texts, height = [block.question, block.caption], ZOOM * height_of(block.plot)
    elif isinstance(block, Picture):
        across, down = mosaic_shape(len(block.images))
        texts, height = [block.caption], HALF * down * block.height / (across * block.width)
    elif isinstance(block, Table):
        has_detail = [any(cell.detail for cell in row) for row in block.rows]
        below = 0 if is_roomy(block) else DETAIL * sum(has_detail)
        texts, height = block.notes, ROW * (1 + len(block.rows)) + below
    return AROUND + height + TEXT_LINE * sum(-(-len(text) // CHARACTERS_PER_LINE) for text in texts)
