"""From a file to upright RGB pixels, by fixed rules.

The rules, the same for inspection, encoding and every page that shows an image:
- The real format counts, not the file name's ending.
- The size in the header is checked before a pixel is decoded.
- The first frame of an animation is the image. EXIF orientation is applied.
- Transparency is flattened on a stated colour.
- CMYK goes through its embedded colour profile when it has one. 16 bits become 8 by dropping the
  lower ones. Palettes and greys become RGB.
- A file that ends before its last pixel is not an image, however much of it could be shown.
"""

from __future__ import annotations

import io
import threading
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from nadir.data.quarantine import FIXES, Reason
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""What may be decoded, in Pillow's names; no format that runs programs or reads other files."""

_PILLOW_LIMIT = threading.Lock()


class ImageError(NadirError):
    """An image that cannot be used.

    Args:
        reason: The reason code.
        detail: What was found.
        where: The file.
        size: (width, height) in pixels when the header gave it.
    """

    def __init__(
        self, reason: Reason, detail: str, *, where: str = "", size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(f"{reason}: {detail}", where=where, fix=FIXES[reason])
        self.reason = reason
        self.detail = detail
        self.size = size


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


def decode(
    file: Path | BinaryIO, background: tuple[int, int, int], max_pixels: int
) -> tuple[Image.Image, str]:
    """The RGB image and its real format."""
    where = str(file) if isinstance(file, PurePath) else ""
    try:
        with _open_header(file) as image:
            _check_size(image.size, max_pixels, where)
            kind = "jpeg" if image.format == "MPO" else str(image.format).lower()
            return _to_rgb(_upright(image), background), kind
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


def _check_size(size: tuple[int, int], max_pixels: int, where: str) -> None:
    if size[0] * size[1] > max_pixels:
        detail = f"{size[0]} x {size[1]} has more than {max_pixels:,} pixels"
        raise ImageError(Reason.TOO_LARGE, detail, where=where, size=size)


def _open_header(file: Path | BinaryIO) -> Image.Image:
    """Open without decoding, and without Pillow's own limit: the caller has a stated one."""
    with _PILLOW_LIMIT:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(file, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - a broken EXIF block says nothing about the pixels
        return image


def _to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bit(image).convert("RGB")
    if image.mode == "F":
        raise ImageError(Reason.UNREADABLE, "floating-point pixels have no fixed white")
    if image.mode == "CMYK":
        return _from_cmyk(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    layered = image.convert("RGBA")
    canvas = Image.new("RGB", layered.size, background)
    canvas.paste(layered, mask=layered.getchannel("A"))
    return canvas


def _from_16_bit(image: Image.Image) -> Image.Image:
    values: np.ndarray[Any, np.dtype[Any]] = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ImageError(Reason.UNREADABLE, "32-bit pixels have no fixed white")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _from_cmyk(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, embedded, target, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")
