"""An image reduced by whole pixels, strip by strip, so that no second one is in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from nadir.data.inspection.colour import colours_of
from nadir.data.inspection.flattening import to_rgb
from nadir.data.inspection.lanes import mean_colours, mean_greys
from nadir.data.inspection.perceptual_hash import luma

if TYPE_CHECKING:
    from collections.abc import Callable

    Shrink = Callable[[Image.Image, int, int], Image.Image]

# A strip and its copies stay in the processor's cache, which halves the time.
_STRIP_PIXELS = 1 << 17


def reduced(
    image: Image.Image, background: tuple[int, int, int], across: int, down: int
) -> Image.Image:
    """An image reduced by `across` and `down` pixels, RGB, flattened on `background`.

    Raises:
        ImageError: Nothing says which of its values is white.
    """
    return _by_strips(image, _shrinking(image, background), across, down)


def reduced_luma(
    image: Image.Image, background: tuple[int, int, int], across: int, down: int
) -> Image.Image:
    """A palette's image reduced as 8-bit luma: its colours are flattened and weighed, not pixels.

    Returns:
        An RGB image, grey.
    """
    swatch = image.crop((0, 0, 256, 1))
    swatch.putdata(range(256))
    table = np.rint(luma(to_rgb(swatch, background))).astype(int).ravel().tolist()

    def shrink(strip: Image.Image, across: int, down: int) -> Image.Image:
        grey = strip.point(table, "L")
        # Transparency has been seen to in the palette.
        grey.info.clear()
        return grey.reduce((across, down)).convert("RGB")

    return _by_strips(image, shrink, across, down)


def _by_strips(image: Image.Image, shrink: Shrink, across: int, down: int) -> Image.Image:
    width, height = image.size
    rows = max(_STRIP_PIXELS // width // down, 1) * down
    whole = Image.new("RGB", (-(-width // across), -(-height // down)))
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        whole.paste(shrink(strip, across, down), (0, top // down))
    return whole


def _shrinking(image: Image.Image, background: tuple[int, int, int]) -> Shrink:
    """How a strip of an image becomes a small one."""
    as_stored = colours_of(image).transform is None
    if as_stored and image.mode in ("RGBA", "RGBX"):
        return lambda strip, *by: mean_colours(strip, background, *by)
    if as_stored and image.mode == "LA":
        return lambda strip, *by: mean_greys(strip, background, *by)
    if as_stored and image.mode in ("L", "RGB") and not image.has_transparency_data:
        return lambda strip, *by: strip.reduce(by).convert("RGB")
    return lambda strip, *by: to_rgb(strip, background).reduce(by)
