"""Where values lie in a chart: round ticks, scales and the lines around the drawing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 340, 210
LEFT, RIGHT, TOP, BOTTOM = 44, WIDTH - 12, 14, HEIGHT - 34


@dataclass(frozen=True)
class Plot:
    """The area of a chart, in the drawing's units.

    Attributes:
        x_low: Value at the left edge.
        x_high: Value at the right edge.
        y_ticks: Values with a grid line; the first and last are the lower and upper edge.
        inset: Room left free inside both vertical edges.
    """

    x_low: float
    x_high: float
    y_ticks: Sequence[float]
    inset: float = 0.0

    def across(self, value: float) -> float:
        """Horizontal place of a value."""
        left, right = LEFT + self.inset, RIGHT - self.inset
        return left + (value - self.x_low) / (self.x_high - self.x_low) * (right - left)

    def up(self, value: float) -> float:
        """Vertical place of a value."""
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return BOTTOM + (value - low) / (high - low) * (TOP - BOTTOM)

    def frame(self, x_label: str, x_ticks: Sequence[float] | None = None) -> list[str]:
        """Grid, axes and their labels; `x_ticks` are chosen when None."""
        parts = []
        for value in self.y_ticks:
            parts.append(_across_line("grid", self.up(value)))
            parts.append(_label(LEFT - 7, self.up(value) + 4, number_text(value), "end"))
        parts.append(_across_line("axis", BOTTOM))
        chosen = ticks(self.x_low, self.x_high) if x_ticks is None else x_ticks
        room = (self.x_high - self.x_low) * 1e-6
        for value in chosen:
            if self.x_low - room <= value <= self.x_high + room:
                place = self.across(value)
                parts.append(_label(place, BOTTOM + 15, number_text(value), "middle"))
        parts.append(_label((LEFT + RIGHT) / 2, HEIGHT - 4, x_label, "middle"))
        return parts

    def level(self, value: float, label: str) -> str:
        """A dashed line across, with its name above its right end."""
        place = self.up(value)
        return _across_line("reference", place) + _label(RIGHT, place - 4, label, "end")


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten) that enclose `low` to `high`."""
    raw = (high - low) / count or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(m for m in (1, 2, 2.5, 5, 10) if m * power >= raw * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [round(i * step, 12) for i in range(first, last + 1)]


def value_range(values: Sequence[float]) -> tuple[float, float]:
    """Smallest and largest finite value, kept apart when they are one."""
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if low == high:
        room = 0.5 * (abs(low) or 1.0)
        # A quantity that is never negative keeps its axis at or above zero.
        return (max(low - room, 0.0) if low >= 0 else low - room), high + room
    return low, high


def number_text(value: float) -> str:
    """A tick's number: four significant digits, thousands separated."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _across_line(kind: str, y: float) -> str:
    return f'<line class="{kind}" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
