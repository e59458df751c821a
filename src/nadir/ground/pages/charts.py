"""Small charts of the report pages: inline SVG in the page's colours; no script, no network.

A chart is a `<figure class="chart">` with a title, the drawing, and a caption that says how to read
it. Series differ in colour, dash and marker, so that no reader depends on colour.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from nadir.ground.pages.drawing import COLOURS, SERIES, TIP, chart_style, inline_svg, number_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

_WIDTH, _HEIGHT = 340, 196  # in CSS pixels, before the page scales a chart to its column
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 14, 34
_BAR_LEFT, _BAR_ROW = 122, 23
_KEY_COLUMNS, _KEY_ROW = 3, 17
_DASHES: tuple[Any, ...] = ("-", (0, (3, 1.6)), (0, (1, 1.6)), (0, (4, 1.4, 1, 1.4)),
                            (0, (2, 1)), (0, (0.5, 1.4)))  # fmt: skip
_MARKERS = "osD^vP"
_MOST_MARKERS = 24
_REFERENCE: dict[str, Any] = {"color": COLOURS["faint"], "linestyle": (0, (4, 3)), "linewidth": 1}


@dataclass(frozen=True)
class Series:
    """One line: `y` over `x`, with an optional band from `low` to `high`. NaN leaves a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass(frozen=True)
class Level:
    """A dashed line across a chart, such as a target or a limit."""

    value: float
    label: str


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    caption: str = "",
    levels: Sequence[Level] = (),
    from_zero: bool = False,
    x_ticks: Sequence[float] | None = None,
) -> Markup:
    """Lines with points, and a shaded band where a series has one.

    Args:
        series: At most six.
        title: What is plotted.
        x_label: What the horizontal axis is, with its unit.
        caption: How to read the chart.
        levels: Dashed reference lines.
        from_zero: Make the vertical axis include zero.
        x_ticks: Where the horizontal axis has labels; chosen when None.
    """
    with chart_style():
        axes = _axes(x_label, keys=[s.name for s in series])
        for level in levels:
            axes.axhline(level.value, **_REFERENCE)
            axes.annotate(
                level.label, (1, level.value), (0, 4), xycoords=("axes fraction", "data"),
                textcoords="offset points", ha="right", color=COLOURS["soft"],
            )  # fmt: skip
        for index, one in enumerate(series):
            _line(axes, one, index)
        if x_ticks is not None:
            axes.set_xticks(list(x_ticks))
        if from_zero:
            axes.update_datalim([(axes.dataLim.x0, 0.0)], updatex=False)
            axes.autoscale_view()
        return _chart(axes, title, caption)


def scatter_chart(
    groups: Sequence[Series], *, title: str, x_label: str, caption: str = ""
) -> Markup:
    """Points of groups on equal axes from 0 to 1, with the diagonal where both values agree."""
    with chart_style():
        axes = _axes(x_label, keys=[group.name for group in groups], lines=False)
        axes.plot([0, 1], [0, 1], gid="diagonal", **_REFERENCE)
        for index, group in enumerate(groups):
            _points(axes, group, index, alpha=0.75)
        quarters = [0.0, 0.25, 0.5, 0.75, 1.0]
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=quarters, yticks=quarters)
        return _chart(axes, title, caption)


def path_chart(
    paths: Sequence[Series],
    labels: Sequence[Sequence[str]],
    *,
    title: str,
    x_label: str,
    caption: str = "",
) -> Markup:
    """Points joined in their order, each with its label: one thing against another along a third.

    Args:
        paths: At most six.
        labels: Of the points of each.
        title: What the vertical axis is, over what.
        x_label: What the horizontal axis is.
        caption: How to read the chart.
    """
    with chart_style():
        axes = _axes(x_label, keys=[path.name for path in paths])
        for index, (path, names) in enumerate(zip(paths, labels, strict=True)):
            _line(axes, path, index)
            for x, y, name in zip(path.x, path.y, names, strict=True):
                if math.isfinite(x) and math.isfinite(y):
                    axes.annotate(
                        name, (x, y), (0, 6), textcoords="offset points", ha="center",
                        color=COLOURS["soft"], fontsize=9,
                    )  # fmt: skip
        axes.margins(0.1, 0.16)
        return _chart(axes, title, caption)


def histogram(
    values: Sequence[float], *, bins: int, title: str, x_label: str, caption: str = ""
) -> Markup:
    """Counts of `values` in equal bins from the smallest to the largest."""
    finite = np.array([v for v in values if math.isfinite(v)] or [0.0], dtype=np.float64)
    low, high = float(finite.min()), float(finite.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        # One value, or as good as: bins need a width.
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(finite, bins, (low, high))
    with chart_style():
        axes = _axes(x_label)
        bars = axes.bar(edges[:-1], counts, 0.92 * np.diff(edges), align="edge")
        for bar, edge, count in zip(bars, edges, counts, strict=False):
            bar.set_gid(f"{TIP}{number_text(edge)} and up: {count:,}")
        return _chart(axes, title, caption)


def bar_chart(
    labels: Sequence[str], values: Sequence[float], *, title: str, caption: str = ""
) -> Markup:
    """Horizontal bars from zero, one row per label, with the value written at the end."""
    lengths = [value if math.isfinite(value) else 0.0 for value in values]
    rows = range(len(labels))
    with chart_style():
        axes = _axes("", left=_BAR_LEFT, bottom=2, height=_BAR_ROW * len(labels) + 4)
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        bars = axes.barh(rows, lengths, 0.66)
        for bar, label, value in zip(bars, labels, values, strict=True):
            bar.set_gid(f"{TIP}{label}: {value:,g}")
        axes.bar_label(bars, [number_text(v) for v in values], padding=5, color=COLOURS["soft"])
        axes.set_yticks(rows, [s if len(s) <= 17 else s[:16] + "…" for s in labels])
        # Room for the longest bar's number.
        axes.set(xlim=(0, max([*lengths, 0]) * 1.25 or 1), xticks=[])
        axes.set_ylim(len(labels) - 0.5, -0.5)
        return _chart(axes, title, caption)


def _axes(
    x_label: str,
    *,
    keys: Sequence[str] = (),
    lines: bool = True,
    left: float = _LEFT,
    bottom: float = _BOTTOM,
    height: float = _HEIGHT,
) -> Axes:
    """Empty axes whose edges lie where those of the other charts do, with keys of many series."""
    # Not above: it takes a second to load, and few commands draw.
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    keys = keys if len(keys) > 1 else ()
    top = _TOP + _KEY_ROW * math.ceil(len(keys) / _KEY_COLUMNS) if bottom == _BOTTOM else 2
    height += top - _TOP if keys else 0
    figure = Figure(figsize=(_WIDTH / 72, height / 72))
    axes = figure.add_axes(
        (
            left / _WIDTH,
            bottom / height,
            (_WIDTH - _RIGHT - left) / _WIDTH,
            (height - top - bottom) / height,
        )
    )
    axes.set_xlabel(x_label)
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_locator(_few_ticks())
    axes.yaxis.set_major_formatter(lambda value, _: number_text(value))
    axes.xaxis.set_major_locator(_few_ticks())
    axes.xaxis.set_major_formatter(lambda value, _: number_text(value))
    handles = [
        Line2D([], [], **_look(index), linestyle=_DASHES[index % 6] if lines else "", label=name)
        for index, name in enumerate(keys)
    ]
    if keys:
        axes.legend(
            handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=_KEY_COLUMNS,
            borderaxespad=0.2, borderpad=0, columnspacing=1.4, handletextpad=0.6, labelspacing=0.4,
        )  # fmt: skip
    return axes


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10])


def _look(index: int) -> dict[str, Any]:
    """Colour and marker of a series."""
    return {
        "color": SERIES[index % 6],
        "marker": _MARKERS[index % 6],
        "markersize": 6.5,
        "markeredgewidth": 0,
    }


def _line(axes: Axes, series: Series, index: int) -> None:
    colour = SERIES[index % 6]
    if series.low is not None and series.high is not None:
        edges = (_finite(series.low), _finite(series.high))
        axes.fill_between(series.x, *edges, color=colour, alpha=0.16, linewidth=0)
    y = _finite(series.y)
    axes.plot(series.x, y, color=colour, linestyle=_DASHES[index % 6], gid=f"line {index}")
    if len(y) <= _MOST_MARKERS:
        _points(axes, series, index)


def _points(axes: Axes, series: Series, index: int, alpha: float = 1.0) -> None:
    """A marker for each value, each with its own tip."""
    for x, y in zip(series.x, series.y, strict=True):
        if math.isfinite(y):
            tip = f"{TIP}{series.name}: {y:.4g} at {x:g}"
            axes.plot([x], [y], **_look(index), alpha=alpha, clip_on=False, gid=tip)


def _finite(values: Sequence[float]) -> list[float]:
    return [value if math.isfinite(value) else math.nan for value in values]


def _chart(axes: Axes, title: str, caption: str) -> Markup:
    with warnings.catch_warnings():
        # The page's font draws the letters that matplotlib's own lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        drawing = inline_svg(axes.get_figure(), title)  # type: ignore[arg-type]
    note = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    # Escaped piece by piece: titles and captions may come from a user's tags.
    return Markup(  # noqa: S704
        f'<figure class="chart"><div class="chart-title">{escape(title)}</div>{drawing}{note}'
        "</figure>"
    )
