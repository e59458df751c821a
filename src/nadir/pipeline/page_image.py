"""A picture of the workspace as a link that holds it, for pages whose server has no such file."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

_LARGEST_BYTES = 2_000_000  # an artifact is a row of the server's database
_SHRINK = 0.7


def data_uri(path: Path, largest_bytes: int = _LARGEST_BYTES) -> str:
    """The picture as a `data:` URI; one that is too large is shrunk, as a JPEG.

    Args:
        path: A PNG file.
        largest_bytes: Of the file inside the URI.
    """
    data, kind = path.read_bytes(), "png"
    if len(data) > largest_bytes:
        data, kind = _shrunk(path, largest_bytes), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _shrunk(path: Path, largest_bytes: int) -> bytes:
    from PIL import Image

    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    while len(data := _jpeg(picture)) > largest_bytes:
        picture = picture.resize([max(1, round(side * _SHRINK)) for side in picture.size])
    return data


def _jpeg(picture: Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()
