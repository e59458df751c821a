"""Hair, in two layers: what hangs behind the head and what falls over the face."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.synthetic.canvas import arc, circle, smooth
from nadir.synthetic.palette import light_of, shadow_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from nadir.synthetic.canvas import Pen
    from nadir.synthetic.characters.looks import Look
    from nadir.synthetic.palette import Colour

EXTENT = {"twintails": 1.62, "low_twintails": 1.55, "side_ponytail": 1.5, "ponytail": 1.5,
          "double_bun": 1.35, "drill_hair": 1.5, "long_hair": 1.36,
          "very_long_hair": 1.5}  # fmt: skip
"""Half width of a hair style in head radii, where it is wider than the head."""


def draw_back_hair(pen: Pen, look: Look) -> None:
    """What lies behind head and body."""
    tone = look.hair_tone()
    _BACK.get(look.hair_style, _short)(pen, tone)
    skull = circle(0, -0.1, 1.12, 1.1)
    pen.shape(skull, shadow_of(tone))


def draw_front_hair(pen: Pen, look: Look) -> None:
    """Crown, bangs, side locks and what lies over the shoulders."""
    tone = look.hair_tone()
    outline = _BANGS[look.bangs](_SIDES.get(look.hair_style, 0.55))
    pen.shape(
        outline,
        tone,
        shade=smooth([(0.35, -1.4), (1.4, -1.4), (1.4, 1.4), (0.7, 1.4), (0.72, -0.4)]),
    )
    _ring(pen, outline, tone)
    if look.hair_style == "twin_braids":
        for side in (-1, 1):
            _braid(pen, side, tone)
    if "ahoge" in look.features:
        strand = smooth(
            [
                (-0.06, -1.12, 1),
                (-0.1, -1.4),
                (0.2, -1.62),
                (0.5, -1.5, 1),
                (0.22, -1.46),
                (0.08, -1.3),
                (0.1, -1.12, 1),
            ]
        )
        pen.shape(strand, tone)
    if look.hair_style in {"double_bun", "hair_bun"}:
        for x in (-0.78, 0.78) if look.hair_style == "double_bun" else (0.0,):
            y = -0.98 if x else -1.28
            pen.shape(circle(x, y, 0.4, 0.38), tone, shade=circle(x + 0.25, y + 0.2, 0.36))


def _ring(pen: Pen, outline: np.ndarray, tone: Colour) -> None:
    """The band of light on the crown."""
    if pen.style.saturation == 0:
        return
    upper, lower = arc(0, 0.05, 0.92, 0.86, 205, 300), arc(0, 0.12, 0.9, 0.76, 300, 205)
    pen.clipped(outline, np.vstack([upper, lower]), pen.style.colour(light_of(tone)))


def _bangs(tips: list[tuple[float, ...]]) -> Callable[[float], np.ndarray]:
    def outline(side: float) -> np.ndarray:
        crown = [
            (-1.12, 0.1),
            (-1.08, -0.5),
            (-0.7, -1.08),
            (0.0, -1.26),
            (0.7, -1.08),
            (1.08, -0.5),
            (1.12, 0.1),
        ]
        right = [(1.08, side), (0.96, side + 0.16, 1), (0.84, side - 0.05), (0.84, 0.0, 1)]
        left = [(-0.84, 0.0, 1), (-0.84, side - 0.05), (-0.96, side + 0.16, 1), (-1.08, side)]
        return smooth([*crown, *right, *tips, *left])

    return outline


_BANGS: dict[str, Callable[[float], np.ndarray]] = {
    "": _bangs([(0.72, -0.08), (0.56, 0.0, 1), (0.44, -0.28), (0.26, -0.12), (0.12, -0.02, 1),
    (0.0, -0.3),
                (-0.16, -0.14), (-0.3, -0.03, 1), (-0.42, -0.3), (-0.6, -0.1),
                (-0.7, 0.02, 1)]),
    "blunt_bangs": _bangs([(0.82, -0.14, 1), (0.4, -0.1), (0, -0.08), (-0.4, -0.1), (-0.82,
    -0.14, 1)]),
    "swept_bangs": _bangs([(0.78, -0.3, 1), (0.5, -0.62, 1), (0.1, -0.28), (-0.34, -0.08),
    (-0.78, 0.04, 1)]),
    "parted_bangs": _bangs([(0.74, -0.02, 1), (0.5, -0.3), (0.0, -0.82, 1), (-0.5, -0.3),
    (-0.74, -0.02, 1)]),
    "messy_hair": _bangs([(0.7, 0.06, 1), (0.6, -0.3, 1), (0.34, 0.04, 1), (0.2, -0.34, 1),
    (-0.04, 0.0, 1),
                          (-0.22, -0.36, 1), (-0.46, 0.06, 1), (-0.56, -0.3, 1),
                          (-0.76, 0.08, 1)]),
}  # fmt: skip
"""Lower edge of the bangs, right to left."""

_SIDES = {"short_hair": 0.3, "spiked_hair": 0.2, "bob_cut": 0.6, "ponytail": 0.5,
"long_hair": 0.95,
          "very_long_hair": 1.05, "hair_bun": 0.4, "double_bun": 0.4}  # fmt: skip
"""How far the side locks reach down."""


def _mirrored(points: list[tuple[float, ...]]) -> np.ndarray:
    """A closed shape from its right half, listed from top to bottom."""
    left = [(-p[0], *p[1:]) for p in reversed(points) if p[0] > 1e-9]
    return smooth([*points, *left])


def _short(pen: Pen, tone: Colour) -> None:
    pen.shape(
        _mirrored([(0, -1.2), (1.0, -0.7), (1.16, 0.0), (1.02, 0.55), (0.75, 0.78, 1), (0.4, 0.7)]),
        tone,
    )


def _spiked(pen: Pen, tone: Colour) -> None:
    points: list[tuple[float, ...]] = [(0, -1.55, 1), (0.22, -1.2, 1), (0.62, -1.42, 1), (0.72,
    -1.0, 1), (1.18, -1.0, 1),
              (1.06, -0.55, 1), (1.42, -0.32, 1), (1.12, -0.05, 1), (1.32, 0.4, 1),
              (0.95, 0.35, 1), (0.8, 0.75, 1), (0.4, 0.6)]  # fmt: skip
    pen.shape(_mirrored(points), tone)


def _bob(pen: Pen, tone: Colour) -> None:
    pen.shape(
        _mirrored(
            [
                (0, -1.2),
                (1.0, -0.7),
                (1.18, 0.0),
                (1.26, 0.6),
                (1.1, 0.98),
                (0.7, 0.98, 1),
                (0.3, 0.9),
            ]
        ),
        tone,
    )


def _medium(pen: Pen, tone: Colour) -> None:
    points: list[tuple[float, ...]] = [(0, -1.2), (1.0, -0.7), (1.16, 0.0), (1.18, 0.7), (1.3,
    1.2), (1.26, 1.42, 1), (0.98, 1.28),
              (0.72, 1.5, 1), (0.4, 1.3)]  # fmt: skip
    pen.shape(_mirrored(points), tone)


def _long(pen: Pen, tone: Colour, reach: float = 2.15, width: float = 1.3) -> None:
    points: list[tuple[float, ...]] = [(0, -1.2), (1.0, -0.7), (1.16, 0.0), (1.18, 0.8),
    (width, reach - 0.5), (width, reach, 1),
              (width - 0.3, reach - 0.2), (width - 0.55, reach + 0.14, 1), (0.4, reach - 0.12),
              (0.2, reach + 0.1, 1)]  # fmt: skip
    pen.shape(_mirrored(points), tone)


def _very_long(pen: Pen, tone: Colour) -> None:
    _long(pen, tone, 2.75, 1.42)


def _tail(pen: Pen, side: float, tone: Colour, *, top: tuple[float, float], reach: float) -> None:
    x, y = top
    points = [(x, y), (x + 0.4, y + 0.05), (x + 0.56, y + 0.6), (x + 0.42, reach - 0.5),
    (x + 0.24, reach, 1), (x + 0.1, reach - 0.3),
              (x - 0.08, reach - 0.12, 1), (x - 0.06, y + 0.8),
              (x - 0.08, y + 0.2)]  # fmt: skip
    placed = [(side * p[0], *p[1:]) for p in points]
    shade = smooth(
        [
            (side * (x + 0.25), y),
            (side * (x + 0.9), y),
            (side * (x + 0.9), reach),
            (side * (x + 0.05), reach),
        ]
    )
    pen.shape(smooth(placed), tone, shade=shade)


def _twintails(pen: Pen, tone: Colour) -> None:
    _short(pen, tone)
    for side in (-1, 1):
        _tail(pen, side, tone, top=(1.02, -0.72), reach=1.45)


def _low_twintails(pen: Pen, tone: Colour) -> None:
    _short(pen, tone)
    for side in (-1, 1):
        _tail(pen, side, tone, top=(0.9, 0.45), reach=2.0)


def _side_ponytail(pen: Pen, tone: Colour) -> None:
    _short(pen, tone)
    _tail(pen, 1, tone, top=(0.95, -0.6), reach=1.55)


def _ponytail(pen: Pen, tone: Colour) -> None:
    tail = smooth(
        [
            (0.2, -1.1),
            (0.75, -1.5),
            (1.35, -1.1),
            (1.5, -0.2),
            (1.28, 0.6),
            (1.42, 1.25, 1),
            (0.95, 0.9),
            (0.8, 0.2),
        ]
    )
    pen.shape(
        tail, tone, shade=smooth([(1.2, -1.0), (1.7, -1.0), (1.7, 1.3), (1.0, 1.3), (1.25, 0.2)])
    )
    _short(pen, tone)


def _drills(pen: Pen, tone: Colour) -> None:
    _short(pen, tone)
    for side in (-1, 1):
        for step in range(6):
            pen.shape(circle(side * 1.12, 0.1 + 0.27 * step, 0.36 - 0.045 * step, 0.2, n=24), tone)


def _braid(pen: Pen, side: int, tone: Colour) -> None:
    for step in range(5):
        pen.shape(
            circle(side * (0.98 - 0.02 * step), 0.75 + 0.24 * step, 0.2 - 0.012 * step, 0.17, n=24),
            tone,
        )
    end = 0.75 + 0.24 * 5
    pen.shape(
        smooth(
            [
                (side * 0.8, end, 1),
                (side * 0.98, end, 1),
                (side * 0.92, end + 0.32, 1),
                (side * 0.78, end + 0.1),
            ]
        ),
        tone,
    )


_BACK: dict[str, Callable[..., None]] = {
    "short_hair": _short, "spiked_hair": _spiked, "bob_cut": _bob, "medium_hair": _medium,
    "long_hair": _long,
    "very_long_hair": _very_long, "twintails": _twintails, "low_twintails": _low_twintails,
    "ponytail": _ponytail,
    "side_ponytail": _side_ponytail, "drill_hair": _drills,
}  # fmt: skip
