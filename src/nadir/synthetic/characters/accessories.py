"""What is worn on head, face and neck, drawn behind or in front of the hair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.synthetic.canvas import circle, limb, smooth
from nadir.synthetic.characters.face import star
from nadir.synthetic.characters.garments import bow
from nadir.synthetic.characters.headwear import HEADWEAR
from nadir.synthetic.palette import CLOTH, WHITE, mix

if TYPE_CHECKING:
    from collections.abc import Callable

    from nadir.synthetic.canvas import Pen
    from nadir.synthetic.characters.looks import Look

HEIGHT = {"witch_hat": 2.2, "rabbit_ears": 2.15, "halo": 1.75, "crown": 1.75,
"santa_hat": 1.75, "straw_hat": 1.55,
          "beanie": 1.62, "cat_ears": 1.6, "fox_ears": 1.7, "wolf_ears": 1.7, "horns": 1.7,
          "top_hat": 2.0, "tiara": 1.5,
          "hair_bow": 1.45, "propeller_hair_ornament": 1.75}  # fmt: skip
"""How far the head reaches upwards with an accessory, in head radii."""

WIDTH = {
    "witch_hat": 1.6,
    "straw_hat": 1.7,
    "fairy_wings": 1.75,
    "angel_wings": 1.8,
    "bat_wings": 1.8,
}
"""Half width with an accessory, in head radii."""

OVER_FACE = {"glasses", "eyepatch", "round_eyewear", "sunglasses"}


def draw_behind(pen: Pen, look: Look) -> None:
    """Wings and tails, behind everything."""
    for name in look.accessories:
        if name in _BEHIND:
            _BEHIND[name](pen, look)


def draw_on_face(pen: Pen, look: Look) -> None:
    """Glasses and patches, between face and bangs."""
    for name in look.accessories:
        if name in OVER_FACE:
            _FRONT[name](pen, look)


def draw_on_head(pen: Pen, look: Look) -> None:
    """Everything that lies over the hair."""
    for name in look.accessories:
        if name in _FRONT and name not in OVER_FACE:
            _FRONT[name](pen, look)


def _ears(pen: Pen, look: Look, *, tip: tuple[float, float], wide: float) -> None:
    tone = look.hair_tone()
    for side in (-1, 1):
        outer = smooth([(side * (tip[0] - wide), -0.98, 1), (side * (tip[0] - 0.16),
        tip[1] + 0.2), (side * tip[0], tip[1], 1),
                        (side * (tip[0] + 0.2), -1.0),
                        (side * (tip[0] + 0.2), -0.66, 1)])  # fmt: skip
        pen.shape(outer, tone)
        inner = np.array(
            [
                [side * (tip[0] - wide * 0.5), -0.98],
                [side * (tip[0] - 0.03), tip[1] + 0.2],
                [side * (tip[0] + 0.08), -0.84],
            ]
        )
        pen.fill(inner, mix((255, 150, 170), tone, 0.15))


def _rabbit(pen: Pen, look: Look) -> None:
    tone = mix(look.hair_tone(), WHITE, 0.35)
    for side in (-1, 1):
        ear = pen.at(side * 0.45, -1.5, tilt=side * 12)
        ear.shape(circle(0, 0, 0.22, 0.62), tone)
        ear.fill(circle(0, 0.05, 0.11, 0.44, n=24), (255, 170, 186))


def _glasses(pen: Pen, look: Look) -> None:
    frame = (
        (60, 44, 56)
        if look.accent in {"white", "yellow"}
        else mix(CLOTH[look.accent], (40, 30, 40), 0.35)
    )
    for side in (-1, 1):
        pen.line(circle(side * 0.43, 0.26, 0.33, 0.31), frame, 0.06)
    pen.line(np.array([[-0.1, 0.22], [0.1, 0.22]]), frame, 0.06)


def _sunglasses(pen: Pen, _look: Look) -> None:
    for side in (-1, 1):
        lens = smooth(
            [
                (side * 0.08, 0.02, 1),
                (side * 0.8, 0.02, 1),
                (side * 0.72, 0.42),
                (side * 0.4, 0.52),
                (side * 0.14, 0.4),
            ]
        )
        pen.shape(lens, (50, 44, 60))
        pen.line(np.array([[side * 0.5, 0.12], [side * 0.4, 0.3]]), (150, 150, 175), 0.06)
    pen.line(np.array([[-0.1, 0.08], [0.1, 0.08]]), (50, 44, 60), 0.07)


def _eyepatch(pen: Pen, _look: Look) -> None:
    pen.line(np.array([[-0.7, -0.6], [0.95, 0.32]]), (50, 44, 52), 0.07)
    pen.shape(circle(0.43, 0.24, 0.3, 0.28), (58, 50, 60))


def _hair_bow(pen: Pen, look: Look) -> None:
    bow(pen, 0.0, -1.14, 0.5, CLOTH[look.accent])


def _hair_ribbon(pen: Pen, look: Look) -> None:
    tied = {"twintails": (-1.06, 1.06), "side_ponytail": (1.02,), "ponytail": (0.72,)}
    for x in tied.get(look.hair_style, (-0.86, 0.86)):
        bow(pen, x, -1.02 if look.hair_style == "ponytail" else -0.72, 0.32, CLOTH[look.accent])


def _hairclip(pen: Pen, look: Look) -> None:
    for y in (-0.5, -0.36):
        pen.line(np.array([[0.52, y], [0.84, y - 0.06]]), CLOTH[look.accent], 0.09)


def _hair_flower(pen: Pen, look: Look) -> None:
    for turn in range(5):
        angle = turn * 2 * np.pi / 5 - np.pi / 2
        pen.shape(
            circle(0.78 + 0.2 * np.cos(angle), -0.62 + 0.2 * np.sin(angle), 0.16, n=18),
            CLOTH[look.accent],
        )
    pen.fill(circle(0.78, -0.62, 0.12, n=16), (255, 214, 80))


def _star_clip(pen: Pen, _look: Look) -> None:
    pen.shape(star(0.66, -0.56, 0.28), (255, 220, 84))


def _horns(pen: Pen, _look: Look) -> None:
    for side in (-1, 1):
        horn = smooth(
            [
                (side * 0.42, -1.04, 1),
                (side * 0.66, -1.4),
                (side * 0.55, -1.68, 1),
                (side * 0.92, -1.3),
                (side * 0.8, -0.84, 1),
            ]
        )
        pen.shape(horn, (170, 50, 70))


def _scarf(pen: Pen, look: Look) -> None:
    cloth = CLOTH[look.accent]
    pen.shape(np.array([[0.1, 1.0], [0.42, 1.0], [0.5, 1.75], [0.18, 1.8]]), cloth)
    pen.shape(
        smooth([(-0.58, 0.86), (0, 0.94), (0.58, 0.86), (0.6, 1.12), (0, 1.28), (-0.6, 1.12)]),
        cloth,
        shade=circle(0, 0.9, 0.6, 0.16),
    )


def _choker(pen: Pen, look: Look) -> None:
    pen.line(np.array([[-0.17, 0.96], [0, 1.0], [0.17, 0.96]]), CLOTH[look.accent], 0.1)


def _wings(pen: Pen, _look: Look, name: str) -> None:
    colour = {
        "angel_wings": (250, 250, 255),
        "bat_wings": (72, 48, 84),
        "fairy_wings": (176, 236, 240),
    }[name]
    for side in (-1, 1):
        if name == "bat_wings":
            points = [
                (0.2, 1.3, 1),
                (1.0, 0.55),
                (1.75, 0.6, 1),
                (1.6, 1.1, 1),
                (1.3, 1.05),
                (1.15, 1.5, 1),
                (0.8, 1.3),
                (0.5, 1.7, 1),
            ]
        else:
            points = [
                (0.2, 1.2, 1),
                (0.9, 0.6),
                (1.75, 0.35, 1),
                (1.7, 0.9),
                (1.35, 1.2, 1),
                (1.4, 1.5),
                (0.9, 1.8),
                (0.3, 1.6, 1),
            ]
        wing = smooth([(side * p[0], *p[1:]) for p in points])
        pen.shape(wing, colour, shade=circle(side * 0.6, 1.5, 0.5))


def _tail(pen: Pen, look: Look) -> None:
    tone = look.hair_tone()
    pen.shape(limb([(0.2, 2.0), (0.85, 2.1), (1.15, 1.7), (1.05, 1.25)], 0.13, 0.11), tone)


_BEHIND: dict[str, Callable[[Pen, Look], None]] = {
    "angel_wings": lambda pen, look: _wings(pen, look, "angel_wings"),
    "bat_wings": lambda pen, look: _wings(pen, look, "bat_wings"),
    "fairy_wings": lambda pen, look: _wings(pen, look, "fairy_wings"),
    "cat_tail": _tail,
}

_FRONT: dict[str, Callable[[Pen, Look], None]] = {
    **HEADWEAR,
    "glasses": _glasses,
    "sunglasses": _sunglasses,
    "eyepatch": _eyepatch,
    "hair_bow": _hair_bow,
    "hair_ribbon": _hair_ribbon,
    "hairclip": _hairclip,
    "hair_flower": _hair_flower,
    "star_hair_ornament": _star_clip,
    "horns": _horns,
    "scarf": _scarf,
    "choker": _choker,
    "rabbit_ears": _rabbit,
    "cat_ears": lambda pen, look: _ears(pen, look, tip=(0.78, -1.5), wide=0.5),
    "fox_ears": lambda pen, look: _ears(pen, look, tip=(0.72, -1.66), wide=0.5),
}
