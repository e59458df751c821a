"""Things in the hands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.synthetic.canvas import arc, circle, smooth
from nadir.synthetic.characters.face import heart, star
from nadir.synthetic.palette import CLOTH, WHITE, mix

if TYPE_CHECKING:
    from collections.abc import Callable

    from nadir.synthetic.canvas import Pen
    from nadir.synthetic.characters.looks import Look

RAISED = ("balloon", "lollipop", "wand", "sparkler", "heart")
"""Props of one raised hand; all others are held in front of the chest."""


def draw_prop(pen: Pen, look: Look) -> None:
    """Draw what the look's hands hold."""
    _PROPS[look.prop](pen, look)


def _balloon(pen: Pen, look: Look) -> None:
    colour = CLOTH[look.accent]
    pen.line(
        smooth([(1.34, 0.7), (1.3, 0.4), (1.42, 0.1)], closed=False),
        mix(colour, (60, 50, 60), 0.5),
        0.03,
    )
    body = smooth(
        [(1.42, -0.95), (1.8, -0.75), (1.84, -0.4), (1.42, 0.12, 1), (1.0, -0.4), (1.04, -0.75)]
    )
    pen.shape(body, colour, shade=circle(1.75, -0.1, 0.4))
    pen.fill(circle(1.26, -0.62, 0.09, 0.14, n=16), mix(colour, WHITE, 0.7))


def _lollipop(pen: Pen, look: Look) -> None:
    pen.line(np.array([[1.34, 0.85], [1.34, 0.3]]), WHITE, 0.07)
    pen.shape(circle(1.34, 0.12, 0.26), CLOTH[look.accent])
    pen.line(arc(1.34, 0.12, 0.13, 0.13, 0, 270), WHITE, 0.06)


def _wand(pen: Pen, _look: Look) -> None:
    pen.line(np.array([[1.3, 0.95], [1.38, 0.25]]), (236, 190, 210), 0.08)
    pen.shape(star(1.4, 0.08, 0.32), (255, 220, 84))


def _sparkler(pen: Pen, _look: Look) -> None:
    pen.line(np.array([[1.32, 0.85], [1.4, 0.3]]), (150, 140, 140), 0.04)
    pen.fill(star(1.42, 0.14, 0.34, tips=8, depth=0.35), (255, 190, 70))
    pen.fill(star(1.42, 0.14, 0.18, tips=8, depth=0.4), (255, 250, 214))


def _heart(pen: Pen, _look: Look) -> None:
    pen.shape(heart(1.36, 0.28, 0.3), (240, 60, 90))


def _book(pen: Pen, look: Look) -> None:
    cover = CLOTH[look.accent]
    for side in (-1, 1):
        page = np.array([[0, 1.36], [side * 0.42, 1.28], [side * 0.42, 1.72], [0, 1.8]])
        pen.shape(page, cover)
        pen.fill(np.array([[0, 1.4], [side * 0.36, 1.34], [side * 0.36, 1.4], [0, 1.47]]), WHITE)


def _bouquet(pen: Pen, look: Look) -> None:
    pen.shape(np.array([[-0.3, 1.45], [0.3, 1.45], [0.06, 1.95], [-0.06, 1.95]]), (250, 240, 220))
    for x, y in ((-0.26, 1.36), (0.26, 1.36), (0, 1.24), (-0.1, 1.42), (0.14, 1.42)):
        pen.shape(circle(x, y, 0.15, n=20), CLOTH[look.accent])
        pen.fill(circle(x, y, 0.06, n=12), (255, 226, 110))


def _teddy(pen: Pen, _look: Look) -> None:
    fur = (190, 132, 84)
    for side in (-1, 1):
        pen.shape(circle(side * 0.2, 1.16, 0.11, n=18), fur)
        pen.shape(circle(side * 0.2, 1.9, 0.13, n=18), fur)
    pen.shape(circle(0, 1.72, 0.26, 0.24), fur)
    pen.shape(circle(0, 1.34, 0.28, 0.24), fur)
    pen.fill(circle(0, 1.42, 0.12, 0.09, n=18), (240, 214, 180))
    pen.fill(circle(0, 1.38, 0.04, n=10), (60, 40, 40))
    for side in (-1, 1):
        pen.fill(circle(side * 0.12, 1.3, 0.035, n=10), (60, 40, 40))


def _cup(pen: Pen, look: Look) -> None:
    pen.shape(arc(0.26, 1.6, 0.14, 0.13, -100, 100), WHITE)
    pen.shape(
        smooth(
            [(-0.24, 1.4, 1), (0.24, 1.4, 1), (0.2, 1.76), (0.1, 1.84), (-0.1, 1.84), (-0.2, 1.76)]
        ),
        CLOTH[look.accent],
    )
    pen.fill(circle(0, 1.41, 0.2, 0.05, n=20), (120, 76, 48))


def _kitten(pen: Pen, look: Look) -> None:
    fur = CLOTH["grey"] if look.accent == "black" else (246, 178, 96)
    pen.shape(circle(0, 1.74, 0.24, 0.28), fur)
    for side in (-1, 1):
        pen.shape(np.array([[side * 0.06, 1.2], [side * 0.28, 1.0], [side * 0.3, 1.34]]), fur)
    pen.shape(circle(0, 1.4, 0.31, 0.25), fur)
    for side in (-1, 1):
        pen.fill(circle(side * 0.13, 1.38, 0.045, 0.06, n=12), (50, 40, 44))
    pen.fill(circle(0, 1.47, 0.035, 0.025, n=10), (230, 110, 120))


def _apple(pen: Pen, _look: Look) -> None:
    pen.shape(
        smooth(
            [
                (0, 1.42, 1),
                (0.2, 1.34),
                (0.32, 1.54),
                (0.18, 1.82),
                (0, 1.8),
                (-0.18, 1.82),
                (-0.32, 1.54),
                (-0.2, 1.34),
            ]
        ),
        (222, 44, 50),
    )
    pen.shape(smooth([(0.02, 1.38, 1), (0.12, 1.22), (0.28, 1.24, 1), (0.16, 1.36)]), (90, 176, 80))


_PROPS: dict[str, Callable[[Pen, Look], None]] = {
    "balloon": _balloon, "lollipop": _lollipop, "wand": _wand, "sparkler": _sparkler,
    "heart": _heart, "book": _book,
    "bouquet": _bouquet, "teddy_bear": _teddy, "cup": _cup, "kitten": _kitten, "apple": _apple,
}  # fmt: skip
