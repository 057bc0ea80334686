"""Draw plots as SVG with matplotlib: text stays text, and colours are the page's."""

from __future__ import annotations

import io
import math
import warnings
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from fastmlp.errors import MissingExtraError

from .cells import tick
from .model import Kind, Plot, Scale, Series
from .svg import GRID, INK, PALETTE, PAPER, SOFT, embed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 400
"""Pixels, at which the text has its natural size; on a phone it is shown a little smaller."""
POINTS_PER_INCH = 72
PADDING = 0.04
CURVE_HEIGHT, AXIS_HEIGHT, LEGEND_ROW = 235, 46, 19
LABEL_HEIGHT, LANE_HEIGHT = 19, 8
FONT, FONT_SIZE = "DejaVu Sans", 11.5
"""Wider than most: what has room in it has room in the page's."""
LEGEND_EMS = {"handlelength": 1.9, "handletextpad": 0.6, "columnspacing": 1.2}
"""In the font's size."""
MARGIN, TICK_GAP = 80, 8
"""Pixels beside the axes at most, and between the labels of two ticks at least."""
MOST_TICKS = 7
UNFILLED_MARKERS = "1|"
MARKER_SIZES = {"*": 10.5, **dict.fromkeys("XPv<>pd1|", 8.0)}
"""Of those that look smaller than others of the same size."""
MARKER_SIZE = 6.2
SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fastmlp",
    "font.family": FONT,
    "font.size": FONT_SIZE,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": SOFT,
    "axes.labelsize": FONT_SIZE,
    "axes.unicode_minus": False,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
}


def check_matplotlib() -> None:
    """Refuse to draw without matplotlib.

    Raises
    ------
    MissingExtraError
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report", "drawing the plots") from error


def draw(plot: Plot, name: str, label: str) -> str:
    """Return the plot as an SVG element.

    Parameters
    ----------
    plot : Plot
    name : str
        Unique in the page.
    label : str
        What a screen reader says.
    """
    check_matplotlib()
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    entries = _entries(plot)
    height = height_of(plot)
    with matplotlib.rc_context(SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that its font lacks; the page's font has it
        size = WIDTH / POINTS_PER_INCH, height / POINTS_PER_INCH
        layout = ConstrainedLayoutEngine(w_pad=PADDING, h_pad=PADDING)
        figure = Figure(figsize=size, layout=layout)
        figure.patch.set_visible(False)
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        if plot.form == "dots":
            _draw_dots(axes, plot)
        else:
            _draw_curves(axes, plot)
        if len(entries) > 1:
            _draw_legend(figure, axes, _legend_columns(entries))
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return embed(file.getvalue(), name, label)


def height_of(plot: Plot) -> float:
    """Return the height of a plot that is `WIDTH` wide."""
    entries = _entries(plot)
    inner_height = _lanes_height(plot) if plot.form == "dots" else CURVE_HEIGHT
    if len(entries) < 2:
        return AXIS_HEIGHT + inner_height
    return LEGEND_ROW * _legend_rows(entries) + AXIS_HEIGHT + inner_height


def _entries(plot: Plot) -> list[str]:
    return [line.label for line in plot.series if line.x]


def _lanes_height(plot: Plot) -> float:
    return max(1, len(plot.names)) * _row_height(plot)


def _row_height(plot: Plot) -> float:
    return LABEL_HEIGHT + LANE_HEIGHT * max(2, len(plot.series))


def _text_width(text: str) -> float:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    font = FontProperties(family=FONT, size=FONT_SIZE)
    return float(TextToPath().get_text_width_height_descent(text, font, ismath=False)[0])


def _legend_columns(entries: list[str]) -> int:
    """Return the largest number of columns that have room, filled one after the other."""
    widths = [_text_width(entry) for entry in entries]
    around = sum(LEGEND_EMS.values()) * FONT_SIZE
    for columns in range(len(entries), 1, -1):
        short, longer = divmod(len(entries), columns)
        ends = list(accumulate(short + (column < longer) for column in range(columns)))
        parts = [widths[start:end] for start, end in pairwise([0, *ends])]
        if sum(map(max, parts)) + around * columns <= WIDTH:
            return columns
    return 1


def _legend_rows(entries: list[str]) -> int:
    return math.ceil(len(entries) / _legend_columns(entries))


def _draw_legend(figure: Figure, axes: Axes, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper left", ncols=columns, borderpad=0.1,
        labelspacing=0.35, **LEGEND_EMS,
    )  # fmt: skip


def _look(line: Series) -> dict[str, Any]:
    color = PALETTE[line.style.color]
    in_color = line.style.is_hollow or line.style.marker in UNFILLED_MARKERS
    return {
        "color": color,
        "marker": line.style.marker,
        "markersize": MARKER_SIZES.get(line.style.marker, MARKER_SIZE),
        "markerfacecolor": PAPER if line.style.is_hollow else color,
        "markeredgecolor": color if in_color else PAPER,
        "markeredgewidth": 1.6 if in_color else 0.6,
        "elinewidth": 1.3,
        "ecolor": color,
        "capsize": 0,
    }


def _extent(plot: Plot) -> list[float]:
    """Return every value that has to be inside the axes; on a logarithmic one, the positive."""
    ends = [value for line in plot.series for value in (*line.y, *line.low, *line.high)]
    ends += [value for _, value in plot.limits]
    return [value for value in ends if value > 0 or plot.y_scale != "log10"]


def _errors(line: Series) -> list[list[float]]:
    return [
        [max(0.0, y - low) for y, low in zip(line.y, line.low, strict=True)],
        [max(0.0, high - y) for y, high in zip(line.y, line.high, strict=True)],
    ]


def _draw_dots(axes: Axes, plot: Plot) -> None:
    """Draw a lane for each name, the name above it; values go to the right."""
    row = _row_height(plot)
    lanes = max(2, len(plot.series))
    for position, name in enumerate(plot.names):
        top = position * row
        axes.annotate(
            name, (0, top + LABEL_HEIGHT - 6), xycoords=("axes fraction", "data"),
            va="baseline", ha="left", annotation_clip=False, zorder=4,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip
        if position:
            axes.axhline(top, color=GRID, linewidth=0.8, zorder=0)
    for lane, line in enumerate(plot.series):
        offset = LABEL_HEIGHT + LANE_HEIGHT * (lane + 0.3) * (max(2, lanes) / lanes)
        axes.errorbar(
            line.y, [x * row + offset for x in line.x], xerr=_errors(line), linestyle="none",
            label=line.label, zorder=3, **_look(line),
        )  # fmt: skip
    # Between the names, which would hide them.
    tops = [position * row for position in range(len(plot.names))]
    for _, value in plot.limits:
        axes.vlines(
            [value] * len(tops), [top + LABEL_HEIGHT for top in tops],
            [top + row for top in tops], colors=INK, linewidth=1.2, zorder=2,
        )  # fmt: skip
    axes.set_ylim(len(plot.names) * row, 0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    values = _extent(plot)
    _set_scale(axes, "x", plot.y_scale, values, plot.y_kind)
    if plot.y_scale == "linear":
        axes.set_xlim(left=0)
    axes.set_xlabel(plot.y_label)


def _draw_curves(axes: Axes, plot: Plot) -> None:
    for line in plot.series:
        if not line.x:
            continue
        color = PALETTE[line.style.color]
        linestyle: Any = "none" if plot.x_scale == "names" else line.style.dash
        shift = _shift(plot, line)
        axes.errorbar(
            [x + shift for x in line.x], line.y, yerr=_errors(line), label=line.label,
            linestyle=linestyle, linewidth=1.8, zorder=3, **_look(line),
        )  # fmt: skip
        if plot.x_scale != "names" and len(line.x) > 1:
            axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.15, linewidth=0)
    values = _extent(plot)
    xs = sorted({x for line in plot.series for x in line.x})
    axes.grid(axis="y")
    _set_scale(axes, "y", plot.y_scale, values, plot.y_kind)
    if plot.y_scale == "linear":
        lowest = min([low for line in plot.series for low in line.low], default=0.0)
        if lowest >= 0:
            axes.set_ylim(bottom=0)
        if plot.y_kind == "share":
            axes.set_ylim(top=max(1.02, *values))
    for label, value in plot.limits:
        axes.axhline(value, color=INK, linewidth=1.2, zorder=2)
        axes.annotate(
            label, (1, value), xycoords=("axes fraction", "data"), xytext=(0, 3),
            textcoords="offset points", ha="right", va="bottom", color=SOFT,
        )  # fmt: skip
    if plot.x_scale == "names":
        axes.set_xticks(range(len(plot.names)), plot.names)
        axes.set_xlim(-0.5, len(plot.names) - 0.5)
    elif plot.x_scale == "log2":
        axes.set_xscale("log", base=2)
        kind: Kind = "bytes" if "bytes" in plot.x_label else "number"
        chosen = _spaced(xs, kind)
        axes.set_xticks(chosen, [tick(x, kind) for x in chosen])
        axes.set_xticks([], minor=True)
    elif len(xs) <= MOST_TICKS + 2:
        axes.set_xticks(xs, [tick(x, "number") for x in xs])
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)


def _spaced(xs: list[float], kind: Kind) -> list[float]:
    """Return those of some positive values whose labels have room on a logarithmic axis."""
    chosen = xs[-1:]
    if len(xs) > 1:
        per_pixel = math.log(xs[-1] / xs[0]) / (WIDTH - MARGIN)
        for x in reversed(xs[:-1]):
            both = (_text_width(tick(x, kind)) + _text_width(tick(chosen[-1], kind))) / 2
            if math.log(chosen[-1] / x) >= per_pixel * (both + TICK_GAP):
                chosen.append(x)
    return chosen


def _shift(plot: Plot, line: Series) -> float:
    """Keep the points over one name apart."""
    if plot.x_scale != "names":
        return 0.0
    middle = (len(plot.series) - 1) / 2
    return (plot.series.index(line) - middle) * 0.12


def _set_scale(axes: Axes, which: str, scale: Scale, values: list[float], kind: Kind) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    if scale == "log10":
        positive = [value for value in values if value > 0]
        decades = math.log10(max(positive) / min(positive)) if positive else 0.0
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        room = 10 ** max(0.06, decades * 0.05)
        limits = min(positive, default=0.1) / room, max(positive, default=1.0) * room
        (axes.set_xlim if which == "x" else axes.set_ylim)(*limits)
        subs = (1.0, 2.0, 5.0) if decades < 1.7 else (1.0,)
        axis.set_major_locator(LogLocator(10, subs=subs, numticks=6 if decades > 3 else 12))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(float(value), kind)))
