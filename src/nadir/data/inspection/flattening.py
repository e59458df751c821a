"""Every kind of pixel as plain RGB, and an image reduced without a second one in memory.

The rules are those that `nadir.data.inspection.decoding` states.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from nadir.data.inspection.colour import colours_of
from nadir.data.inspection.perceptual_hash import luma
from nadir.data.quarantine import ImageError, Reason

# A strip and its copies stay in the processor's cache, which halves the time.
_STRIP_PIXELS = 1 << 17


def reduced(
    image: Image.Image, background: tuple[int, int, int], across: int, down: int
) -> Image.Image:
    """An image reduced by whole pixels, RGB; strip by strip, so that no second one is in memory."""
    width, height = image.size
    rows = max(_STRIP_PIXELS // width // down, 1) * down
    whole = Image.new("RGB", (-(-width // across), -(-height // down)))
    as_stored = colours_of(image).transform is None
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        if as_stored and strip.mode in ("L", "RGB") and not strip.has_transparency_data:
            small = strip.reduce((across, down)).convert("RGB")
        else:
            small = to_rgb(strip, background).reduce((across, down))
        whole.paste(small, (0, top // down))
    return whole


def greyed(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """A palette's image as 8-bit luma: each colour is flattened and weighed, not each pixel."""
    swatch = image.crop((0, 0, 256, 1))
    swatch.putdata(range(256))
    table = np.rint(luma(to_rgb(swatch, background))).astype(np.uint8)
    grey = image.point(table.ravel().tolist(), "L")
    # Both have been seen to in the palette.
    for name in ("transparency", "icc_profile"):
        grey.info.pop(name, None)
    return grey


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
