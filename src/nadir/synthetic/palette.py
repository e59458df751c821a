"""Colours by name, and the few operations the drawing code needs on them."""

from __future__ import annotations

from nadir.ground.luminance import REC709

Colour = tuple[int, int, int]
"""sRGB, 0 to 255 per channel."""

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)

HAIR: dict[str, Colour] = {
    "blonde_hair": (250, 214, 92),
    "red_hair": (222, 40, 44),
    "blue_hair": (54, 106, 226),
    "black_hair": (52, 48, 66),
    "brown_hair": (140, 84, 50),
    "pink_hair": (250, 138, 178),
    "green_hair": (62, 170, 84),
    "purple_hair": (142, 76, 206),
    "white_hair": (238, 238, 246),
    "orange_hair": (248, 134, 40),
    "grey_hair": (150, 154, 168),
    "aqua_hair": (72, 208, 210),
}

EYES: dict[str, Colour] = {
    "blue_eyes": (44, 120, 236),
    "brown_eyes": (150, 84, 40),
    "green_eyes": (40, 168, 88),
    "red_eyes": (224, 40, 56),
    "purple_eyes": (150, 70, 214),
    "yellow_eyes": (240, 184, 30),
    "aqua_eyes": (30, 190, 204),
    "pink_eyes": (240, 96, 160),
    "orange_eyes": (242, 128, 30),
    "black_eyes": (52, 48, 60),
    "grey_eyes": (128, 136, 150),
}

CLOTH: dict[str, Colour] = {
    "white": (246, 246, 250),
    "black": (46, 44, 56),
    "blue": (58, 104, 208),
    "red": (214, 48, 56),
    "pink": (246, 150, 186),
    "green": (60, 154, 92),
    "purple": (136, 84, 190),
    "yellow": (248, 208, 72),
    "brown": (142, 94, 62),
    "grey": (148, 152, 164),
    "orange": (244, 138, 52),
    "aqua": (84, 204, 206),
}

BACKGROUND: dict[str, Colour] = {
    "white_background": WHITE,
    "black_background": BLACK,
    "blue_background": (40, 96, 220),
    "pink_background": (255, 176, 204),
    "grey_background": (150, 150, 150),
    "red_background": (214, 30, 40),
    "yellow_background": (255, 218, 60),
    "green_background": (50, 164, 80),
    "purple_background": (124, 66, 190),
    "orange_background": (248, 140, 40),
    "aqua_background": (96, 214, 220),
    "brown_background": (124, 82, 52),
}

SKIN: dict[str, Colour] = {
    "": (255, 226, 204),
    "pale_skin": (255, 240, 232),
    "tan": (232, 176, 132),
    "dark_skin": (150, 98, 68),
}


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`first` moved towards `second` by `share` (0 to 1), channel by channel."""
    return (
        round(first[0] + (second[0] - first[0]) * share),
        round(first[1] + (second[1] - first[1]) * share),
        round(first[2] + (second[2] - first[2]) * share),
    )


def luminance(colour: Colour) -> float:
    """Rec. 709 luminance of the gamma-encoded values, 0 to 1."""
    red, green, blue = (weight * value for weight, value in zip(REC709, colour, strict=True))
    return (red + green + blue) / 255


def saturate(colour: Colour, factor: float) -> Colour:
    """Move the colour away from its own grey (`factor` > 1) or towards it (< 1)."""
    grey = round(luminance(colour) * 255)
    moved = [min(255, max(0, round(grey + (channel - grey) * factor))) for channel in colour]
    return (moved[0], moved[1], moved[2])


def shadow_of(colour: Colour) -> Colour:
    """The same material in shade: darker, and warmer the way thin skin and bright cloth are."""
    red, green, blue = colour
    return (round(red * 0.84), round(green * 0.72), round(blue * 0.79))


def light_of(colour: Colour) -> Colour:
    """The same material where light falls on it."""
    return mix(colour, WHITE, 0.42)
