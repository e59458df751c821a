"""A picture carries how it was drawn into its PNG files, whoever saves them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from nadir.ground.errors import NadirError
from nadir.ground.pages.pictures import read_facts, with_facts

FACTS = {"prompt": "1girl, 初音ミク", "seed": 1, "start_sigma": None, "cfg_scale": 4.5}


@pytest.fixture
def picture() -> Image.Image:
    return Image.new("RGB", (8, 8), (10, 20, 30))


def test_facts_come_back_from_the_file(picture: Image.Image, tmp_path: Path) -> None:
    marked = with_facts(picture, FACTS)
    marked.save(tmp_path / "a.png")
    marked.save(tmp_path / "b.png", optimize=True)
    assert read_facts(tmp_path / "a.png") == read_facts(tmp_path / "b.png") == FACTS
    assert list(Image.open(tmp_path / "a.png").tobytes()) == list(picture.tobytes())


def test_equal_facts_give_equal_bytes_and_the_picture_itself_stays(picture: Image.Image) -> None:
    files = []
    for facts in (FACTS, dict(reversed(FACTS.items()))):
        file = io.BytesIO()
        with_facts(picture, facts).save(file, "PNG")
        files.append(file.getvalue())
    assert files[0] == files[1]
    plain = io.BytesIO()
    picture.save(plain, "PNG")
    assert b"nadir" not in plain.getvalue()


def test_other_formats_are_written_without_them(picture: Image.Image, tmp_path: Path) -> None:
    with_facts(picture, FACTS).save(tmp_path / "a.webp")
    with pytest.raises(NadirError, match="does not say how it was drawn") as caught:
        read_facts(tmp_path / "a.webp")
    assert "name a PNG file as Nadir wrote it" in caught.value.fix


def test_what_is_no_picture_is_told(picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("no picture", encoding="utf-8")
    for name in ("plain.png", "text.png"):
        with pytest.raises(NadirError, match=rf"{name}: the picture does not say"):
            read_facts(tmp_path / name)
