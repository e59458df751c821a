"""Places by day."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.synthetic.canvas import arc, circle, smooth
from nadir.synthetic.palette import WHITE
from nadir.synthetic.scenes.setpieces import cloud, clouds, flower, pine, tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from nadir.synthetic.scenes.setpieces import Stage


def _day(stage: Stage) -> None:
    stage.sky((74, 158, 246), (130, 198, 255), (210, 238, 255))
    clouds(stage, 4)
    stage.hill(0.8, 0.025, (130, 206, 104))
    stage.hill(0.88, 0.02, (98, 186, 84))


def _ocean(stage: Stage) -> None:
    stage.sky((90, 178, 250), (160, 216, 255), (226, 244, 255))
    clouds(stage, 3)
    stage.ground(0.5, (44, 134, 214))
    for _ in range(7):
        x, y = stage.x(), stage.rng.uniform(0.54, 0.72)
        stage.pen.line(arc(x, y, 0.05, 0.014, 200, 340), (150, 206, 246), 0.008)
    stage.hill(0.78, 0.015, (236, 248, 255))
    stage.hill(0.8, 0.015, (248, 226, 170))


def _forest(stage: Stage) -> None:
    stage.sky((160, 214, 190), (206, 236, 190))
    stage.hill(0.74, 0.02, (96, 160, 96))
    for x in np.arange(0, stage.wide + 0.3, 0.3):
        tree(
            stage,
            x + stage.rng.uniform(-0.08, 0.08),
            0.8,
            stage.rng.uniform(0.42, 0.6),
            stage.rng.choice(((58, 138, 78), (78, 160, 84), (44, 118, 82))),
        )
    stage.hill(0.82, 0.02, (84, 168, 84))


def _snow(stage: Stage) -> None:
    stage.sky((140, 178, 224), (200, 222, 244))
    for _ in range(4):
        pine(stage, stage.x(), 0.82, stage.rng.uniform(0.34, 0.5))
    stage.hill(0.78, 0.03, (240, 246, 255))
    for _ in range(40):
        stage.pen.fill(
            circle(stage.x(), stage.rng.random(), stage.rng.uniform(0.006, 0.015), n=10), WHITE
        )


def _blossoms(stage: Stage) -> None:
    stage.sky((160, 214, 255), (226, 240, 255))
    stage.hill(0.8, 0.02, (154, 208, 120))
    for share in (0.03, 0.97):
        tree(stage, share * stage.wide, 0.84, 0.52, (255, 176, 204))
    for _ in range(34):
        petal = circle(stage.x(), stage.rng.random(), 0.014, 0.008, n=10)
        stage.pen.fill(petal, (255, 160, 196))


def _meadow(stage: Stage) -> None:
    stage.sky((120, 196, 255), (214, 240, 255))
    clouds(stage, 2)
    stage.hill(0.66, 0.02, (110, 190, 92))
    tones = ((255, 110, 140), (255, 250, 250), (250, 200, 60), (180, 120, 230))
    for row in range(5):
        for _ in range(int(9 * stage.wide) + 2):
            y = 0.7 + row * 0.065
            flower(
                stage,
                stage.x(),
                y + stage.rng.uniform(-0.02, 0.02),
                0.011 + row * 0.0025,
                stage.rng.choice(tones),
            )


def _rain(stage: Stage) -> None:
    stage.sky((92, 104, 128), (140, 152, 172), (176, 186, 200))
    for _ in range(4):
        cloud(stage, stage.x(), stage.rng.uniform(0.04, 0.14), 0.12, (112, 122, 144))
    stage.ground(0.82, (104, 116, 136))
    for _ in range(3):
        stage.pen.fill(
            circle(stage.x(), stage.rng.uniform(0.87, 0.96), 0.1, 0.018), (156, 176, 204)
        )
    for _ in range(50):
        x, y = stage.x(), stage.rng.random()
        stage.pen.line(np.array([[x, y], [x - 0.014, y + 0.06]]), (200, 218, 240), 0.007)


def _mountain(stage: Stage) -> None:
    stage.sky((108, 184, 246), (206, 234, 255))
    for share, top, half in ((0.25, 0.22, 0.5), (0.8, 0.32, 0.42)):
        x = share * stage.wide
        stage.pen.fill(np.array([[x, top], [x + half, 0.82], [x - half, 0.82]]), (112, 124, 164))
        cap = [
            [x, top],
            [x + half * 0.25, top + 0.15],
            [x + half * 0.1, top + 0.12],
            [x, top + 0.18],
            [x - half * 0.1, top + 0.12],
            [x - half * 0.25, top + 0.15],
        ]
        stage.pen.fill(np.array(cap), WHITE)
    stage.hill(0.78, 0.02, (122, 190, 104))
    stage.hill(0.88, 0.02, (92, 168, 88))


def _autumn(stage: Stage) -> None:
    stage.sky((250, 214, 160), (255, 238, 206))
    stage.hill(0.78, 0.02, (206, 150, 78))
    for share in (0.02, 0.3, 0.72, 0.98):
        tree(
            stage,
            share * stage.wide,
            0.82,
            stage.rng.uniform(0.45, 0.62),
            stage.rng.choice(((230, 104, 44), (214, 64, 48), (240, 164, 50))),
        )
    for _ in range(24):
        stage.pen.fill(circle(stage.x(), stage.rng.random(), 0.016, 0.009, n=10), (222, 92, 40))


def _desert(stage: Stage) -> None:
    stage.sky((110, 190, 240), (250, 232, 190))
    stage.pen.fill(circle(0.8 * stage.wide, 0.16, 0.08), (255, 246, 190))
    stage.hill(0.68, 0.04, (240, 196, 120))
    stage.hill(0.82, 0.03, (226, 172, 96))
    for share in (0.1, 0.9):
        x = share * stage.wide
        stage.pen.line(np.array([[x, 0.84], [x, 0.56]]), (70, 150, 92), 0.06)
        stage.pen.line(
            smooth([(x, 0.74), (x + 0.08, 0.72), (x + 0.08, 0.62)], closed=False),
            (70, 150, 92),
            0.04,
        )


def _rainbow(stage: Stage) -> None:
    stage.sky((96, 180, 250), (206, 234, 255))
    hues = (
        (236, 70, 70),
        (250, 160, 60),
        (250, 226, 90),
        (96, 196, 100),
        (80, 140, 236),
        (150, 96, 210),
    )
    for step, colour in enumerate(hues):
        reach = max(stage.wide * 0.55, 0.5) - 0.032 * step
        stage.pen.line(
            arc(stage.wide / 2, 0.85, reach, 0.78 - 0.032 * step, 180, 360, n=48), colour, 0.036
        )
    clouds(stage, 2)
    stage.hill(0.82, 0.02, (112, 196, 94))


LANDSCAPES: dict[str, Callable[[Stage], None]] = {
    "sky": _day,
    "ocean": _ocean,
    "forest": _forest,
    "snow": _snow,
    "cherry_blossoms": _blossoms,
    "flower_field": _meadow,
    "rain": _rain,
    "mountain": _mountain,
    "autumn_leaves": _autumn,
    "desert": _desert,
    "rainbow": _rainbow,
}
"""Tags of places, and how they are drawn."""
