"""Decoding rules, facts of one file, and what a crash or a change costs."""

from __future__ import annotations

import hashlib
import io
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.support.hostile import BAD, GOOD, encoded, make_hostile_folder, picture, png_claiming

from nadir.data.inspection.decoding import glance
from nadir.data.inspection.inspection import ImageError, Limits, inspect_file, open_image
from nadir.data.inspection.perceptual_hash import measure, measure_image
from nadir.data.quarantine import UNDECODABLE
from nadir.data.sources.detect import open_source
from nadir.data.sources.interfaces import Content

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.data.inspection.inspection import Facts

LIMITS = Limits(max_pixels=1_000_000, max_file_bytes=1 << 20, alpha_background=(255, 255, 255))


def opened(data: bytes, background: tuple[int, int, int] = (255, 255, 255)) -> Image.Image:
    return open_image(io.BytesIO(data), alpha_background=background, max_pixels=1_000_000)


def luminance(image: Image.Image) -> float:
    return measure_image(image)[0]


def facts_of(folder: Path, name: str, limits: Limits = LIMITS) -> Facts:
    source = open_source(str(folder), "folder")
    return inspect_file(source, name, *source.version(name), limits=limits)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    make_hostile_folder(folder)
    return folder


@pytest.mark.parametrize("name", GOOD)
def test_odd_but_whole_images_are_read_as_rgb_with_their_real_format(
    hostile: Path, name: str
) -> None:
    facts = facts_of(hostile, name)
    assert (facts.reason, facts.format) == (None, GOOD[name])
    assert facts.sha256 == hashlib.sha256((hostile / name).read_bytes()).hexdigest()
    assert facts.perceptual_hash is not None
    assert len(facts.perceptual_hash) == 16


FILE_REASONS = {"empty_file", "unreadable", "truncated", "too_large"}


@pytest.mark.parametrize("name", [name for name, reason in BAD.items() if reason in FILE_REASONS])
def test_files_without_an_image_get_a_reason_and_a_detail(hostile: Path, name: str) -> None:
    facts = facts_of(hostile, name)
    assert facts.reason == BAD[name]
    assert facts.detail


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_no_format_passes_when_a_part_of_it_is_missing(form: str, kept: float) -> None:
    whole = encoded(picture(0), form)
    assert opened(whole).size == (96, 64)
    part = whole[: int(len(whole) * kept)]
    with pytest.raises(ImageError, match=r"truncated|unreadable"):
        opened(part)
    with pytest.raises(ImageError, match=r"truncated|unreadable"):
        glance(io.BytesIO(part), (255, 255, 255), 1_000_000)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("TIFF", {}),
        *(("TIFF", {"compression": f"tiff_{kind}"}) for kind in ("lzw", "adobe_deflate")),
        ("TIFF", {"compression": "jpeg"}),
        *((form, {}) for form in ("AVIF", "WEBP", "PNG", "JPEG", "GIF", "BMP")),
    ],
)
def test_what_is_cut_is_called_truncated(form: str, options: dict[str, str]) -> None:
    whole = encoded(picture(0), form, **options)
    for part in range(4, 20):
        data = whole[: len(whole) * part // 20]
        facts = inspect_file(Memory(data), "x", len(data), "1", limits=LIMITS)
        assert (part, facts.reason) == (part, "truncated")


def test_whole_files_of_nonsense_are_not_called_truncated() -> None:
    tiff = bytearray(encoded(picture(0), "TIFF", compression="tiff_lzw"))
    avif = bytearray(encoded(picture(0), "AVIF"))
    tiff[1000:1400] = bytes(400)
    avif[60:200] = b"\xff" * 140
    for data in (bytes(tiff), bytes(avif), b"II*\0" + b"\x08\0\0\0" + bytes(60)):
        facts = inspect_file(Memory(data), "x", len(data), "1", limits=LIMITS)
        assert facts.reason == "unreadable"


def test_transparency_is_flattened_on_the_stated_colour() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    half = Image.new("LA", (8, 8), (0, 128))
    assert opened(encoded(clear, "PNG"), (1, 2, 3)).getpixel((0, 0)) == (1, 2, 3)
    assert opened(encoded(clear, "WEBP", lossless=True), (9, 9, 9)).getpixel((0, 0)) == (9, 9, 9)
    assert opened(encoded(half, "PNG")).getpixel((0, 0)) == (127, 127, 127)
    keyed = encoded(Image.new("RGB", (8, 8), (5, 6, 7)), "PNG", transparency=(5, 6, 7))
    assert opened(keyed, (0, 0, 255)).getpixel((0, 0)) == (0, 0, 255)


@pytest.mark.parametrize("background", [(255, 255, 255), (250, 3, 250), (1, 2, 3)])
def test_grey_with_alpha_is_flattened_as_the_same_colours_are(
    background: tuple[int, int, int],
) -> None:
    values = np.random.default_rng(0).integers(0, 256, (300, 300, 2), dtype=np.uint8)
    grey = Image.fromarray(values)
    same = opened(encoded(grey.convert("RGBA"), "PNG"), background)
    assert np.array_equal(opened(encoded(grey, "PNG"), background), same)


def test_sixteen_bits_keep_their_upper_eight() -> None:
    values = np.array([[0, 255, 256, 32_768, 65_535]], dtype=np.uint16)
    image = opened(encoded(Image.fromarray(values), "PNG"))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_cmyk_black_is_black_and_paper_is_white() -> None:
    ink = Image.new("CMYK", (16, 16), (0, 0, 0, 255))
    paper = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    assert luminance(opened(encoded(ink, "JPEG"))) < 0.02
    assert luminance(opened(encoded(paper, "JPEG"))) > 0.98


def test_the_first_frame_of_an_animation_is_the_image() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("black", "white", "white")]
    for form in ("GIF", "WEBP", "PNG"):
        data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        assert luminance(opened(data)) < 0.02


def test_exif_orientation_turns_the_picture() -> None:
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (0, 0, 40, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held a quarter turn: top comes to the right
    turned = opened(encoded(image, "PNG", exif=exif))
    assert turned.size == (20, 40)
    assert turned.getpixel((19, 20)) == (255, 255, 255)
    assert turned.getpixel((0, 20)) == (0, 0, 0)


def test_a_broken_exif_block_does_not_cost_the_image() -> None:
    data = encoded(picture(0), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert opened(data).size == (96, 64)


def test_a_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(ImageError, match="60000 x 60000 has more than 1,000,000 pixels"):
        opened(png_claiming(60_000, 60_000))
    assert Image.MAX_IMAGE_PIXELS is not None


def test_a_stated_limit_above_pillows_own_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert opened(encoded(picture(0), "PNG")).size == (96, 64)


def test_formats_that_run_programs_are_not_opened() -> None:
    with pytest.raises(ImageError, match="no known image format inside"):
        opened(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage\n")


def test_an_error_names_file_and_fix(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"nothing")
    with pytest.raises(ImageError, match=r"x\.png: unreadable: .*\n  fix: convert it to PNG"):
        open_image(tmp_path / "x.png", alpha_background=(0, 0, 0), max_pixels=10)


def test_luminance_weighs_the_channels_by_rec_709() -> None:
    colours = {"red": 0.2126, "lime": 0.7152, "blue": 0.0722, "white": 1.0, "black": 0.0}
    for colour, expected in colours.items():
        assert luminance(Image.new("RGB", (3, 5), colour)) == pytest.approx(expected)


def test_what_is_measured_does_not_depend_on_how_it_was_decoded() -> None:
    """In strips or whole, a JPEG's blocks at full size or not, turned or upright."""
    image = picture(3, 1500, 900)
    hashes, lights = [], []
    for form in ("PNG", "JPEG", "BMP", "WEBP"):
        seen = glance(io.BytesIO(encoded(image, form)), (255, 255, 255), 10_000_000)
        assert (seen.width, seen.height) == (1500, 900)
        light, found = measure(seen.low)
        lights.append(light)
        hashes.append(int(found, 16))
    assert max(lights) - min(lights) < 0.005
    assert max((one ^ hashes[0]).bit_count() for one in hashes) <= 2


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "CMYK", "I;16"])
def test_a_large_image_measures_the_same_in_strips(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 300, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    if mode == "I;16":
        image = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    elif mode == "RGBA":
        image.putalpha(Image.fromarray(noise[..., 1]))
    else:
        image = image.convert(mode)
    data = encoded(image, "JPEG" if mode == "CMYK" else "PNG")
    monkeypatch.setattr("nadir.data.inspection.reducing._STRIP_BYTES", 4 * 300 * 700)
    whole = glance(io.BytesIO(data), (9, 99, 199), 1_000_000).low
    monkeypatch.setattr("nadir.data.inspection.reducing._STRIP_BYTES", 4 * 300 * 60)
    strips = glance(io.BytesIO(data), (9, 99, 199), 1_000_000).low
    assert np.array_equal(whole, strips)
    assert np.abs(whole).max() > 100


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """The picture in a mode; clear to the left and solid to the right where it has alpha."""
    ramp = Image.linear_gradient("L").rotate(90).resize(image.size)
    if mode in ("RGBA", "LA"):
        image = image.copy()
        image.putalpha(ramp)
    if mode == "P, clear":
        image = image.convert("RGBA")
        image.putalpha(ramp)
        return image.quantize(64)
    return image.quantize(64) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "P, clear", "1", "I;16"])
@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_what_is_measured_is_that_of_the_flattened_image(form: str, mode: str) -> None:
    """To 0.002 of luminance, 2 bits of the hash: a palette's luma is rounded before averaging."""
    if form == "GIF" and not mode.startswith("P"):
        pytest.skip("a GIF has a palette")
    for seed in range(8):
        data = encoded(in_mode(picture(seed, 500, 700), mode), form)
        background = (250, 40 * seed % 256, 90)
        light, found = measure(glance(io.BytesIO(data), background, 1_000_000).low)
        whole_light, whole = measure_image(opened(data, background))
        assert light == pytest.approx(whole_light, abs=0.002)
        assert (int(found, 16) ^ int(whole, 16)).bit_count() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_image_measures_like_the_upright_one(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(5, 96, 64), "PNG", exif=exif)
    seen = glance(io.BytesIO(data), (255, 255, 255), 10_000)
    upright = opened(data)
    assert (seen.width, seen.height) == upright.size
    light, found = measure(seen.low)
    expected_light, expected = measure_image(upright)
    assert light == pytest.approx(expected_light, abs=1e-4)
    assert (int(found, 16) ^ int(expected, 16)).bit_count() <= 2


def test_floats_and_32_bits_are_refused_because_nothing_says_what_is_white() -> None:
    for values in (np.ones((8, 8), np.float32), np.full((8, 8), 70_000, np.int32)):
        data = encoded(Image.fromarray(values), "TIFF")
        with pytest.raises(ImageError, match="no fixed white"):
            opened(data)
        with pytest.raises(ImageError, match="no fixed white"):
            glance(io.BytesIO(data), (255, 255, 255), 1000)


def test_flat_pictures_have_one_hash_whatever_their_colour() -> None:
    hashes = {measure_image(Image.new("RGB", (50, 70), c))[1] for c in ("white", "red", "#123456")}
    assert len(hashes) == 1


def test_the_perceptual_hash_survives_shrinking_and_compression_and_tells_pictures_apart() -> None:
    def bits(image: Image.Image) -> int:
        return int(measure_image(image)[1], 16)

    for seed in range(10):
        image = picture(seed, 400, 300)
        copies = [image.resize((200, 150)), opened(encoded(image, "JPEG", quality=60))]
        assert all((bits(image) ^ bits(copy)).bit_count() <= 4 for copy in copies)
        assert (bits(image) ^ bits(picture(seed + 50, 400, 300))).bit_count() > 8


SEEDS = {
    form: encoded(picture(1, 24, 16), form)
    for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
}


class Memory:
    """A source of one file."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, path: str, limit: int) -> Content:
        return Content(self.data[:limit], "1")


@settings(max_examples=250, deadline=None)
@given(
    st.sampled_from(sorted(SEEDS)),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=12),
    st.integers(0, 4000),
    st.binary(max_size=64),
)
def test_whatever_the_bytes_are_there_are_facts_or_a_reason(
    form: str, changes: list[tuple[int, int]], cut: int, tail: bytes
) -> None:
    data = bytearray(SEEDS[form])
    for place, value in changes:
        data[place % len(data)] = value
    mangled = bytes(data[: max(1, len(data) - cut % len(data))] + tail)
    limits = Limits(max_pixels=40_000, max_file_bytes=1 << 16, alpha_background=(255, 255, 255))
    facts = inspect_file(Memory(mangled), "x", len(mangled), "1", limits=limits)
    if facts.reason is None:
        assert facts.mean_luminance is not None
        assert 0 <= facts.mean_luminance <= 1
        assert len(str(facts.perceptual_hash)) == 16
    else:
        assert facts.reason in set(UNDECODABLE)
        assert facts.detail
