"""What is drawn has room: legends, ticks, and the names of lanes beside a limit."""

from __future__ import annotations

import pytest

from fastmlp.benchmarks.report import plots
from fastmlp.benchmarks.report.model import Plot, Series

pytest.importorskip("matplotlib")

WORKING_SETS = [float(2**power) for power in (14, 18, 22, 26, 28)]


def test_ticks_whose_labels_would_meet_are_left_out() -> None:
    assert plots._spaced(WORKING_SETS, "bytes") == [WORKING_SETS[i] for i in (4, 2, 1, 0)]
    assert plots._spaced([1.0, 2.0, 4.0], "number") == [4.0, 2.0, 1.0]
    assert plots._spaced([3.0], "number") == [3.0]


@pytest.mark.parametrize("count", [1, 4, 11, 16])
def test_a_legend_is_as_wide_as_the_plot_at_most(count: int) -> None:
    entries = [f"numpy {i} threads"[: 6 + i % 10] for i in range(count)]
    columns = plots._legend_columns(entries)
    gaps = sum(plots.LEGEND_EMS.values()) * plots.FONT_SIZE
    assert columns * (gaps + min(map(plots._text_width, entries))) <= plots.WIDTH
    assert plots._legend_columns(["a" * 200, "b"]) == 1
    assert plots._legend_columns(["a", "b", "c"]) == 3


def test_a_limit_is_not_drawn_through_the_names_of_the_lanes() -> None:
    from matplotlib.figure import Figure

    line = Series("a", [0.0, 1.0], [2.0, 3.0], [2.0, 3.0], [2.0, 3.0])
    plot = Plot("dots", [line], "", "", names=["one", "two"], limits=[("the fastest", 1.0)])
    axes = Figure().add_subplot()
    plots._draw_dots(axes, plot)
    names = [text.xy[1] for text in axes.texts]
    limits = axes.collections[-1].get_segments()
    assert len(names) == len(limits) == 2
    assert not [y for y in names for (_, top), (_, bottom) in limits if top <= y <= bottom]
