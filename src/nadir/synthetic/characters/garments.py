"""What makes a garment that garment: collars, buttons, sashes, bibs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.synthetic.canvas import circle, smooth
from nadir.synthetic.palette import CLOTH, SKIN, WHITE, Colour, mix, shadow_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from nadir.synthetic.canvas import Pen
    from nadir.synthetic.characters.looks import Look


def draw_details(pen: Pen, look: Look) -> None:
    """Draw the garment's details over the torso."""
    _DETAILS[look.garment](pen, look)


def bow(pen: Pen, x: float, y: float, size: float, colour: Colour) -> None:
    """A ribbon bow around (x, y), about 2 * size wide."""
    for side in (-1, 1):
        wing = smooth([(x, y, 1), (x + side * size * 0.6, y - size * 0.62), (x + side * size,
        y - size * 0.5),
                       (x + side * size, y + size * 0.45),
                       (x + side * size * 0.6, y + size * 0.5)])  # fmt: skip
        pen.shape(wing, colour, shade=circle(x, y, size * 0.5))
    pen.shape(circle(x, y, size * 0.26, n=20), colour)


def _neckline(pen: Pen, look: Look, depth: float = 1.22) -> None:
    pen.shape(
        smooth(
            [(-0.24, 0.9, 1), (0.24, 0.9, 1), (0.16, depth - 0.1), (0, depth), (-0.16, depth - 0.1)]
        ),
        SKIN[look.skin],
    )


def _collar(pen: Pen, colour: Colour) -> None:
    for side in (-1, 1):
        pen.shape(
            np.array([[0, 1.12], [side * 0.12, 0.9], [side * 0.38, 0.98], [side * 0.26, 1.24]]),
            colour,
        )


def _dress(pen: Pen, look: Look) -> None:
    colour = CLOTH[look.garment_colour]
    _collar(pen, WHITE if look.garment_colour != "white" else CLOTH[look.accent])
    belt = smooth(
        [(-0.46, 1.52, 1), (0, 1.58), (0.46, 1.52, 1), (0.48, 1.68, 1), (0, 1.74), (-0.48, 1.68, 1)]
    )
    pen.shape(belt, shadow_of(colour) if look.garment_colour != "white" else CLOTH[look.accent])
    hem = [(-0.86, 2.12), (-0.4, 2.24), (0, 2.26), (0.4, 2.24), (0.86, 2.12)]
    pen.line(
        smooth(hem, closed=False),
        WHITE if look.garment_colour != "white" else CLOTH[look.accent],
        0.06,
    )


def _sundress(pen: Pen, look: Look) -> None:
    _neckline(pen, look, 1.26)
    colour = CLOTH[look.garment_colour]
    for side in (-1, 1):
        pen.line(np.array([[side * 0.26, 0.95], [side * 0.24, 1.3]]), colour, 0.1)
    for x, y in ((-0.4, 1.9), (0.1, 1.75), (0.5, 2.0), (-0.1, 2.1), (0.2, 1.45), (-0.2, 1.45)):
        pen.fill(
            circle(x, y, 0.07, n=14),
            mix(colour, WHITE, 0.75) if look.garment_colour != "white" else CLOTH[look.accent],
        )


def _serafuku(pen: Pen, look: Look) -> None:
    collar = CLOTH[look.bottom_colour]
    flap = smooth(
        [
            (-0.2, 0.92, 1),
            (-0.56, 1.04, 1),
            (-0.5, 1.3, 1),
            (0, 1.48, 1),
            (0.5, 1.3, 1),
            (0.56, 1.04, 1),
            (0.2, 0.92, 1),
            (0, 1.26, 1),
        ]
    )
    pen.shape(flap, collar)
    pen.fill(np.array([[-0.19, 0.93], [0.19, 0.93], [0, 1.24]]), SKIN[look.skin])
    bow(pen, 0, 1.42, 0.26, CLOTH[look.accent])


def _shirt(pen: Pen, look: Look) -> None:
    _neckline(pen, look, 1.1)
    if look.garment_colour != "white":
        pen.fill(circle(0, 1.5, 0.17, n=24), WHITE)
    else:
        pen.fill(circle(0, 1.5, 0.17, n=24), CLOTH[look.accent])


def _sweater(pen: Pen, look: Look) -> None:
    colour = CLOTH[look.garment_colour]
    pen.shape(
        smooth([(-0.3, 0.88), (0, 0.96), (0.3, 0.88), (0.32, 1.08), (0, 1.16), (-0.32, 1.08)]),
        mix(colour, WHITE, 0.18),
    )
    for y in (1.38, 1.56):
        zigzag = np.array([[x / 10, y + (0.06 if x % 2 else 0)] for x in range(-5, 6)])
        pen.line(
            zigzag,
            mix(colour, WHITE, 0.55) if look.garment_colour != "white" else CLOTH[look.accent],
            0.05,
        )


def _hoodie(pen: Pen, look: Look) -> None:
    colour = CLOTH[look.garment_colour]
    pen.shape(
        smooth([(-0.5, 0.86), (0, 1.0), (0.5, 0.86), (0.48, 1.12), (0, 1.24), (-0.48, 1.12)]),
        shadow_of(colour),
    )
    pen.shape(
        smooth([(-0.28, 1.58, 1), (0.28, 1.58, 1), (0.36, 1.8, 1), (-0.36, 1.8, 1)]),
        shadow_of(colour),
    )
    for side in (-1, 1):
        pen.line(np.array([[side * 0.12, 1.18], [side * 0.12, 1.42]]), WHITE, 0.05)


def _kimono(pen: Pen, look: Look) -> None:
    trim = CLOTH[look.accent]
    pen.fill(np.array([[-0.19, 0.9], [0.19, 0.9], [0, 1.26]]), SKIN[look.skin])
    pen.line(np.array([[0.24, 0.94], [-0.2, 1.5]]), trim, 0.1)
    pen.line(np.array([[-0.24, 0.94], [0, 1.25]]), trim, 0.1)
    pen.shape(smooth([(-0.5, 1.46, 1), (0.5, 1.46, 1), (0.52, 1.8, 1), (-0.52, 1.8, 1)]), trim)
    for x, y in ((-0.35, 2.1), (0.3, 2.3), (0.4, 1.98), (-0.1, 2.36)):
        for turn in range(5):
            angle = turn * 2 * np.pi / 5
            petal = circle(x + 0.06 * np.cos(angle), y + 0.06 * np.sin(angle), 0.05, n=10)
            pen.fill(petal, WHITE if look.garment_colour != "white" else trim)


def _overalls(pen: Pen, look: Look) -> None:
    colour = CLOTH[look.garment_colour]
    chest = smooth(
        [(-0.2, 0.94), (-0.48, 1.02), (-0.53, 1.4, 1), (0.53, 1.4, 1), (0.48, 1.02), (0.2, 0.94)]
    )
    pen.shape(chest, WHITE)
    _neckline(pen, look, 1.08)
    pen.shape(np.array([[-0.32, 1.22], [0.32, 1.22], [0.34, 1.62], [-0.34, 1.62]]), colour)
    for side in (-1, 1):
        pen.line(np.array([[side * 0.34, 0.98], [side * 0.28, 1.26]]), colour, 0.12)
        pen.fill(circle(side * 0.26, 1.29, 0.06, n=12), CLOTH["yellow"])


def _coat(pen: Pen, look: Look) -> None:
    colour = CLOTH[look.garment_colour]
    pen.edge(np.array([[0, 1.1], [0, 2.2]]), colour, closed=False)
    for y in (1.3, 1.58, 1.86):
        pen.shape(circle(0.16, y, 0.06, n=14), CLOTH["yellow"])
    _collar(pen, mix(colour, WHITE, 0.35))


def _suit(pen: Pen, look: Look) -> None:
    pen.shape(np.array([[-0.26, 0.92], [0.26, 0.92], [0, 1.6]]), WHITE)
    pen.shape(
        np.array([[-0.08, 1.02], [0.08, 1.02], [0.1, 1.42], [0, 1.52], [-0.1, 1.42]]),
        CLOTH[look.accent],
    )
    pen.edge(np.array([[0, 1.58], [0, 1.9]]), CLOTH[look.garment_colour], closed=False)


def _cape(pen: Pen, look: Look) -> None:
    collar = smooth([(-0.5, 1.0, 1), (0, 1.16), (0.5, 1.0, 1), (0.62, 1.3), (0, 1.5), (-0.62, 1.3)])
    pen.shape(collar, CLOTH[look.accent])
    pen.shape(circle(0, 1.3, 0.11, n=20), CLOTH["yellow"])


def _apron(pen: Pen, look: Look) -> None:
    _collar(pen, WHITE)
    bib = smooth(
        [
            (-0.28, 1.2, 1),
            (0.28, 1.2, 1),
            (0.36, 1.6),
            (0.6, 2.1, 1),
            (0, 2.22),
            (-0.6, 2.1, 1),
            (-0.36, 1.6),
        ]
    )
    pen.shape(bib, WHITE if look.garment_colour != "white" else CLOTH[look.accent])
    bow(pen, 0, 1.14, 0.18, CLOTH[look.accent])


def _armor(pen: Pen, _look: Look) -> None:
    steel = (196, 204, 220)
    pen.shape(
        smooth([(-0.46, 1.04), (0, 1.12), (0.46, 1.04), (0.5, 1.5), (0, 1.74), (-0.5, 1.5)]),
        steel,
        shade=circle(0.5, 1.5, 0.42),
    )
    for side in (-1, 1):
        pen.shape(circle(side * 0.54, 1.1, 0.26, 0.2, n=20), steel)


_DETAILS: dict[str, Callable[[Pen, Look], None]] = {
    "dress": _dress, "sundress": _sundress, "serafuku": _serafuku, "shirt": _shirt,
    "sweater": _sweater,
    "hoodie": _hoodie, "kimono": _kimono, "overalls": _overalls, "coat": _coat, "suit": _suit,
    "cape": _cape,
    "maid_apron": _apron, "armor": _armor,
}  # fmt: skip
