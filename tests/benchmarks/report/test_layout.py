"""What stands side by side: nothing is lost, order is kept, no half is left empty."""

from __future__ import annotations

from fastmlp.benchmarks.report.layout import Pair, arranged, is_narrow, is_roomy
from fastmlp.benchmarks.report.model import (
    Block,
    Cell,
    Column,
    Figure,
    Heading,
    Plot,
    Series,
    Table,
)


def figure(name: str, lanes: int = 3) -> Figure:
    line = Series("a", [0.0], [1.0], [1.0], [1.0])
    plot = Plot("dots", [line], "", "", names=[str(i) for i in range(lanes)])
    return Figure(name, name, plot, Table("", [], []))


def table(columns: int, rows: int, text: str = "0.123 s", detail: str = "") -> Table:
    cells = [[Cell(text, None, detail) for _ in range(columns)] for _ in range(rows)]
    return Table("t", [Column("c")] * columns, cells)


def names(blocks: list[Block | Pair]) -> list[object]:
    def name(block: Block) -> object:
        return getattr(block, "name", type(block).__name__)

    return [
        [list(map(name, each.left)), list(map(name, each.right))]
        if isinstance(each, Pair)
        else name(each)
        for each in blocks
    ]


def test_figures_of_one_height_stand_in_pairs_in_their_order() -> None:
    shown = arranged([figure("a"), figure("b"), figure("c"), figure("d")])
    assert names(shown) == [[["a"], ["b"]], [["c"], ["d"]]]
    assert all(isinstance(each, Pair) and each.is_even for each in shown)


def test_small_figures_stack_beside_a_tall_one() -> None:
    shown = arranged([figure("a", 5), figure("tall", 11), figure("b", 4)])
    assert names(shown) == [[["a", "b"], ["tall"]]]


def test_what_is_wide_divides_and_what_is_alone_stays_alone() -> None:
    wide = table(9, 2)
    shown = arranged([figure("a"), Heading("h"), figure("b"), figure("c"), wide])
    assert names(shown) == ["a", "Heading", [["b"], ["c"]], "Table"]
    assert arranged([]) == []


def test_a_narrow_table_stands_beside_a_figure() -> None:
    assert is_narrow(table(3, 4)) and not is_narrow(table(9, 4))
    assert names(arranged([figure("a", 6), table(3, 8)])) == [[["a"], ["Table"]]]


def test_details_stand_beside_where_there_is_room() -> None:
    assert is_roomy(table(4, 2, detail="\u00b12%"))
    assert not is_roomy(table(8, 2, detail="\u00b112.5%, 97.12%"))
