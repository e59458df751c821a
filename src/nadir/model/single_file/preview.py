"""The picture by which programs show a model: beside its file, and small in its header."""

from __future__ import annotations

import base64
import io
import warnings
from typing import TYPE_CHECKING

from PIL import Image, ImageOps, UnidentifiedImageError

from nadir.ground.errors import NadirError
from nadir.ground.files import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

_THUMBNAIL_PX = 256  # ModelSpec's recommendation, square
_QUALITY = 85


def read_picture(file: Path) -> Image.Image:
    """A picture's file as RGB.

    Raises:
        NadirError: It is not a picture.
    """
    try:
        with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
            return ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    except (
        OSError,
        ValueError,
        SyntaxError,
        UnidentifiedImageError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise NadirError(
            f"not a picture that can be read: {error}", where=str(file), fix="name another"
        ) from error


def write_preview(picture: Image.Image, file: Path) -> None:
    """Write it as PNG, whole or not at all."""
    with atomic_path(file) as temporary:
        picture.save(temporary, format="PNG")


def thumbnail(picture: Image.Image) -> str:
    """The middle of a picture, 256 x 256 pixels, as ModelSpec's `data:` address of a JPEG."""
    small = ImageOps.fit(picture.convert("RGB"), (_THUMBNAIL_PX,) * 2, Image.Resampling.LANCZOS)
    data = io.BytesIO()
    small.save(data, format="JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
