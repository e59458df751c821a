"""ICC profiles made by hand (ICC.1:2001-04): three primaries or grey, and a curve."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

D50 = (0.9642, 1.0, 0.8249)
_D65_XY = (0.3127, 0.3290)
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)

SRGB_XY = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
P3_XY = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE_XY = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))


def srgb_curve(points: int = 1024) -> bytes:
    """The curve of sRGB as a table, as Hewlett-Packard's profile has it."""
    x = np.linspace(0, 1, points)
    y = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    return struct.pack(">4s4xI", b"curv", points) + np.rint(y * 65535).astype(">u2").tobytes()


def gamma_curve(gamma: float) -> bytes:
    """A power; in 8.8 bits."""
    return struct.pack(">4s4xIH", b"curv", 1, round(gamma * 256))


def rgb_profile(
    primaries: Sequence[tuple[float, float]], curve: bytes, *, padding: int = 0
) -> bytes:
    """A display profile of these primaries (x, y) under D65.

    Args:
        primaries: Of red, green and blue.
        curve: Of each channel.
        padding: Bytes of a private tag that means nothing.
    """
    columns = _to_d50(np.array([_xyz(*point) for point in primaries]).T)
    tags = {name: _xyz_tag(columns[:, i]) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    if padding:
        noise = np.random.default_rng(0).integers(0, 256, padding, dtype=np.uint8)
        tags[b"padd"] = b"data\0\0\0\0\0\0\0\1" + noise.tobytes()
    return _profile(b"RGB ", tags)


def grey_profile(curve: bytes) -> bytes:
    """A display profile for grey pixels."""
    return _profile(b"GRAY", {b"kTRC": curve})


def _xyz(x: float, y: float) -> tuple[float, float, float]:
    return x / y, 1.0, (1 - x - y) / y


def _to_d50(columns: np.ndarray) -> np.ndarray:
    """Primaries [3, 3] scaled to a white of D65, then adapted to D50 as ICC asks for."""
    white = np.array(_xyz(*_D65_XY))
    scaled = columns * np.linalg.solve(columns, white)
    gain = (_BRADFORD @ np.array(D50)) / (_BRADFORD @ white)
    return np.linalg.inv(_BRADFORD) @ np.diag(gain) @ _BRADFORD @ scaled


def _xyz_tag(values: Sequence[float] | np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(v) * 65536) for v in values))


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = b"made for a test\0"
    description = struct.pack(">4s4xI", b"desc", len(text)) + text + bytes(78)
    tags = {b"desc": description, b"wtpt": _xyz_tag(D50), b"cprt": b"text\0\0\0\0" + text, **tags}
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = start + len(body)
    header = struct.pack(">I4xI4s4s4s", size, 0x02400000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += struct.pack(">3i", *(round(v * 65536) for v in D50))
    return header.ljust(128, b"\0") + table + body
