"""Small charts as inline SVG, drawn with the colours of `base.html`; no script, no network.

A chart is a `<figure class="chart">` with a title, the drawing, and a caption that says how to read
it. Series differ in colour, dash and marker, so that none needs colour to be told apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTH, HEIGHT = 340, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 14, 34
_DASHES = ("", "7 4", "2 4", "10 3 2 3", "5 2", "1 3")
_BAR_LABEL = 120


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
    xs = [v for s in series for v in s.x]
    ys = [v for s in series for part in (s.y, s.low or (), s.high or ()) for v in part]
    ys += [level.value for level in levels] + ([0.0] if from_zero else [])
    left, right = _range(xs)
    y_ticks = ticks(*_range(ys))
    across = _scale(left, right, _LEFT + 6, WIDTH - _RIGHT - 6)
    up = _scale(y_ticks[0], y_ticks[-1], HEIGHT - _BOTTOM, _TOP)
    marks = list(x_ticks) if x_ticks is not None else _inside(ticks(left, right), left, right)
    body = _frame(y_ticks, up, [(across(v), _text(v)) for v in marks], x_label)
    body += [_level(level, up(level.value)) for level in levels]
    body += [_line(s, i, across, up) for i, s in enumerate(series)]
    return _figure(title, body, caption, keys=[s.name for s in series] if len(series) > 1 else [])


def histogram(
    values: Sequence[float], *, bins: int, title: str, x_label: str, caption: str = ""
) -> Markup:
    """Counts of `values` in equal bins from the smallest to the largest."""
    low, high = _range(values)
    counts = [0] * bins
    for value in values:
        if math.isfinite(value):
            counts[min(int((value - low) / (high - low) * bins), bins - 1)] += 1
    y_ticks = ticks(0.0, float(max([*counts, 1])))
    across = _scale(low, high, _LEFT, WIDTH - _RIGHT)
    up = _scale(0.0, y_ticks[-1], HEIGHT - _BOTTOM, _TOP)
    step = (WIDTH - _RIGHT - _LEFT) / bins
    marks = [(across(v), _text(v)) for v in _inside(ticks(low, high), low, high)]
    body = _frame(y_ticks, up, marks, x_label)
    for index, count in enumerate(counts):
        tip = f"{_text(low + (high - low) * index / bins)} and up: {count:,}"
        x, y = _LEFT + index * step, up(count)
        body.append(_bar(x + 0.5, y, max(step - 1, 0.5), HEIGHT - _BOTTOM - y, tip, 0))
    return _figure(title, body, caption)


def bar_chart(
    labels: Sequence[str], values: Sequence[float], *, title: str, caption: str = ""
) -> Markup:
    """Horizontal bars from zero, one row per label, with the value written at the end."""
    row = 22
    height = row * len(labels) + 8
    largest = max([v for v in values if math.isfinite(v)] or [1.0]) or 1.0
    room = WIDTH - _BAR_LABEL - 62
    body = []
    for index, (label, value) in enumerate(zip(labels, values, strict=True)):
        y = 4 + index * row
        length = max(value / largest, 0.0) * room if math.isfinite(value) else 0.0
        shown = label if len(label) <= 17 else label[:16] + "…"
        name = f"<title>{escape(label)}</title>{escape(shown)}"
        body.append(f'<text x="{_BAR_LABEL - 8}" y="{y + 15}" text-anchor="end">{name}</text>')
        body.append(_bar(_BAR_LABEL, y + 3, max(length, 1.0), row - 7, f"{label}: {value:,g}", 0))
        end = f"{_BAR_LABEL + length + 6:.1f}"
        body.append(f'<text x="{end}" y="{y + 15}">{_text(value)}</text>')
    return _figure(title, body, caption, height=height)


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten) that enclose `low` to `high`."""
    raw = (high - low) / count or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(m for m in (1, 2, 2.5, 5, 10) if m * power >= raw * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [round(i * step, 12) for i in range(first, last + 1)]


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


def _frame(
    y_ticks: list[float], up: Callable[[float], float], marks: list[tuple[float, str]], label: str
) -> list[str]:
    right, base = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    parts = []
    for value in y_ticks:
        y = up(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{_text(value)}</text>'
        )
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{base}" y2="{base}"/>')
    for x, text in marks:
        parts.append(f'<text x="{x:.1f}" y="{base + 15}" text-anchor="middle">{text}</text>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(label)}</text>')
    return parts


def _level(level: Level, y: float) -> str:
    right = WIDTH - _RIGHT
    return (
        f'<line class="reference" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{right}" y="{y - 4:.1f}" text-anchor="end">{escape(level.label)}</text>'
    )


def _line(
    s: Series, index: int, across: Callable[[float], float], up: Callable[[float], float]
) -> str:
    points = [(across(x), up(y), x, y) for x, y in zip(s.x, s.y, strict=True) if math.isfinite(y)]
    parts = []
    if s.low is not None and s.high is not None:
        upper = [(across(x), up(v)) for x, v in zip(s.x, s.high, strict=True) if math.isfinite(v)]
        lower = [(across(x), up(v)) for x, v in zip(s.x, s.low, strict=True) if math.isfinite(v)]
        parts.append(f'<polygon class="area" points="{_points(upper + lower[::-1])}"/>')
    parts.append(
        f'<polyline class="line" stroke-dasharray="{_DASHES[index % 6]}" '
        f'points="{_points([p[:2] for p in points])}"/>'
    )
    if len(points) <= 24:
        for px, py, x, y in points:
            parts.append(_marker(px, py, index, f"{s.name}: {y:.4g} at {x:g}"))
    return f'<g class="s{index % 6 + 1}">{"".join(parts)}</g>'


def _marker(x: float, y: float, index: int, tip: str = "") -> str:
    """A circle, square or diamond."""
    title = f"<title>{escape(tip)}</title>" if tip else ""
    if index % 3 == 0:
        return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.4">{title}</circle>'
    turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if index % 3 == 2 else ""
    corner = f'x="{x - 3:.1f}" y="{y - 3:.1f}"'
    return f'<rect class="dot" {corner} width="6" height="6"{turn}>{title}</rect>'


def _bar(x: float, y: float, width: float, height: float, tip: str, index: int) -> str:
    return (
        f'<g class="s{index + 1}"><rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
        f'height="{max(height, 0.0):.1f}" rx="1.5"><title>{escape(tip)}</title></rect></g>'
    )


def _key(name: str, index: int) -> str:
    line = (
        f'<line class="line" x1="1" x2="25" y1="6" y2="6" stroke-dasharray="{_DASHES[index % 6]}"/>'
    )
    drawing = (
        f'<svg class="s{index % 6 + 1}" viewBox="0 0 26 12">{line}{_marker(13, 6, index)}</svg>'
    )
    return f"<span>{drawing}{escape(name)}</span>"


def _points(pairs: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Smallest and largest finite value, apart even when there is only one."""
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if low == high:
        room = 0.5 * (abs(low) or 1.0)
        # A quantity that is never negative keeps its axis at or above zero.
        return (max(low - room, 0.0) if low >= 0 else low - room), high + room
    return low, high


def _inside(values: list[float], low: float, high: float) -> list[float]:
    room = (high - low) * 1e-6
    return [v for v in values if low - room <= v <= high + room]


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _text(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
