"""What places are made of: sky, ground, clouds, trees, stars, flowers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nadir.synthetic.canvas import Pen, circle
from nadir.synthetic.characters.face import star
from nadir.synthetic.palette import WHITE, Colour

if TYPE_CHECKING:
    import random


@dataclass(frozen=True)
class Stage:
    """What a place is drawn with: a pen in picture heights, the width, and chance."""

    pen: Pen
    wide: float
    rng: random.Random

    @property
    def scale(self) -> float:
        """How large things are drawn: smaller in narrow pictures."""
        return min(1.0, 0.3 + 0.7 * self.wide)

    def x(self) -> float:
        """Somewhere across the picture."""
        return self.rng.uniform(0, self.wide)

    def sky(self, *colours: Colour) -> None:
        """Fill everything with a vertical gradient, first colour on top."""
        self.pen.canvas.gradient(colours)

    def ground(self, y: float, colour: Colour) -> None:
        """Fill from height `y` (0 top, 1 bottom) down."""
        self.pen.fill(np.array([[0, y], [self.wide, y], [self.wide, 1.1], [0, 1.1]]), colour)

    def hill(self, y: float, swing: float, colour: Colour) -> None:
        """Fill below a wavy line around height `y`."""
        phase = self.rng.uniform(0, 6.28)
        x = np.linspace(-0.05, self.wide + 0.05, 40)
        line = np.stack([x, y + swing * np.sin(x * 4.2 + phase)], 1)
        self.pen.fill(np.vstack([line, [[self.wide + 0.1, 1.1], [-0.1, 1.1]]]), colour)


def cloud(stage: Stage, x: float, y: float, size: float, colour: Colour = WHITE) -> None:
    """A cloud around (x, y), about 3 * size wide."""
    size *= stage.scale
    for dx, dy, r in (
        (-1.0, 0.1, 0.55),
        (-0.35, -0.25, 0.75),
        (0.45, -0.15, 0.7),
        (1.05, 0.12, 0.5),
    ):
        stage.pen.fill(circle(x + dx * size, y + dy * size, r * size), colour)
    base = np.array(
        [
            [x - size, y],
            [x + 1.05 * size, y],
            [x + 1.05 * size, y + 0.62 * size],
            [x - size, y + 0.64 * size],
        ]
    )
    stage.pen.fill(base, colour)


def clouds(stage: Stage, count: int, colour: Colour = WHITE) -> None:
    """Some clouds in the upper part."""
    for _ in range(count):
        cloud(
            stage, stage.x(), stage.rng.uniform(0.08, 0.42), stage.rng.uniform(0.05, 0.11), colour
        )


def stars(stage: Stage, count: int, low: float = 0.75) -> None:
    """Stars above height `low`."""
    for _ in range(count):
        x, y, r = stage.x(), stage.rng.uniform(0, low), stage.rng.uniform(0.006, 0.02)
        stage.pen.fill(
            star(x, y, r, tips=4, depth=0.4) if r > 0.012 else circle(x, y, r * 0.7, n=8),
            (255, 246, 206),
        )


def tree(stage: Stage, x: float, y: float, size: float, leaves: Colour) -> None:
    """A leafy tree standing on (x, y), about 1.7 * size high."""
    size *= stage.scale
    trunk = np.array(
        [
            [x - 0.1 * size, y],
            [x - 0.07 * size, y - 0.8 * size],
            [x + 0.07 * size, y - 0.8 * size],
            [x + 0.1 * size, y],
        ]
    )
    stage.pen.fill(trunk, (120, 84, 62))
    for dx, dy, r in ((-0.34, -0.9, 0.36), (0.34, -0.9, 0.36), (0, -1.25, 0.42), (0, -0.86, 0.36)):
        stage.pen.fill(circle(x + dx * size, y + dy * size, r * size), leaves)


def pine(stage: Stage, x: float, y: float, size: float) -> None:
    """A snowy pine standing on (x, y)."""
    size *= stage.scale
    for step in range(3):
        top, half = y - size * (1 - step * 0.27), size * (0.2 + 0.08 * step)
        stage.pen.fill(
            np.array([[x, top], [x + half, top + 0.42 * size], [x - half, top + 0.42 * size]]),
            (58, 110, 96),
        )
        stage.pen.fill(
            np.array(
                [[x, top], [x + half * 0.4, top + 0.17 * size], [x - half * 0.4, top + 0.17 * size]]
            ),
            WHITE,
        )


def flower(stage: Stage, x: float, y: float, size: float, colour: Colour) -> None:
    """A flower with five petals around (x, y)."""
    for turn in range(5):
        angle = turn * 1.2566
        stage.pen.fill(
            circle(x + size * np.cos(angle), y + size * np.sin(angle), size * 0.75, n=12), colour
        )
    stage.pen.fill(circle(x, y, size * 0.6, n=12), (255, 214, 84))
