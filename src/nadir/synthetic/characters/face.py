"""The head without hair: face, ears, eyes, brows, mouth, blush."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.synthetic.canvas import arc, circle, smooth
from nadir.synthetic.palette import BLACK, EYES, SKIN, WHITE, Colour, mix, shadow_of

if TYPE_CHECKING:
    from nadir.synthetic.canvas import Pen
    from nadir.synthetic.characters.looks import Look

_EYE_X, _EYE_Y = 0.43, 0.24
_LASH: Colour = (50, 34, 48)
_MOUTH: Colour = (196, 62, 74)
_BLUSH: Colour = (255, 120, 130)

FACE = smooth(
    [(0, -1.0), (0.6, -0.86), (0.96, -0.3), (0.98, 0.22), (0.78, 0.62), (0.4, 0.87), (0, 0.95),
     (-0.4, 0.87), (-0.78, 0.62), (-0.98, 0.22), (-0.96, -0.3), (-0.6, -0.86)]
)  # fmt: skip
_FACE_SHADE = smooth(
    [(-1.2, -1.2), (1.2, -1.2), (1.2, 0.0), (0.5, -0.16), (0, -0.12), (-0.5, -0.2), (-1.2, -0.05)]
)


def draw_head(pen: Pen, look: Look) -> None:
    """The bare head at the pen's origin, one unit in radius, facing the viewer."""
    skin = SKIN[look.skin]
    for side in (-1, 1):
        if "pointy_ears" in look.features:
            tip = smooth([(side * 0.85, -0.05, 1), (side * 1.5, -0.22, 1), (side * 0.9, 0.4, 1)])
            pen.shape(tip, skin)
        else:
            pen.shape(circle(side * 0.98, 0.22, 0.14, 0.2, n=20), skin)
    pen.shape(FACE, skin, shade=_FACE_SHADE)


def draw_face(pen: Pen, look: Look) -> None:
    """Eyes, brows, mouth and blush on the head."""
    if look.has("blush"):
        _blush(pen, look)
    for side in (-1, 1):
        if "eyepatch" in look.accessories and side == 1:
            continue
        if look.has("closed_eyes") or (look.has("one_eye_closed") and side == 1):
            _closed_eye(pen, side, happy=not look.has("frown"))
        else:
            _open_eye(pen, side, look)
        _brow(pen, side, look)
    if look.has("tears"):
        for side in (-1, 1):
            drop = smooth(
                [
                    (side * 0.5, 0.46, 1),
                    (side * 0.62, 0.68),
                    (side * 0.5, 0.76),
                    (side * 0.38, 0.68),
                ]
            )
            pen.shape(drop, (130, 200, 255))
    _nose(pen, look)
    _mouth(pen, look)


def _open_eye(pen: Pen, side: int, look: Look) -> None:
    iris = EYES[look.eyes]
    x, wide = side * _EYE_X, look.has("wide-eyed")
    height = 0.34 if wide else 0.3
    white = circle(x, _EYE_Y, 0.235, height + 0.015)
    pen.fill(white, WHITE)
    ball = circle(x, _EYE_Y + 0.01, 0.16 if wide else 0.2, height - (0.08 if wide else 0.01))
    pen.fill(ball, iris)
    upper = circle(x, _EYE_Y - 0.2, 0.3, 0.22)
    pen.clipped(ball, upper, pen.style.colour(mix(iris, BLACK, 0.42)))
    lower = circle(x, _EYE_Y + 0.22, 0.15, 0.11)
    pen.clipped(ball, lower, pen.style.colour(mix(iris, WHITE, 0.5)))
    _pupil(pen, x, look)
    pen.fill(circle(x - 0.07, _EYE_Y - 0.12, 0.085, 0.095, n=20), WHITE)
    pen.fill(circle(x + 0.085, _EYE_Y + 0.13, 0.045, n=14), WHITE)
    lash = arc(x, _EYE_Y + 0.02, 0.245, height + 0.02, 192, 348)
    pen.line(lash, _LASH, 0.085)
    flick = np.array([[x + side * 0.235, _EYE_Y - 0.06], [x + side * 0.32, _EYE_Y - 0.16]])
    if look.girl:
        pen.line(flick, _LASH, 0.06)


def _pupil(pen: Pen, x: float, look: Look) -> None:
    if look.has("star-shaped_pupils"):
        pen.fill(star(x, _EYE_Y, 0.14), (255, 236, 120))
    elif look.has("heart-shaped_pupils"):
        pen.fill(heart(x, _EYE_Y, 0.12), (255, 90, 140))
    else:
        pen.fill(circle(x, _EYE_Y, 0.085, 0.13, n=20), mix(EYES[look.eyes], BLACK, 0.78))


def _closed_eye(pen: Pen, side: int, *, happy: bool) -> None:
    x = side * _EYE_X
    curve = (
        arc(x, _EYE_Y + 0.14, 0.23, 0.22, 190, 350)
        if happy
        else arc(x, _EYE_Y - 0.02, 0.23, 0.2, 10, 170)
    )
    pen.line(curve, _LASH, 0.085)


def _brow(pen: Pen, side: int, look: Look) -> None:
    slope = {"angry": 0.12, "frown": -0.08}.get(look.mood, 0.0)
    colour = mix(look.hair_tone(), (40, 26, 40), 0.55)
    inner, outer = side * 0.26, side * 0.6
    curve = smooth(
        [(inner, -0.2 + slope), (side * 0.44, -0.27), (outer, -0.22 - slope / 2)], closed=False
    )
    pen.line(curve, colour, 0.05)


def _nose(pen: Pen, look: Look) -> None:
    tone = mix(shadow_of(SKIN[look.skin]), (200, 90, 80), 0.4)
    pen.fill(circle(0, 0.46, 0.035, 0.028, n=12), tone)


def _mouth(pen: Pen, look: Look) -> None:
    dark = mix(_LASH, _MOUTH, 0.35)
    if look.has("open_mouth"):
        top = 0.58
        mouth = smooth(
            [(-0.2, top, 1), (0, top + 0.03), (0.2, top, 1), (0.12, 0.78), (0, 0.82), (-0.12, 0.78)]
        )
        pen.fill(mouth, _MOUTH)
        pen.clipped(mouth, circle(0, 0.83, 0.13, 0.09), pen.style.colour((250, 140, 140)))
        pen.edge(mouth, dark)
        if look.has("fang"):
            pen.fill(np.array([[0.05, 0.59], [0.15, 0.585], [0.1, 0.69]]), WHITE)
        return
    if look.has("smile"):
        curve = arc(0, 0.55, 0.19, 0.15, 15, 165)
    elif look.has(":3"):
        curve = np.vstack([arc(0.1, 0.6, 0.1, 0.08, 0, 180), arc(-0.1, 0.6, 0.1, 0.08, 0, 180)])
    elif look.mood in {"frown", "angry"}:
        curve = arc(0, 0.75, 0.17, 0.13, 200, 340)
    elif look.has("surprised"):
        pen.shape(circle(0, 0.68, 0.08, 0.1, n=20), _MOUTH)
        return
    else:
        curve = np.array([[-0.09, 0.65], [0.09, 0.65]])
    pen.line(curve, dark, 0.06)
    if look.has("tongue_out"):
        pen.shape(circle(0.06, 0.74, 0.075, 0.09, n=16), (255, 120, 136))


def _blush(pen: Pen, look: Look) -> None:
    tone = mix(SKIN[look.skin], _BLUSH, 0.62)
    for side in (-1, 1):
        pen.fill(circle(side * 0.64, 0.5, 0.2, 0.12, n=24), tone)


def star(x: float, y: float, radius: float, *, tips: int = 5, depth: float = 0.45) -> np.ndarray:
    """A star's outline, tip up, [2 * tips, 2]."""
    angle = np.arange(2 * tips) * (np.pi / tips) - np.pi / 2
    reach = np.where(np.arange(2 * tips) % 2 == 0, radius, radius * depth)
    return np.stack([x + reach * np.cos(angle), y + reach * np.sin(angle)], 1)


def heart(x: float, y: float, size: float) -> np.ndarray:
    """A heart's outline about as wide as 2 * size."""
    points = [(0, -0.5, 1), (0.6, -0.95), (1.0, -0.35), (0, 0.95, 1), (-1.0, -0.35), (-0.6, -0.95)]
    scaled = [(x + size * p[0], y + size * p[1], *p[2:]) for p in points]
    return smooth(scaled)
