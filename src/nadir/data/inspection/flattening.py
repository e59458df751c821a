"""Every kind of pixel as plain RGB.

The rules are those that `nadir.data.inspection.decoding` states.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from nadir.data.inspection.colour import colours_of
from nadir.data.quarantine import ImageError, Reason


def to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """An image as sRGB, what is transparent flattened on `background` (0 to 255 each).

    Raises:
        ImageError: Nothing says which of its values is white.
    """
    if image.mode == "F":
        raise ImageError(Reason.UNREADABLE, "floating-point pixels have no fixed white")
    colours = colours_of(image)
    if image.mode.startswith("I"):
        return _without_clear(image, colours.plain(_from_16_bit(image)), background)
    if not image.has_transparency_data:
        return colours.plain(image)
    if image.mode == "LA" and colours.transform is None:
        return _from_grey(image, background)
    layered = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = layered.getchannel("A")
    opaque = alpha.getextrema() == (255, 255)
    if opaque or colours.transform is not None:
        layered = colours.plain(layered)
    if opaque:
        return layered
    canvas = Image.new("RGB", layered.size, background)
    canvas.paste(layered, mask=alpha)
    return canvas


def opacity(image: Image.Image) -> Image.Image:
    """The opacity of an image with transparency, 8-bit grey."""
    clear = image.info.get("transparency")
    if image.mode.startswith("I") and isinstance(clear, int):
        return Image.fromarray((np.asarray(image) != clear).astype(np.uint8) * 255)
    return image.convert("RGBA").getchannel("A")


def _from_grey(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Grey with alpha, flattened once for each level of the background; most have one."""
    grey, alpha = image.split()
    flat = {level: Image.new("L", image.size, level) for level in background}
    for canvas in flat.values():
        canvas.paste(grey, mask=alpha)
    return Image.merge("RGB", [flat[level] for level in background])


def _without_clear(
    image: Image.Image, plain: Image.Image, background: tuple[int, int, int]
) -> Image.Image:
    """16-bit grey, whose one transparent level Pillow passes over."""
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        plain.paste(background, mask=Image.fromarray(np.asarray(image) == clear))
    return plain


def _from_16_bit(image: Image.Image) -> Image.Image:
    values: np.ndarray[Any, np.dtype[Any]] = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ImageError(Reason.UNREADABLE, "32-bit pixels have no fixed white")
    return Image.fromarray((values >> 8).astype(np.uint8))
