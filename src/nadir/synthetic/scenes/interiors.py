"""Places that are not under the sky."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.synthetic.canvas import circle, smooth
from nadir.synthetic.palette import WHITE, mix

if TYPE_CHECKING:
    from collections.abc import Callable

    from nadir.synthetic.palette import Colour
    from nadir.synthetic.scenes.setpieces import Stage


def _room(stage: Stage) -> None:
    wall = stage.rng.choice(((250, 226, 196), (214, 230, 216), (236, 214, 226), (206, 220, 240)))
    stage.sky(wall, wall)
    stage.ground(0.8, (186, 130, 86))
    for x in np.arange(0, stage.wide + 0.2, 0.2):
        stage.pen.line(
            np.array([[x, 0.8], [x + (x - stage.wide / 2) * 0.4, 1.0]]), (160, 108, 70), 0.007
        )
    stage.pen.fill(np.array([[0, 0.78], [stage.wide, 0.78], [stage.wide, 0.81], [0, 0.81]]), WHITE)
    left = stage.rng.choice((0.06, 0.94 - 0.34 / stage.wide)) * stage.wide
    _window(stage, left, 0.12, mix(wall, (190, 70, 80), 0.6))


def _classroom(stage: Stage) -> None:
    stage.sky((238, 228, 206), (238, 228, 206))
    stage.ground(0.82, (190, 144, 98))
    margin = 0.08 * stage.wide
    for inset, colour in ((0.0, (150, 104, 66)), (0.025, (46, 98, 78))):
        board = [
            [margin + inset, 0.1 + inset],
            [stage.wide - margin - inset, 0.1 + inset],
            [stage.wide - margin - inset, 0.6 - inset],
            [margin + inset, 0.6 - inset],
        ]
        stage.pen.fill(np.array(board), colour)
    for y in (0.2, 0.28, 0.36):
        stage.pen.line(
            np.array([[margin + 0.06, y], [margin + stage.rng.uniform(0.16, 0.3) * stage.wide, y]]),
            (226, 238, 230),
            0.012,
        )


def _underwater(stage: Stage) -> None:
    stage.sky((60, 190, 226), (26, 110, 190), (14, 56, 128))
    stage.hill(0.9, 0.02, (222, 204, 150))
    for _ in range(6):
        x = stage.x()
        stage.pen.line(
            smooth([(x, 1.0), (x + 0.03, 0.88), (x - 0.02, 0.78), (x + 0.02, 0.68)], closed=False),
            (40, 150, 104),
            0.022,
        )
    for _ in range(14):
        x, y, r = stage.x(), stage.rng.random(), stage.rng.uniform(0.01, 0.026)
        stage.pen.fill(circle(x, y, r), (170, 228, 246))
        stage.pen.fill(circle(x, y, r * 0.72), (70, 170, 220))
    for _ in range(3):
        x, y = stage.x(), stage.rng.uniform(0.15, 0.7)
        stage.pen.fill(
            np.array([[x + 0.03, y], [x + 0.085, y - 0.03], [x + 0.085, y + 0.03]]), (250, 140, 60)
        )
        stage.pen.fill(circle(x, y, 0.05, 0.03), (255, 166, 70))
        stage.pen.fill(circle(x - 0.025, y - 0.006, 0.007, n=10), (40, 30, 40))


def _window(stage: Stage, x: float, y: float, curtain: Colour) -> None:
    box = np.array([[x, y], [x + 0.34, y], [x + 0.34, y + 0.4], [x, y + 0.4]])
    stage.pen.fill(box, WHITE)
    for dx in (0.02, 0.18):
        for dy in (0.02, 0.21):
            pane = [
                [x + dx, y + dy],
                [x + dx + 0.14, y + dy],
                [x + dx + 0.14, y + dy + 0.17],
                [x + dx, y + dy + 0.17],
            ]
            stage.pen.fill(np.array(pane), (150, 212, 255))
    for side in (0, 1):
        edge = x - 0.03 if side == 0 else x + 0.37
        inner = edge + (0.1 if side == 0 else -0.1)
        stage.pen.fill(
            smooth(
                [
                    (edge, y - 0.04, 1),
                    (inner, y - 0.04, 1),
                    (inner, y + 0.2),
                    (edge + (inner - edge) * 0.4, y + 0.46, 1),
                    (edge, y + 0.46, 1),
                ]
            ),
            curtain,
        )


INTERIORS: dict[str, Callable[[Stage], None]] = {
    "indoors": _room,
    "classroom": _classroom,
    "underwater": _underwater,
}
"""Tags of places, and how they are drawn."""
