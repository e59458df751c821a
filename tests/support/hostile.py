"""A folder of everything that goes wrong with crowd-sourced images, and what must come of it."""

from __future__ import annotations

import io
import os
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {
    "ok.png": "png",
    "wrong_ending.png": "jpeg",
    "sixteen_bit.png": "png",
    "cmyk.jpg": "jpeg",
    "palette_transparent.png": "png",
    "animated.gif": "gif",
    "animated.webp": "webp",
    "turned.jpg": "jpeg",
    "naïve 名前 🎨.png": "png",
    "two\nlines.png": "png",
    "caf\\xe9.png": "png",
    "sub/dir/deep.webp": "webp",
}
"""Usable files and their real formats."""

BAD = {
    "empty.png": "empty_file",
    "text.jpg": "unreadable",
    "postscript.jpg": "unreadable",
    "cut.jpg": "truncated",
    "cut.png": "truncated",
    "cut.webp": "truncated",
    "corrupt.png": "unreadable",
    "one_pixel.png": "too_small",
    "ribbon.png": "extreme_aspect",
    "bomb.png": "too_large",
    "ok_copy.png": "duplicate",
    "untagged.png": "no_tags",
    "blank_tags.png": "no_tags",
    "many_tags.png": "too_many_tags",
    "latin1_tags.png": "bad_tags_file",
    "broken_json.png": "bad_tags_file",
    "photo.heic": "unreadable",
    "$'caf\\xe9.png'": "bad_name",
    "leaves.png": "unsafe_path",
    "loop": "unsafe_path",
    "nowhere.png": "missing_image",
    "itself.png": "missing_image",
    "pipe.png": "unsafe_path",
}
"""Files for quarantine and their reasons."""

BOMBS = {
    "endless.jpg": "timed_out",
    "header.png": "too_large",
    "header.gif": "too_large",
    "header.webp": "too_large",
    "half.webp": "too_large",
    "first.png": None,
    "second.png": None,
    "see_through.png": None,
    "progressive.jpg": None,
    "flat.webp": None,
}
"""Small files that take minutes or gigabytes, and their reasons; None for those just allowed."""


def picture(seed: int, width: int = 96, height: int = 64) -> Image.Image:
    """An image of its own for each seed: blurred noise, as unlike others as photographs are."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """An image file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG, with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header promises more than its data holds."""

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(4000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def endless_jpeg(scans: int, side: int = 3000) -> bytes:
    """A small progressive JPEG that goes over its picture again and again: 7 ms for each scan."""
    data = encoded(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + b"\xff\xd9"


def add_bombs(folder: Path) -> None:
    """Write the files of `BOMBS` with tags; those that are allowed have nearly 120 MP."""
    flat = Image.new("RGB", (10_900, 10_900), (40, 90, 200))
    flat.paste((250, 10, 10), (0, 0, 5000, 3000))
    gif = b"GIF89a" + struct.pack("<HH", 65_000, 65_000) + encoded(picture(1), "GIF")[10:]
    files = {
        "endless.jpg": endless_jpeg(12_000),
        "header.png": png_claiming(60_000, 60_000),
        "header.gif": gif,
        "header.webp": encoded(Image.new("RGB", (16_000, 8000)), "WEBP", lossless=True, method=0),
        "half.webp": encoded(Image.new("RGB", (8000, 7600)), "WEBP", lossless=True, method=0),
        "first.png": encoded(flat, "PNG", compress_level=1),
        "second.png": encoded(flat.transpose(Image.Transpose.ROTATE_90), "PNG", compress_level=1),
        "progressive.jpg": encoded(flat, "JPEG", progressive=True, quality=50),
        "flat.webp": encoded(flat.crop((0, 0, 8000, 7400)), "WEBP", lossless=True, method=0),
    }
    flat.putalpha(99)
    files["see_through.png"] = encoded(flat, "PNG", compress_level=1)
    for name, data in files.items():
        (folder / name).write_bytes(data)
        (folder / name).with_suffix(".txt").write_text("solo, =HYPERLINK(1), @SUM(1)")


def make_hostile_folder(folder: Path) -> None:
    """Write the files and links of `GOOD` and `BAD`, and what is left alone, into `folder`."""
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(encoded(picture(42), "PNG"))
    for name, data in {**_good_files(), **_bad_files()}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if not name.startswith("untagged"):
            path.with_suffix(".txt").write_text("1girl, Red Hair, <script>alert(1)</script>")
    (folder / "blank_tags.txt").write_text(" ,\n, ")
    (folder / "many_tags.txt").write_text(", ".join(f"tag{i}" for i in range(10_000)))
    (folder / "latin1_tags.txt").write_bytes("señora, sol".encode("latin-1"))
    (folder / "broken_json.txt").unlink()
    (folder / "broken_json.json").write_text('{"tags": ["a"')
    _leave_alone(folder)


def _good_files() -> dict[str, bytes]:
    turned = Image.Exif()
    turned[0x0112] = 6
    see_through = picture(5).convert("RGBA")
    see_through.putalpha(Image.linear_gradient("L").resize(see_through.size))
    grey = np.asarray(picture(6).convert("L")).astype(np.uint16) * 257
    frames = [picture(i) for i in (7, 8, 9)]
    moving = {"save_all": True, "append_images": frames[1:]}
    return {
        "ok.png": encoded(picture(1), "PNG"),
        "wrong_ending.png": encoded(picture(2), "JPEG"),
        "sixteen_bit.png": encoded(Image.fromarray(grey), "PNG"),
        "cmyk.jpg": encoded(picture(3).convert("CMYK"), "JPEG"),
        "palette_transparent.png": encoded(see_through.quantize(16), "PNG"),
        "animated.gif": encoded(frames[0], "GIF", **moving),
        "animated.webp": encoded(picture(10), "WEBP", **moving),
        "turned.jpg": encoded(picture(11), "JPEG", exif=turned),
        "naïve 名前 🎨.png": encoded(picture(12), "PNG"),
        "two\nlines.png": encoded(picture(13), "PNG"),
        # Beside the name of these bytes, which is no text.
        "caf\\xe9.png": encoded(picture(15), "PNG"),
        "sub/dir/deep.webp": encoded(picture(14), "WEBP"),
    }


def _bad_files() -> dict[str, bytes]:
    corrupt = bytearray(encoded(picture(20), "PNG"))
    middle = len(corrupt) // 2
    corrupt[middle : middle + 40] = bytes(40)
    files = {
        "empty.png": b"",
        "text.jpg": b"hello " * 50,
        "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage\n",
        "corrupt.png": bytes(corrupt),
        "one_pixel.png": encoded(picture(24, 1, 1), "PNG"),
        "ribbon.png": encoded(picture(25, 640, 64), "PNG"),
        "bomb.png": png_claiming(60_000, 60_000),
        # Its original, `ok.png`, comes first.
        "ok_copy.png": encoded(picture(1), "PNG"),
        "photo.heic": b"\0\0\0\x18ftypheic" + bytes(64),
    }
    for index, form in enumerate(("jpg", "png", "webp")):
        whole = encoded(picture(21 + index), {"jpg": "JPEG"}.get(form, form))
        files[f"cut.{form}"] = whole[: len(whole) * 2 // 3]
    for index, name in enumerate(("untagged", "blank_tags", "many_tags", "latin1_tags")):
        files[f"{name}.png"] = encoded(picture(30 + index), "PNG")
    files["broken_json.png"] = encoded(picture(34), "PNG")
    return files


def _leave_alone(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "secret.png").write_bytes(encoded(picture(40), "PNG"))
    (folder / "leaves.png").symlink_to(outside / "secret.png")
    (folder / "loop").symlink_to(folder)
    (folder / "itself.png").symlink_to(folder / "itself.png")
    (folder / "nowhere.png").symlink_to(folder / "missing")
    (folder / ".hidden.png").write_bytes(encoded(picture(41), "PNG"))
    (folder / "notes.docx").write_bytes(b"x")
    os.mkfifo(folder / "pipe.png")
