"""From a file to upright RGB pixels, by fixed rules.

The rules, the same for inspection, encoding and every page that shows an image:
- The real format counts, not the file name's ending.
- The size in the header is checked before a pixel is decoded. WebP counts double, because its
  decoder holds four images in memory. Large images are inspected one at a time.
- The first frame of an animation is the image. EXIF orientation is applied.
- Transparency is flattened on a stated colour.
- Embedded colour profiles are applied, by the rules of `colour`: pixels are sRGB.
- 16 bits become 8 by dropping the lower ones. Palettes and greys become RGB.
- Texts and other metadata say nothing about pixels and cost no image.
- Floating-point and 32-bit pixels are refused: nothing says which of their values is white.
- A file that ends before its last pixel is not an image, however much of it could be shown.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image, UnidentifiedImageError, WebPImagePlugin

from nadir.compute.worker import alone
from nadir.data.inspection import jpeg_segments, png_chunks
from nadir.data.inspection.colour import colours_of
from nadir.data.inspection.flattening import opacity, to_rgb
from nadir.data.inspection.perceptual_hash import SIDE, frequencies, reduction, turned
from nadir.data.inspection.reducing import reduced, reduced_luma
from nadir.data.quarantine import ImageError, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np

    from nadir.data.inspection.colour import Verdict

__all__ = [
    "DECODING",
    "FORMATS",
    "Glance",
    "ImageError",
    "decode",
    "glance",
    "open_alpha",
    "open_image",
    "open_small",
]

DECODING = 2
"""Raise when a rule here gives other pixels, so that no latent of the old ones is used again."""
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""What may be decoded, in Pillow's names; no format that runs programs or reads other files."""

_PILLOW_LIMIT = threading.Lock()
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTER_TURNS = (5, 6, 7, 8)
_LARGE_PIXELS = 1 << 24
_COPIES = {"WEBP": 4, "AVIF": 3}


def open_image(
    file: Path | BinaryIO, *, alpha_background: tuple[int, int, int], max_pixels: int
) -> Image.Image:
    """Decode a file by the rules of this module.

    Args:
        file: A path, or a file opened for reading.
        alpha_background: RGB (0-255) behind transparent pixels.
        max_pixels: Largest width times height.

    Returns:
        An RGB image, upright.

    Raises:
        ImageError: It is too large, truncated or no image.
    """
    return decode(file, alpha_background, max_pixels)[0]


def open_alpha(file: Path | BinaryIO, *, max_pixels: int) -> Image.Image | None:
    """The opacity of a file's pixels, upright, 0 (transparent) to 255; None where it has none.

    Raises:
        ImageError: It is too large, truncated or no image.
    """
    with _reading(file, max_pixels) as image:
        image.load()
        if not image.has_transparency_data:
            return None
        return _upright(opacity(image), _orientation(image))


@dataclass(frozen=True)
class Glance:
    """What a decoded image looks like from afar.

    Attributes:
        width: Of the image, pixels, upright.
        height: Of the image, pixels, upright.
        format: The real format: png, jpeg, webp ...
        low: What `measuring.measure` wants, upright [8, 8].
        colour: What became of its embedded colour profile; None when it has none.
    """

    width: int
    height: int
    format: str
    low: np.ndarray[tuple[int, int], np.dtype[np.floating[Any]]]
    colour: Verdict | None = None


def glance(file: Path | BinaryIO, background: tuple[int, int, int], max_pixels: int) -> Glance:
    """Decode a file to its last pixel by the rules of this module, and keep what is measured.

    It costs less than `open_image`: a JPEG's blocks are made no larger than needed, colours are
    converted in strips, so that a large image is in memory only once, and a palette's are weighed
    in the palette. The last rounds luma to 8 bits before it is averaged.

    Raises:
        ImageError: It is too large, truncated or no image.
    """
    with _reading(file, max_pixels) as image:
        width, height = image.size
        if image.format == "JPEG":
            image.draft(None, (4 * SIDE, 4 * SIDE))
        large = _COPIES.get(str(image.format), 1) * image.width * image.height > _LARGE_PIXELS
        with alone() if large else contextlib.nullcontext():
            pixels = _pixels(image)
            reduce = reduced_luma if pixels.mode == "P" else reduced
            small = reduce(pixels, background, *reduction(*image.size))
            low = frequencies(small, *image.size)
        orientation = _orientation(image)
        if orientation in _QUARTER_TURNS:
            width, height = height, width
        colour = colours_of(image).verdict
        return Glance(width, height, _kind(image), turned(low, orientation), colour)


def open_small(
    file: Path | BinaryIO, *, alpha_background: tuple[int, int, int], max_pixels: int, side: int
) -> Image.Image:
    """`open_image`, but already reduced where both sides are many times `side` pixels long.

    The shorter side keeps `side` pixels or more. Costs little more memory than the decoder's own.

    Raises:
        ImageError: It is too large, truncated or no image.
    """
    with _reading(file, max_pixels) as image:
        if image.format == "JPEG":
            image.draft(None, (2 * side, 2 * side))
        image.load()
        times = max(1, min(image.size) // side)
        small = reduced(image, alpha_background, times, times)
        return _upright(small, _orientation(image))


def decode(
    file: Path | BinaryIO, background: tuple[int, int, int], max_pixels: int
) -> tuple[Image.Image, str]:
    """The RGB image and its real format."""
    with _reading(file, max_pixels) as image:
        image.load()
        return to_rgb(_upright(image, _orientation(image)), background), _kind(image)


@contextlib.contextmanager
def _reading(file: Path | BinaryIO, max_pixels: int) -> Iterator[Image.Image]:
    """An image of a size that is allowed; what its decoder raises becomes an `ImageError`."""
    where = str(file) if isinstance(file, PurePath) else ""
    try:
        with _open_header(file) as image:
            _check_size(image, max_pixels, where)
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(Reason.UNREADABLE, "no known image format inside", where=where) from error
    except MemoryError as error:
        raise ImageError(Reason.TOO_LARGE, "not enough memory to decode it", where=where) from error
    except Exception as error:  # decoders raise anything, and one file must not end a run
        text = str(error).strip() or type(error).__name__
        early = "truncated" in text.lower()
        reason = Reason.TRUNCATED if early else Reason.UNREADABLE
        raise ImageError(reason, text[:200], where=where) from error


def _pixels(image: Image.Image) -> Image.Image:
    """Decode an opened image; a WebP's pixels stay where its decoder leaves them.

    Pillow would copy them; where memory is new for each image, that costs a fifth of decoding.
    """
    if not isinstance(image, WebPImagePlugin.WebPImageFile):
        image.load()
        return image
    data, _, _ = image._get_next()  # noqa: SLF001 - what its own `load` begins with
    frame = Image.frombuffer(image.rawmode, image.size, data, "raw", image.rawmode, 0, 1)
    frame.info = image.info
    return frame


def _check_size(image: Image.Image, max_pixels: int, where: str) -> None:
    limit = max_pixels // 2 if image.format == "WEBP" else max_pixels
    if image.width * image.height > limit:
        kind = " of WebP" if limit < max_pixels else ""
        detail = f"{image.width} x {image.height} has more than {limit:,} pixels{kind}"
        raise ImageError(Reason.TOO_LARGE, detail, where=where, size=image.size)


def _open_header(file: Path | BinaryIO) -> Image.Image:
    """Open without decoding, and without Pillow's own limit: the caller has a stated one."""
    with _PILLOW_LIMIT, png_chunks.patient(), jpeg_segments.patient():
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(file, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _kind(image: Image.Image) -> str:
    return "jpeg" if image.format == "MPO" else str(image.format).lower()


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of a loaded image; 1 is upright, as is one that does not say."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - a broken EXIF block says nothing about the pixels
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)
