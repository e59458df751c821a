"""Subjects of pictures without people, drawn around their middle in units of half their height."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.synthetic.canvas import arc, circle, limb, smooth
from nadir.synthetic.palette import WHITE, Colour, mix

if TYPE_CHECKING:
    from collections.abc import Callable

    from nadir.synthetic.canvas import Pen

_DARK: Colour = (52, 40, 50)


def draw_creature(pen: Pen, name: str, tone: Colour) -> None:
    """Draw the subject named by its tag; `tone` is its colour where it may vary."""
    CREATURES[name](pen, tone)


def _face(pen: Pen, y: float, spread: float, *, size: float = 0.1) -> None:
    for side in (-1, 1):
        pen.fill(circle(side * spread, y, size, size * 1.25, n=24), _DARK)
        pen.fill(circle(side * spread - size * 0.3, y - size * 0.4, size * 0.35, n=12), WHITE)
        pen.fill(circle(side * (spread + 0.16), y + 0.2, 0.1, 0.06, n=16), (255, 150, 160))
    pen.line(arc(0, y + 0.1, 0.09, 0.08, 15, 165), _DARK, 0.05)


def _cat(pen: Pen, tone: Colour) -> None:
    tail = limb([(0.5, 0.8), (1.0, 0.7), (1.05, 0.2), (0.85, -0.1)], 0.13, 0.1)
    pen.shape(tail, tone)
    pen.shape(
        smooth([(0, -0.1), (0.6, 0.3), (0.66, 0.9, 1), (-0.66, 0.9, 1), (-0.6, 0.3)]),
        tone,
        shade=circle(0.7, 0.7, 0.5),
    )
    for side in (-1, 1):
        pen.shape(np.array([[side * 0.2, -0.75], [side * 0.62, -1.15], [side * 0.74, -0.4]]), tone)
        pen.fill(
            np.array([[side * 0.36, -0.72], [side * 0.58, -0.98], [side * 0.64, -0.55]]),
            (255, 160, 176),
        )
        pen.shape(circle(side * 0.25, 0.86, 0.18, 0.12, n=20), WHITE)
    pen.shape(circle(0, -0.35, 0.78, 0.62), tone, shade=circle(0.6, 0.0, 0.5))
    pen.fill(circle(0, -0.1, 0.34, 0.22, n=24), mix(tone, WHITE, 0.75))
    _face(pen, -0.32, 0.34, size=0.12)


def _rabbit(pen: Pen, tone: Colour) -> None:
    for side in (-1, 1):
        ear = pen.at(side * 0.28, -0.95, tilt=side * 10)
        ear.shape(circle(0, 0, 0.18, 0.5), tone)
        ear.fill(circle(0, 0.05, 0.09, 0.34, n=20), (255, 170, 186))
    pen.shape(circle(0, 0.5, 0.62, 0.46), tone, shade=circle(0.6, 0.7, 0.5))
    pen.shape(circle(0, -0.15, 0.62, 0.55), tone)
    _face(pen, -0.14, 0.28, size=0.1)


def _bird(pen: Pen, tone: Colour) -> None:
    pen.shape(circle(0, 0.1, 0.8, 0.78), tone, shade=circle(0.7, 0.5, 0.6))
    pen.fill(circle(0, 0.42, 0.5, 0.42), mix(tone, WHITE, 0.7))
    for side in (-1, 1):
        wing = smooth(
            [(side * 0.55, -0.05, 1), (side * 0.98, 0.1), (side * 1.0, 0.55, 1), (side * 0.6, 0.5)]
        )
        pen.shape(wing, mix(tone, _DARK, 0.16))
        pen.line(np.array([[side * 0.22, 0.86], [side * 0.22, 1.0]]), (240, 150, 60), 0.08)
    _face(pen, -0.16, 0.32)
    pen.shape(np.array([[-0.13, -0.04], [0.13, -0.04], [0, 0.14]]), (250, 160, 60))


def _slime(pen: Pen, tone: Colour) -> None:
    body = smooth(
        [
            (0, -0.75),
            (0.5, -0.45),
            (0.85, 0.3),
            (0.9, 0.72),
            (0.6, 0.82),
            (-0.6, 0.82),
            (-0.9, 0.72),
            (-0.85, 0.3),
            (-0.5, -0.45),
        ]
    )
    pen.shape(body, tone, shade=circle(0.6, 0.7, 0.7, 0.5))
    pen.fill(circle(-0.36, -0.22, 0.14, 0.2, n=20), mix(tone, WHITE, 0.75))
    _face(pen, 0.15, 0.28, size=0.11)


def _ghost(pen: Pen, tone: Colour) -> None:
    white = mix(WHITE, tone, 0.08)
    body = smooth(
        [
            (0, -0.95),
            (0.62, -0.6),
            (0.72, 0.2),
            (0.78, 0.85, 1),
            (0.5, 0.66),
            (0.26, 0.9, 1),
            (0, 0.68),
            (-0.26, 0.9, 1),
            (-0.5, 0.66),
            (-0.78, 0.85, 1),
            (-0.72, 0.2),
            (-0.62, -0.6),
        ]
    )
    pen.shape(body, white, shade=circle(0.7, 0.3, 0.45, 0.9))
    _face(pen, -0.25, 0.26, size=0.12)


def _mushroom(pen: Pen, tone: Colour) -> None:
    pen.shape(
        smooth([(-0.36, 0.0), (0.36, 0.0), (0.46, 0.8), (0, 0.92), (-0.46, 0.8)]), (255, 240, 214)
    )
    cap = smooth(
        [(-1.0, 0.1, 1), (-0.78, -0.6), (0, -0.98), (0.78, -0.6), (1.0, 0.1, 1), (0, 0.24)]
    )
    pen.shape(cap, tone, shade=circle(0.8, 0.0, 0.5, 0.8))
    for x, y, r in (
        (-0.45, -0.32, 0.18),
        (0.12, -0.62, 0.16),
        (0.52, -0.2, 0.15),
        (0.02, -0.1, 0.12),
    ):
        pen.fill(circle(x, y, r), WHITE)
    _face(pen, 0.44, 0.17, size=0.07)


def _plant(pen: Pen, tone: Colour) -> None:
    for angle in (-48, -16, 16, 48):
        leaf = pen.at(0, 0.2, tilt=angle)
        leaf.shape(smooth([(0, 0, 1), (0.24, -0.5), (0, -1.1, 1), (-0.24, -0.5)]), (84, 178, 96))
    pen.shape(np.array([[-0.5, 0.15], [0.5, 0.15], [0.38, 0.92], [-0.38, 0.92]]), tone)
    pen.shape(np.array([[-0.56, 0.05], [0.56, 0.05], [0.56, 0.26], [-0.56, 0.26]]), tone)
    _face(pen, 0.5, 0.18, size=0.07)


def _cake(pen: Pen, tone: Colour) -> None:
    pen.shape(circle(0, 0.78, 0.98, 0.2), (236, 240, 248))
    pen.shape(
        smooth([(-0.8, -0.1, 1), (0.8, -0.1, 1), (0.8, 0.7, 1), (0, 0.84), (-0.8, 0.7, 1)]),
        (255, 226, 170),
    )
    icing = [
        (-0.84, -0.14),
        (0, -0.36),
        (0.84, -0.14),
        (0.8, 0.26),
        (0.55, 0.12),
        (0.3, 0.34),
        (0, 0.16),
        (-0.3, 0.36),
        (-0.55, 0.12),
        (-0.8, 0.28),
    ]
    pen.shape(smooth(icing), mix(tone, WHITE, 0.5))
    pen.shape(
        smooth([(0, -0.86, 1), (0.26, -0.7), (0.16, -0.34), (-0.16, -0.34), (-0.26, -0.7)]),
        (226, 44, 56),
    )
    _face(pen, 0.42, 0.26, size=0.08)


def _fish(pen: Pen, tone: Colour) -> None:
    pen.shape(smooth([(0.55, 0, 1), (1.1, -0.5, 1), (0.98, 0), (1.1, 0.5, 1)]), tone)
    pen.shape(circle(-0.1, 0, 0.8, 0.58), tone, shade=circle(0, 0.5, 0.8, 0.35))
    pen.fill(circle(-0.45, -0.1, 0.14, n=24), WHITE)
    pen.fill(circle(-0.48, -0.1, 0.08, n=20), _DARK)
    pen.shape(
        smooth([(-0.05, 0.05, 1), (0.35, -0.12), (0.4, 0.25), (0.05, 0.25)]), mix(tone, WHITE, 0.4)
    )


def _robot(pen: Pen, tone: Colour) -> None:
    pen.line(np.array([[0, -0.7], [0, -1.05]]), (120, 124, 140), 0.08)
    pen.shape(circle(0, -1.08, 0.12, n=20), (240, 70, 70))
    pen.shape(
        np.array([[-0.42, 0.2], [0.42, 0.2], [0.48, 0.9], [-0.48, 0.9]]),
        mix(tone, (150, 154, 168), 0.5),
    )
    pen.shape(smooth([(-0.75, -0.7), (0.75, -0.7), (0.8, 0.2), (-0.8, 0.2)]), tone)
    pen.fill(smooth([(-0.55, -0.52), (0.55, -0.52), (0.58, 0.06), (-0.58, 0.06)]), (40, 48, 66))
    for side in (-1, 1):
        pen.fill(circle(side * 0.26, -0.24, 0.12, n=24), (110, 240, 230))
    pen.line(arc(0, -0.16, 0.12, 0.1, 20, 160), (110, 240, 230), 0.05)


CREATURES: dict[str, Callable[[Pen, Colour], None]] = {
    "cat": _cat, "rabbit": _rabbit, "bird": _bird, "slime_(creature)": _slime,
    "mushroom": _mushroom, "potted_plant": _plant,
    "ghost": _ghost, "cake": _cake, "fish": _fish, "robot": _robot,
}  # fmt: skip
"""Tags of subjects, most frequent first, and how they are drawn."""
