"""What a file says besides its pixels never costs it, and what it claims fits every table."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, TiffImagePlugin
from tests.support.colour_profiles import P3_XY, rgb_profile, srgb_curve
from tests.support.hostile import chunk, encoded, picture, png_claiming
from tests.support.inspecting import inspect_listing

from nadir.data.inspection.decoding import ImageError, glance, open_image
from nadir.data.inspection.fact_cache import KEY, FactCache
from nadir.data.inspection.inspection import Limits
from nadir.data.inspection.listing import FACTS
from nadir.data.inspection.remembered import complete
from nadir.data.quarantine import Reason
from nadir.data.sources.detect import open_source

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = Limits(max_pixels=1_000_000, max_file_bytes=1 << 26, alpha_background=(255, 255, 255))
NOISE = np.random.default_rng(0).integers(32, 126, 3_000_000, dtype=np.uint8).tobytes()
P3 = rgb_profile(P3_XY, srgb_curve())


def png_with(*chunks: bytes, before: bytes = b"IDAT") -> bytes:
    data = encoded(picture(0), "PNG")
    place = data.index(before) - 4
    return data[:place] + b"".join(chunks) + data[place:]


PACKED = zlib.compress(NOISE, 1)
BOMB = zlib.compress(bytes(50_000_000))
APPLICATION = range(0xE0, 0xF0)
CHUNKS = {
    "zTXt": [chunk(b"zTXt", b"workflow\0\0" + PACKED)],
    "iTXt": [chunk(b"iTXt", b"prompt\0\1\0\0\0" + PACKED)],
    "XMP": [chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + PACKED)],
    "many tEXt": [chunk(b"tEXt", b"part %d\0" % i + NOISE[:2_000_000]) for i in range(34)],
    "zTXt that unpacks to 50 MB": [chunk(b"zTXt", b"w\0\0" + BOMB)],
    "zTXt by no known method": [chunk(b"zTXt", b"w\0\7junk")],
    "no keyword": [chunk(b"tEXt", b""), chunk(b"iTXt", b"\xff\0\1\1\xff\0\xff\0")],
    "keywords that are Pillow's own": [
        chunk(b"tEXt", name + b"\0x") for name in (b"transparency", b"icc_profile", b"bbox")
    ],
    "no EXIF": [chunk(b"eXIf", b"junk"), chunk(b"zTXt", b"Raw profile type exif\0\0" + PACKED)],
    "short chunks": [chunk(kind, b"") for kind in (b"gAMA", b"cHRM", b"sRGB", b"pHYs")],
    "large private chunks": [chunk(b"caBX", NOISE)],
}


def same_as_without(data: bytes, image: Image.Image) -> bool:
    seen = open_image(io.BytesIO(data), alpha_background=(255, 255, 255), max_pixels=1_000_000)
    return np.array_equal(seen, image) and glance(
        io.BytesIO(data), (255, 255, 255), 1_000_000
    ).colour in (None, "unusable")


@pytest.mark.parametrize("name", CHUNKS)
@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_texts_of_a_png_say_nothing_about_its_pixels(name: str, before: bytes) -> None:
    assert same_as_without(png_with(*CHUNKS[name], before=before), picture(0))


def test_an_orientation_in_a_text_still_counts() -> None:
    xmp = chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>')
    seen = glance(io.BytesIO(png_with(xmp)), (255, 255, 255), 1_000_000)
    assert (seen.width, seen.height) == (64, 96)


def test_a_large_profile_is_used_and_one_that_unpacks_to_no_end_is_not() -> None:
    large = chunk(
        b"iCCP", b"x\0\0" + zlib.compress(rgb_profile(P3_XY, srgb_curve(), padding=3_000_000))
    )
    assert glance(io.BytesIO(png_with(large)), (0, 0, 0), 1_000_000).colour == "converted"
    for body in (BOMB, b"junk", zlib.compress(P3)[:-900]):
        data = png_with(chunk(b"iCCP", b"x\0\0" + body))
        assert same_as_without(data, picture(0))
    for whole in (b"", b"x\0", b"x\0\5" + zlib.compress(P3)):
        assert same_as_without(png_with(chunk(b"iCCP", whole)), picture(0))


def with_much_metadata(form: str) -> tuple[bytes, bytes]:
    """A file without and with megabytes of metadata."""
    plain = encoded(picture(0), form)
    if form == "JPEG":
        parts = [b"\xff" + bytes([kind]) + b"\xfd\xea" + NOISE[:65_000] for kind in APPLICATION]
        return plain, plain[:2] + b"".join(parts * 4) + plain[2:]
    if form == "GIF":
        return plain, encoded(picture(0), form, comment=NOISE)
    if form == "TIFF":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        for number, kind in ((700, 1), (34377, 7), (65000, 7)):
            tags[number], tags.tagtype[number] = NOISE, kind
        tags[34675], tags.tagtype[34675] = "a profile that is text", 2
        return plain, encoded(picture(0), form, tiffinfo=tags)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\0" + bytes(3_000_000)
    return plain, encoded(picture(0), form, exif=exif, xmp=NOISE)


@pytest.mark.parametrize("form", ["JPEG", "GIF", "TIFF", "WEBP", "AVIF"])
def test_metadata_of_other_formats_does_not_either(form: str) -> None:
    plain, full = with_much_metadata(form)
    assert len(full) > len(plain) + 2_000_000
    without = open_image(io.BytesIO(plain), alpha_background=(0, 0, 0), max_pixels=1_000_000)
    assert same_as_without(full, without)


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


SEGMENTS = {
    "JFIF without a version": segment(0xE0, b"JFIF"),
    "a part of a profile": segment(0xE2, b"ICC_PROFILE\0"),
    "a part of a profile with its number": segment(0xE2, b"ICC_PROFILE\0\1"),
    "Adobe without a transform": segment(0xEE, b"Adobe"),
    "EXIF of nonsense": segment(0xE1, b"Exif\0\0junk"),
    "pictures beside it": segment(0xE2, b"MPF\0junk"),
    "Photoshop's": segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\x10abc"),
    "nothing": segment(0xE5, b""),
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_segments_of_a_jpeg_say_nothing_about_its_pixels(name: str) -> None:
    plain = encoded(picture(0), "JPEG")
    without = open_image(io.BytesIO(plain), alpha_background=(0, 0, 0), max_pixels=1_000_000)
    assert same_as_without(plain[:2] + SEGMENTS[name] + plain[2:], without)


def test_a_jpeg_that_ends_in_a_segment_is_still_none() -> None:
    cut = encoded(picture(0), "JPEG")[:2] + segment(0xE0, b"JFIF")[:5]
    with pytest.raises(ImageError):
        open_image(io.BytesIO(cut), alpha_background=(0, 0, 0), max_pixels=1_000_000)


@pytest.mark.parametrize("name", [b"acTL", b"fcTL", b"fdAT"])
@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_a_malformed_chunk_of_an_animation_costs_no_first_frame(name: bytes, before: bytes) -> None:
    assert same_as_without(png_with(chunk(name, b"\0"), before=before), picture(0))


def bmp_claiming(width: int, height: int) -> bytes:
    header = struct.pack("<IIIHHIIIIII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 154, 0, 0, 54) + header + bytes(100)


def tiff_claiming(width: int, height: int, *, big: bool = False) -> bytes:
    numbers = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 300, 277: 1, 278: 1, 279: 9}
    if big:
        entries = b"".join(struct.pack("<HHQQ", tag, 16, 1, n) for tag, n in numbers.items())
        data = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, len(numbers)) + entries
    else:
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, n) for tag, n in numbers.items())
        data = b"II*\0" + struct.pack("<IH", 8, len(numbers)) + entries
    return data.ljust(400, b"\0")


CLAIMS = {
    "wide.bmp": (bmp_claiming(0x90000000, 4), "2415919104 x 4"),
    "high.bmp": (bmp_claiming(4, 0x80000000), "4 x 2147483648"),
    "wide.png": (png_claiming(0xFFFFFFFF, 4), "4294967295 x 4"),
    "wide.tif": (tiff_claiming(0xFFFFFFFF, 1), "4294967295 x 1"),
    "wider.tif": (tiff_claiming(1 << 62, 1, big=True), "4611686018427387904 x 1"),
    "widest.tif": (tiff_claiming(2**64 - 1, 2**64 - 1, big=True), "18446744073709551615"),
}


def test_a_size_that_no_column_holds_costs_its_file_only(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, (data, _) in CLAIMS.items():
        (folder / name).write_bytes(data)
    (folder / "sound.png").write_bytes(encoded(picture(0), "PNG"))
    source = open_source(str(folder), "folder")
    listing = source.list_images().table
    facts = inspect_listing(
        listing, source, limits=LIMITS, memory=tmp_path / "memory", workers=1
    ).facts
    found = dict(zip(listing.column("path").to_pylist(), facts.to_pylist(), strict=True))
    assert found.pop("sound.png")["reason"] is None
    for name, fact in found.items():
        assert (name, fact["reason"]) == (name, "too_large")
        assert CLAIMS[name][1] in fact["detail"]


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("width", 1 << 31),
        ("height", -(1 << 40)),
        ("width", 1 << 70),
        ("format", "p\ud800ng"),
        ("detail", b"\xff"),
        ("mean_luminance", "bright"),
    ],
)
def test_whatever_fact_does_not_fit_its_column_is_that_files_fault(
    tmp_path: Path, fact: str, value: object
) -> None:
    class Look:
        chunk = 8

        def __call__(self, chunks: Any, count: int) -> Any:
            assert count == 3
            for files in chunks:
                yield (
                    files,
                    [{fact: value} if path == "odd" else {"width": 7} for path, *_ in files],
                )

    keys = {"path": ["a", "odd", "z"], "size": [1, 2, 3], "version": ["1", "1", "1"]}
    wanted = pa.table(keys).select(KEY)
    cache = FactCache(tmp_path / "memory", FACTS)
    facts, _ = complete(wanted, cache, Look(), unit="images", misfit=Reason.UNREADABLE)
    assert facts.column("width").to_pylist() == [7, None, 7]
    assert facts.column("reason").to_pylist() == [None, "unreadable", None]
    assert f"its {fact} does not fit the table: {value!a}" == facts.column("detail")[1].as_py()
