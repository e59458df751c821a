"""Hats, crowns and bands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.synthetic.canvas import arc, circle, smooth
from nadir.synthetic.palette import CLOTH, WHITE, mix

if TYPE_CHECKING:
    from collections.abc import Callable

    from nadir.synthetic.canvas import Pen
    from nadir.synthetic.characters.looks import Look


def _hairband(pen: Pen, look: Look) -> None:
    band = np.vstack([arc(0, -0.02, 1.1, 1.1, 204, 336), arc(0, 0.1, 1.02, 1.02, 336, 204)])
    pen.shape(band, CLOTH[look.accent])


def _maid_headdress(pen: Pen, _look: Look) -> None:
    for angle in range(215, 330, 16):
        x, y = 1.12 * np.cos(np.radians(angle)), 1.12 * np.sin(np.radians(angle)) - 0.06
        pen.shape(circle(x, y, 0.19, n=18), WHITE)
    pen.shape(
        np.vstack([arc(0, -0.02, 1.1, 1.1, 210, 330), arc(0, 0.08, 1.02, 1.02, 330, 210)]), WHITE
    )


def _headphones(pen: Pen, look: Look) -> None:
    pen.line(arc(0, -0.05, 1.2, 1.22, 190, 350), (60, 56, 68), 0.12)
    for side in (-1, 1):
        pen.shape(circle(side * 1.12, 0.12, 0.22, 0.32, n=24), CLOTH[look.accent])


def _witch_hat(pen: Pen, look: Look) -> None:
    cloth = CLOTH[look.accent]
    cone = smooth(
        [
            (-0.95, -0.72, 1),
            (-0.5, -1.3),
            (0.05, -1.85),
            (0.5, -2.12, 1),
            (0.36, -1.6),
            (0.95, -0.72, 1),
        ]
    )
    pen.shape(cone, cloth, shade=smooth([(0.3, -2.2), (1.2, -1.0), (1.0, -0.6), (0.4, -0.7)]))
    pen.fill(
        smooth(
            [(-0.92, -0.86, 1), (0, -0.98), (0.92, -0.86, 1), (0.95, -0.6, 1), (-0.95, -0.6, 1)]
        ),
        (255, 206, 84),
    )
    pen.shape(circle(0, -0.62, 1.55, 0.24), cloth)


def _straw_hat(pen: Pen, look: Look) -> None:
    straw = (246, 212, 128)
    pen.shape(
        smooth([(-0.85, -0.7, 1), (-0.75, -1.25), (0, -1.5), (0.75, -1.25), (0.85, -0.7, 1)]), straw
    )
    pen.shape(
        smooth(
            [(-0.86, -0.92, 1), (0, -1.06), (0.86, -0.92, 1), (0.88, -0.66, 1), (-0.88, -0.66, 1)]
        ),
        CLOTH[look.accent],
    )
    pen.shape(circle(0, -0.66, 1.65, 0.26), straw, shade=circle(0, -0.5, 1.5, 0.16))


def _beanie(pen: Pen, look: Look) -> None:
    cloth = CLOTH[look.accent]
    pen.shape(circle(0, -1.44, 0.2, n=20), WHITE)
    pen.shape(
        smooth([(-1.12, -0.52, 1), (-0.95, -1.1), (0, -1.4), (0.95, -1.1), (1.12, -0.52, 1)]), cloth
    )
    pen.shape(
        smooth(
            [(-1.16, -0.62), (0, -0.78), (1.16, -0.62), (1.18, -0.36), (0, -0.5), (-1.18, -0.36)]
        ),
        mix(cloth, WHITE, 0.35),
    )


def _santa_hat(pen: Pen, _look: Look) -> None:
    pen.shape(
        smooth(
            [
                (-1.05, -0.55, 1),
                (-0.5, -1.3),
                (0.4, -1.62),
                (1.25, -1.0, 1),
                (0.95, -1.0),
                (1.05, -0.55, 1),
            ]
        ),
        CLOTH["red"],
    )
    pen.shape(circle(1.25, -0.92, 0.22, n=20), WHITE)
    pen.shape(
        smooth([(-1.14, -0.7), (0, -0.84), (1.14, -0.7), (1.16, -0.4), (0, -0.54), (-1.16, -0.4)]),
        WHITE,
    )


def _top_hat(pen: Pen, look: Look) -> None:
    cloth = CLOTH["black"]
    pen.shape(
        smooth([(-0.6, -0.9, 1), (-0.66, -1.85, 1), (0, -1.92), (0.66, -1.85, 1), (0.6, -0.9, 1)]),
        cloth,
    )
    pen.fill(np.array([[-0.6, -1.2], [0.6, -1.2], [0.6, -0.95], [-0.6, -0.95]]), CLOTH[look.accent])
    pen.shape(circle(0, -0.92, 1.0, 0.17), cloth)


def _crown(pen: Pen, look: Look) -> None:
    points = [
        [-0.55, -0.98],
        [-0.66, -1.6],
        [-0.3, -1.32],
        [0, -1.7],
        [0.3, -1.32],
        [0.66, -1.6],
        [0.55, -0.98],
    ]
    pen.shape(np.array(points), (255, 208, 70))
    for x in (-0.3, 0.0, 0.3):
        pen.fill(circle(x, -1.12, 0.08, n=14), CLOTH[look.accent])


def _tiara(pen: Pen, look: Look) -> None:
    points = [
        [-0.6, -0.88],
        [-0.42, -1.12],
        [-0.22, -1.08],
        [0, -1.42],
        [0.22, -1.08],
        [0.42, -1.12],
        [0.6, -0.88],
        [0, -1.0],
    ]
    pen.shape(np.array(points), (226, 232, 244))
    pen.fill(circle(0, -1.16, 0.08, n=14), CLOTH[look.accent])


def _halo(pen: Pen, _look: Look) -> None:
    pen.line(circle(0, -1.55, 0.62, 0.17), (255, 222, 90), 0.1)


def _propeller(pen: Pen, look: Look) -> None:
    pen.line(np.array([[0, -1.2], [0, -1.55]]), (90, 90, 100), 0.06)
    for side, name in ((-1, look.accent), (1, "yellow")):
        pen.shape(circle(side * 0.34, -1.58, 0.34, 0.11, n=24), CLOTH[name])


HEADWEAR: dict[str, Callable[[Pen, Look], None]] = {
    "headphones": _headphones,
    "hairband": _hairband,
    "maid_headdress": _maid_headdress,
    "witch_hat": _witch_hat,
    "straw_hat": _straw_hat,
    "beanie": _beanie,
    "santa_hat": _santa_hat,
    "top_hat": _top_hat,
    "crown": _crown,
    "tiara": _tiara,
    "halo": _halo,
    "propeller_hair_ornament": _propeller,
}
"""Tags of what is worn on top of the head, and how it is drawn."""
