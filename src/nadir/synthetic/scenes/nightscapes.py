"""Places after sunset and beyond the sky."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.synthetic.canvas import arc, circle, smooth
from nadir.synthetic.palette import mix
from nadir.synthetic.scenes.setpieces import stars

if TYPE_CHECKING:
    from collections.abc import Callable

    from nadir.synthetic.scenes.setpieces import Stage


def _night(stage: Stage) -> None:
    stage.sky((14, 16, 56), (34, 34, 100), (84, 62, 142))
    stars(stage, 46)
    x, y = stage.rng.choice((0.18, 0.82)) * stage.wide, 0.17
    outer = arc(x, y, 0.085, 0.085, 50, 310, n=36)
    inner = arc(x + 0.045, y, 0.066, 0.066, 278, 82, n=24)
    stage.pen.fill(np.vstack([outer, inner]), (255, 242, 186))
    stage.hill(0.86, 0.03, (26, 30, 70))
    stage.hill(0.93, 0.02, (18, 20, 50))


def _sunset(stage: Stage) -> None:
    stage.sky((92, 60, 150), (236, 100, 100), (255, 190, 96))
    stage.pen.fill(
        circle(stage.wide / 2 + stage.rng.uniform(-0.25, 0.25) * stage.wide, 0.62, 0.14),
        (255, 236, 150),
    )
    stage.ground(0.66, (150, 70, 116))
    for _ in range(12):
        x, y = stage.x(), stage.rng.uniform(0.69, 0.95)
        stage.pen.line(np.array([[x - 0.05, y], [x + 0.05, y]]), (255, 178, 110), 0.012)


def _city(stage: Stage) -> None:
    stage.sky((24, 22, 62), (66, 46, 112), (170, 84, 130))
    stars(stage, 16, 0.35)
    x = -0.05
    while x < stage.wide:
        w, top = stage.rng.uniform(0.14, 0.24), stage.rng.uniform(0.3, 0.62)
        stage.pen.fill(
            np.array([[x, top], [x + w, top], [x + w, 1.05], [x, 1.05]]),
            stage.rng.choice(((38, 36, 76), (50, 44, 90), (30, 28, 60))),
        )
        for row in np.arange(top + 0.05, 0.95, 0.075):
            for column in np.arange(x + 0.03, x + w - 0.04, 0.055):
                if stage.rng.random() < 0.55:
                    pane = [
                        [column, row],
                        [column + 0.028, row],
                        [column + 0.028, row + 0.036],
                        [column, row + 0.036],
                    ]
                    stage.pen.fill(np.array(pane), (255, 220, 120))
        x += w + 0.015


def _space(stage: Stage) -> None:
    stage.sky((10, 8, 30), (36, 18, 66), (14, 10, 40))
    stars(stage, 60, 1.0)
    x, y = stage.rng.choice((0.18, 0.82)) * stage.wide, 0.22
    stage.pen.fill(circle(x, y, 0.12), (240, 160, 110))
    stage.pen.line(arc(x, y, 0.19, 0.05, -20, 200), (255, 224, 170), 0.02)
    stage.pen.fill(circle(stage.wide - x, 0.8, 0.06), (120, 190, 220))


def _fireworks(stage: Stage) -> None:
    stage.sky((12, 12, 46), (40, 28, 84))
    for _ in range(5):
        x, y = stage.x(), stage.rng.uniform(0.1, 0.5)
        colour = stage.rng.choice(
            ((255, 120, 120), (255, 220, 110), (120, 220, 255), (190, 150, 255), (140, 240, 160))
        )
        for turn in range(12):
            angle = turn * 0.5236
            ray = np.array(
                [
                    [x + 0.03 * np.cos(angle), y + 0.03 * np.sin(angle)],
                    [x + 0.11 * np.cos(angle), y + 0.11 * np.sin(angle)],
                ]
            )
            stage.pen.line(ray, colour, 0.012)
    stage.hill(0.88, 0.02, (20, 22, 52))


def _aurora(stage: Stage) -> None:
    stage.sky((8, 16, 50), (18, 52, 84))
    for step, colour in enumerate(((60, 214, 160), (90, 240, 180), (130, 120, 220))):
        y = 0.2 + 0.09 * step
        wave = smooth(
            [
                (-0.1, y),
                (stage.wide * 0.3, y + 0.12),
                (stage.wide * 0.65, y - 0.05),
                (stage.wide + 0.1, y + 0.1),
            ],
            closed=False,
        )
        stage.pen.line(wave, mix(colour, (12, 30, 66), 0.35), 0.05)
    stars(stage, 24, 0.5)
    stage.hill(0.82, 0.03, (206, 224, 246))


NIGHTSCAPES: dict[str, Callable[[Stage], None]] = {
    "starry_sky": _night,
    "sunset": _sunset,
    "cityscape": _city,
    "space": _space,
    "fireworks": _fireworks,
    "aurora": _aurora,
}
"""Tags of places, and how they are drawn."""
