"""Backgrounds that are not a place: one exact colour, or a pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.synthetic.canvas import Canvas, Pen, circle
from nadir.synthetic.characters.face import heart
from nadir.synthetic.palette import BACKGROUND, WHITE, Colour, mix
from nadir.synthetic.styles import PLAIN

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

_PASTELS: tuple[Colour, ...] = (
    (255, 206, 222),
    (200, 226, 255),
    (216, 244, 206),
    (255, 240, 190),
    (228, 212, 250),
)


def draw_backdrop(canvas: Canvas, background: str, rng: random.Random) -> None:
    """Fill the canvas with a plain colour, exactly, or with a pattern."""
    if background in BACKGROUND:
        canvas.image.paste(BACKGROUND[background], (0, 0, *canvas.image.size))
        return
    colour = rng.choice(_PASTELS)
    canvas.image.paste(colour, (0, 0, *canvas.image.size))
    pen = Pen(canvas, PLAIN, 0, 0, canvas.height)
    PATTERNS[background](pen, colour, canvas.width / canvas.height)


def _dots(pen: Pen, colour: Colour, wide: float) -> None:
    for row in range(9):
        for column in range(int(wide * 8) + 2):
            x = (column + (row % 2) / 2) / 8
            pen.fill(circle(x, row / 8, 0.032, n=24), mix(colour, WHITE, 0.65))


def _stripes(pen: Pen, colour: Colour, wide: float) -> None:
    for column in range(int((wide + 1) * 6) + 2):
        x = column / 6 - 1
        stripe = np.array([[x, 1.0], [x + 1, 0.0], [x + 1.083, 0.0], [x + 0.083, 1.0]])
        pen.fill(stripe, mix(colour, WHITE, 0.6))


def _checks(pen: Pen, colour: Colour, wide: float) -> None:
    for row in range(8):
        for column in range(row % 2, int(wide * 8) + 2, 2):
            x, y = column / 8, row / 8
            square = np.array([[x, y], [x + 0.125, y], [x + 0.125, y + 0.125], [x, y + 0.125]])
            pen.fill(square, mix(colour, WHITE, 0.6))


def _hearts(pen: Pen, colour: Colour, wide: float) -> None:
    for row in range(7):
        for column in range(int(wide * 6) + 2):
            pen.fill(
                heart((column + (row % 2) / 2) / 6, (row + 0.5) / 6, 0.035), mix(colour, WHITE, 0.7)
            )


def _gradient(pen: Pen, colour: Colour, _wide: float) -> None:
    other = _PASTELS[(_PASTELS.index(colour) + 2) % len(_PASTELS)]
    pen.canvas.gradient([mix(colour, (90, 60, 160), 0.25), colour, other])


def _two_tone(pen: Pen, colour: Colour, wide: float) -> None:
    other = _PASTELS[(_PASTELS.index(colour) + 1) % len(_PASTELS)]
    pen.fill(np.array([[0, 1.0], [wide, 0.0], [wide, 1.0]]), mix(other, (90, 60, 160), 0.2))


PATTERNS: dict[str, Callable[[Pen, Colour, float], None]] = {
    "gradient_background": _gradient, "polka_dot_background": _dots,
    "striped_background": _stripes,
    "checkered_background": _checks, "two-tone_background": _two_tone,
    "heart_background": _hearts,
}  # fmt: skip
"""Pattern tags and how they are drawn."""
