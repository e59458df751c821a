"""Small charts as inline SVG, drawn with the colours of `base.html`; no script, no network.

A chart is a `<figure class="chart">` with a title, the drawing, and a caption that says how to read
it. Series differ in colour, dash and marker, so that none needs colour to be told apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from nadir.ground.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    WIDTH,
    Plot,
    number_text,
    ticks,
    value_range,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_DASHES = ("", "7 4", "2 4", "10 3 2 3", "5 2", "1 3")
_BAR_LEFT = 120
_MOST_MARKERS = 24


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
    ys = [v for s in series for part in (s.y, s.low or (), s.high or ()) for v in part]
    ys += [level.value for level in levels] + ([0.0] if from_zero else [])
    left, right = value_range([v for s in series for v in s.x])
    plot = Plot(left, right, ticks(*value_range(ys)), inset=6)
    body = plot.frame(x_label, x_ticks)
    body += [plot.level(level.value, level.label) for level in levels]
    body += [_line(s, index, plot) for index, s in enumerate(series)]
    return _figure(title, body, caption, keys=[s.name for s in series] if len(series) > 1 else [])


def scatter_chart(
    groups: Sequence[Series], *, title: str, x_label: str, caption: str = ""
) -> Markup:
    """Points of groups on equal axes from 0 to 1, with the diagonal where both values agree."""
    plot = Plot(0.0, 1.0, [0.0, 0.25, 0.5, 0.75, 1.0], inset=6)
    ends = _points([(plot.across(v), plot.up(v)) for v in (0.0, 1.0)])
    body = plot.frame(x_label, [0.0, 0.25, 0.5, 0.75, 1.0])
    body.append(f'<polyline class="reference" points="{ends}"/>')
    for index, group in enumerate(groups):
        marks = "".join(_markers(group, index, plot))
        body.append(f'<g class="s{index % 6 + 1}" opacity="0.75">{marks}</g>')
    return _figure(title, body, caption, keys=[group.name for group in groups])


def histogram(
    values: Sequence[float], *, bins: int, title: str, x_label: str, caption: str = ""
) -> Markup:
    """Counts of `values` in equal bins from the smallest to the largest."""
    low, high = value_range(values)
    counts = [0] * bins
    for value in values:
        if math.isfinite(value):
            counts[min(int((value - low) / (high - low) * bins), bins - 1)] += 1
    plot = Plot(low, high, ticks(0.0, float(max([*counts, 1]))))
    step = (RIGHT - LEFT) / bins
    body = plot.frame(x_label)
    for index, count in enumerate(counts):
        tip = f"{number_text(low + (high - low) * index / bins)} and up: {count:,}"
        x, y = LEFT + index * step, plot.up(count)
        body.append(_bar(x + 0.5, y, max(step - 1, 0.5), BOTTOM - y, tip))
    return _figure(title, body, caption)


def bar_chart(
    labels: Sequence[str], values: Sequence[float], *, title: str, caption: str = ""
) -> Markup:
    """Horizontal bars from zero, one row per label, with the value written at the end."""
    row = 22
    largest = max([v for v in values if math.isfinite(v)] or [1.0]) or 1.0
    room = WIDTH - _BAR_LEFT - 62
    body = []
    for index, (label, value) in enumerate(zip(labels, values, strict=True)):
        y = 4 + index * row
        length = max(value / largest, 0.0) * room if math.isfinite(value) else 0.0
        shown = label if len(label) <= 17 else label[:16] + "…"
        name = f"<title>{escape(label)}</title>{escape(shown)}"
        body.append(f'<text x="{_BAR_LEFT - 8}" y="{y + 15}" text-anchor="end">{name}</text>')
        body.append(_bar(_BAR_LEFT, y + 3, max(length, 1.0), row - 7, f"{label}: {value:,g}"))
        end = f"{_BAR_LEFT + length + 6:.1f}"
        body.append(f'<text x="{end}" y="{y + 15}">{number_text(value)}</text>')
    return _figure(title, body, caption, height=row * len(labels) + 8)


def _figure(
    title: str, body: list[str], caption: str, *, keys: Sequence[str] = (), height: int = HEIGHT
) -> Markup:
    legend = "".join(_key(name, index) for index, name in enumerate(keys))
    legend = f'<div class="legend">{legend}</div>' if legend else ""
    note = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    # Escaped piece by piece: titles, labels and captions may come from a user's tags.
    return Markup(  # noqa: S704
        f'<figure class="chart"><div class="chart-title">{escape(title)}</div>{legend}'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"{''.join(body)}</svg>{note}</figure>"
    )


def _line(s: Series, index: int, plot: Plot) -> str:
    parts = []
    if s.low is not None and s.high is not None:
        edge = [*_places(s.x, s.high, plot), *_places(s.x, s.low, plot)[::-1]]
        parts.append(f'<polygon class="area" points="{_points(edge)}"/>')
    places = _places(s.x, s.y, plot)
    dash = _DASHES[index % 6]
    parts.append(f'<polyline class="line" stroke-dasharray="{dash}" points="{_points(places)}"/>')
    if len(places) <= _MOST_MARKERS:
        parts += _markers(s, index, plot)
    return f'<g class="s{index % 6 + 1}">{"".join(parts)}</g>'


def _markers(s: Series, index: int, plot: Plot) -> list[str]:
    return [
        _marker(plot.across(x), plot.up(y), index, f"{s.name}: {y:.4g} at {x:g}")
        for x, y in zip(s.x, s.y, strict=True)
        if math.isfinite(y)
    ]


def _marker(x: float, y: float, index: int, tip: str = "") -> str:
    """A circle, square or diamond."""
    title = f"<title>{escape(tip)}</title>" if tip else ""
    if index % 3 == 0:
        return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.4">{title}</circle>'
    turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if index % 3 == 2 else ""
    corner = f'x="{x - 3:.1f}" y="{y - 3:.1f}"'
    return f'<rect class="dot" {corner} width="6" height="6"{turn}>{title}</rect>'


def _bar(x: float, y: float, width: float, height: float, tip: str) -> str:
    return (
        f'<g class="s1"><rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{max(height, 0.0):.1f}" rx="1.5"><title>{escape(tip)}</title></rect></g>'
    )


def _key(name: str, index: int) -> str:
    dash = _DASHES[index % 6]
    line = f'<line class="line" x1="1" x2="25" y1="6" y2="6" stroke-dasharray="{dash}"/>'
    mark = _marker(13, 6, index)
    drawing = f'<svg class="s{index % 6 + 1}" viewBox="0 0 26 12">{line}{mark}</svg>'
    return f"<span>{drawing}{escape(name)}</span>"


def _places(xs: Sequence[float], ys: Sequence[float], plot: Plot) -> list[tuple[float, float]]:
    return [(plot.across(x), plot.up(y)) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]


def _points(pairs: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)
