"""A supersampled picture and a pen that draws smooth outlined shapes into it."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from nadir.synthetic.palette import shadow_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.synthetic.palette import Colour
    from nadir.synthetic.styles import Style

SUPERSAMPLING = 3
"""Pixels per side that one pixel of the finished picture is averaged from."""

_WIDEST_GAP = 110.0
"""Degrees of turn times line width in pixels; above, a dot closes the gap that a turn opens."""

_T = np.linspace(0.0, 1.0, 8, endpoint=False)[None, :, None]

Point = tuple[float, ...]
"""x to the right, y down; a third member, whatever it is, marks a sharp corner."""
Box = tuple[int, int, int, int]


class Canvas:
    """The picture while it is being drawn, `SUPERSAMPLING` times as large as it will be.

    Args:
        width: Width of the finished picture in pixels.
        height: Height of the finished picture in pixels.
        colour: What it is filled with.
    """

    def __init__(self, width: int, height: int, colour: Colour) -> None:
        self.width = width
        self.height = height
        size = (width * SUPERSAMPLING, height * SUPERSAMPLING)
        self.image = Image.new("RGB", size, colour)
        self.draw = ImageDraw.Draw(self.image)

    def gradient(self, colours: Sequence[Colour], *, top: float = 0.0, bottom: float = 1.0) -> None:
        """Fill the rows between two heights (shares of the picture) with a vertical gradient."""
        first, last = round(top * self.image.height), round(bottom * self.image.height)
        strip = Image.new("RGB", (1, len(colours)))
        strip.putdata(list(colours))
        rows = strip.resize((1, last - first), Image.Resampling.BILINEAR)
        wide = rows.resize((self.image.width, last - first), Image.Resampling.NEAREST)
        self.image.paste(wide, (0, first))

    def finish(self) -> Image.Image:
        """The anti-aliased picture, RGB."""
        return self.image.reduce(SUPERSAMPLING)


def smooth(points: Sequence[Point], *, closed: bool = True) -> np.ndarray:
    """A Catmull-Rom curve through the points, broken at those marked as corners.

    Returns:
        Points of the curve, float [n, 2].
    """
    flat = np.array([(point[0], point[1]) for point in points], dtype=np.float64)
    if not closed:
        return _open_curve(flat)
    corners = [index for index, point in enumerate(points) if len(point) == 3]
    if not corners:
        return _segments(np.vstack([flat[-1:], flat, flat[:2]]))
    runs = []
    for start, end in zip(corners, [*corners[1:], corners[0] + len(points)], strict=True):
        run = flat[[index % len(points) for index in range(start, end + 1)]]
        runs.append(_open_curve(run)[:-1])
    return np.vstack(runs)


def _open_curve(points: np.ndarray) -> np.ndarray:
    if len(points) == 2:
        return points
    first, last = 2 * points[:1] - points[1:2], 2 * points[-1:] - points[-2:-1]
    return np.vstack([_segments(np.vstack([first, points, last])), points[-1:]])


def _segments(points: np.ndarray) -> np.ndarray:
    a, b, c, d = (points[i : len(points) - 3 + i, None, :] for i in range(4))
    curve = 2 * b + (c - a) * _T + (2 * a - 5 * b + 4 * c - d) * _T**2
    curve = (curve + (3 * b - a - 3 * c + d) * _T**3) / 2
    return np.asarray(curve.reshape(-1, 2))


def circle(x: float, y: float, rx: float, ry: float | None = None, *, n: int = 36) -> np.ndarray:
    """An ellipse's outline around (x, y), float [n, 2]."""
    angle = np.arange(n) * (2 * math.pi / n)
    return np.stack([x + rx * np.cos(angle), y + (rx if ry is None else ry) * np.sin(angle)], 1)


def arc(
    x: float, y: float, rx: float, ry: float, start: float, end: float, *, n: int = 16
) -> np.ndarray:
    """Part of an ellipse's outline, clockwise from `start` to `end` degrees (0 = right)."""
    angle = np.radians(np.linspace(start, end, n))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1)


def limb(points: Sequence[Point], start: float, end: float) -> np.ndarray:
    """The outline of an arm or leg along the points, its radius going from `start` to `end`."""
    centre = smooth(points, closed=False)
    step = np.gradient(centre, axis=0)
    step /= np.maximum(np.hypot(step[:, :1], step[:, 1:]), 1e-9)
    normal = np.stack([-step[:, 1], step[:, 0]], 1)
    radius = np.linspace(start, end, len(centre))[:, None]
    heading = float(np.degrees(np.arctan2(step[-1, 1], step[-1, 0])))
    cap = arc(centre[-1, 0], centre[-1, 1], end, end, heading + 90, heading - 90, n=9)
    return np.vstack([centre + normal * radius, cap, (centre - normal * radius)[::-1]])


@dataclass(frozen=True)
class Pen:
    """Draws in units of its own: origin, scale and tilt are fixed when it is made.

    Attributes:
        canvas: Where it draws.
        style: The artist's hand.
        x: Origin in finished pixels.
        y: Origin in finished pixels.
        unit: Finished pixels per unit.
        tilt: Clockwise rotation about the origin in degrees.
        flip: Mirror left and right.
    """

    canvas: Canvas
    style: Style
    x: float
    y: float
    unit: float
    tilt: float = 0.0
    flip: bool = False

    def at(self, x: float, y: float, *, scale: float = 1.0, tilt: float = 0.0) -> Pen:
        """A pen whose origin is this pen's point (x, y)."""
        point = self._pixels(np.array([[x, y]]))[0] / SUPERSAMPLING
        turned = self.tilt + (-tilt if self.flip else tilt)
        return replace(self, x=point[0], y=point[1], unit=self.unit * scale, tilt=turned)

    def tilted(self, degrees: float) -> Pen:
        """The same pen, tilted by this much more."""
        return replace(self, tilt=self.tilt + degrees)

    def fill(self, outline: np.ndarray, colour: Colour) -> None:
        """Fill a shape [n, 2] without painting its outline."""
        self.canvas.draw.polygon(self._path(outline), fill=self.style.colour(colour))

    def shape(
        self, outline: np.ndarray, colour: Colour, *, shade: np.ndarray | None = None
    ) -> None:
        """Fill a shape, shade it in the artist's way and draw its outline.

        Args:
            outline: The shape, [n, 2].
            colour: Its colour before the artist's palette.
            shade: Where shadow falls in cel shading, [n, 2]; is clipped to the shape.
        """
        self.fill(outline, colour)
        if self.style.only is not None:
            return
        if self.style.shading == "cel" and shade is not None:
            self.clipped(outline, shade, self._shadow(colour))
        elif self.style.shading == "soft":
            self._soft_shadow(outline, self._shadow(colour))
        self.edge(outline, colour)

    def edge(self, outline: np.ndarray, colour: Colour, *, closed: bool = True) -> None:
        """Draw the artist's outline along a shape of this colour."""
        if self.style.line > 0:
            tone = self.style.outline(self.style.colour(colour))
            self._stroke(outline, self.style.line, tone, closed=closed)

    def line(self, points: np.ndarray, colour: Colour, width: float, *, raw: bool = False) -> None:
        """Draw an open line with round ends; `raw` leaves the artist's palette aside."""
        tone = colour if raw else self.style.colour(colour)
        self._stroke(points, width, tone, closed=False)

    def clipped(self, outline: np.ndarray, inner: np.ndarray, colour: Colour) -> None:
        """Fill the part of `inner` that lies inside `outline`, colour taken as it is."""
        path, box = self._path(outline), self._box(outline)
        mask = _mask(path, box)
        self.canvas.image.paste(
            colour, box, ImageChops.multiply(mask, _mask(self._path(inner), box))
        )

    def _soft_shadow(self, outline: np.ndarray, colour: Colour) -> None:
        box = self._box(outline)
        mask = _mask(self._path(outline), box)
        ramp = _ramp().resize((1, mask.height), Image.Resampling.BILINEAR)
        ramp = ramp.resize(mask.size, Image.Resampling.NEAREST)
        self.canvas.image.paste(colour, box, ImageChops.multiply(mask, ramp))

    def _shadow(self, colour: Colour) -> Colour:
        return self.style.colour(shadow_of(colour))

    def _stroke(self, points: np.ndarray, width: float, colour: Colour, *, closed: bool) -> None:
        thick = max(1, round(width * self.unit * SUPERSAMPLING))
        pixels = self._pixels(np.vstack([points, points[:2]]) if closed else points)
        path = _rounded(pixels)
        self.canvas.draw.line(path, fill=colour, width=thick)
        if thick > 2:
            knees = _rounded(pixels[1:-1][_turns(pixels) * thick > _WIDEST_GAP])
            for x, y in knees if closed else (*knees, path[0], path[-1]):
                dot = (x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2)
                self.canvas.draw.ellipse(dot, fill=colour)

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        x = points[:, 0] * (-1.0 if self.flip else 1.0)
        y = points[:, 1]
        cos, sin = math.cos(math.radians(self.tilt)), math.sin(math.radians(self.tilt))
        placed = np.stack(
            [self.x + self.unit * (x * cos - y * sin), self.y + self.unit * (x * sin + y * cos)], 1
        )
        return placed * SUPERSAMPLING

    def _path(self, points: np.ndarray) -> list[tuple[float, float]]:
        return _rounded(self._pixels(points))

    def _box(self, outline: np.ndarray) -> Box:
        pixels = self._pixels(outline)
        low = np.floor(pixels.min(0)).astype(int).tolist()
        high = np.ceil(pixels.max(0)).astype(int).tolist()
        return (low[0], low[1], high[0] + 2, high[1] + 2)


def _rounded(pixels: np.ndarray) -> list[tuple[float, float]]:
    return [(x, y) for x, y in np.rint(pixels).tolist()]


def _turns(path: np.ndarray) -> np.ndarray:
    """How far a line [n, 2] turns at each of its inner points, in degrees [n - 2]."""
    step = np.diff(path, axis=0)
    heading = np.degrees(np.arctan2(step[:, 1], step[:, 0]))
    return np.asarray(np.abs((np.diff(heading) + 180) % 360 - 180))


@functools.cache
def _ramp() -> Image.Image:
    """Where soft shadow lies in a shape's box: none in the upper part, most at the bottom."""
    return Image.linear_gradient("L").point([max(0, round((v - 90) * 0.62)) for v in range(256)])


def _mask(path: list[tuple[float, float]], box: Box) -> Image.Image:
    mask = Image.new("L", (box[2] - box[0], box[3] - box[1]), 0)
    moved = [(x - box[0], y - box[1]) for x, y in path]
    ImageDraw.Draw(mask).polygon(moved, fill=255)
    return mask
