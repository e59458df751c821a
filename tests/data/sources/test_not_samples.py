"""Masks, maps and thumbnails among images are never samples; masks find their images."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from nadir.data.sources.detect import open_source
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.data.sources.interfaces import Listing


def lay(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".txt"):
            (folder / name).write_text("1girl, smile")
        else:
            Image.new("RGB", (4, 4)).save(folder / name)


def listed(folder: Path, mask_folder: str | None = None) -> Listing:
    return open_source(str(folder), "auto", mask_folder=mask_folder).list_images()


def paths(listing: Listing) -> list[str]:
    found: list[str] = listing.table["path"].to_pylist()
    return found


def pairs(listing: Listing) -> dict[str, str]:
    table = listing.masks
    return dict(zip(table["path"].to_pylist(), table["mask"].to_pylist(), strict=True))


def test_labels_beside_an_image_are_passed_over_and_masks_kept(tmp_path: Path) -> None:
    lay(tmp_path, "x.jpg", "x.txt", "x-masklabel.png", "x-condlabel.png", "b/y.png", "b/y.txt")
    lay(tmp_path, "b/y.MASK.png", "b/y.seg.png", "@eaDir/x.jpg", "b/@eaDir/y.png/t.jpg")
    listing = listed(tmp_path)
    assert paths(listing) == ["b/y.png", "x.jpg"]
    assert pairs(listing) == {"x.jpg": "x-masklabel.png", "b/y.png": "b/y.MASK.png"}
    assert listing.notes == (
        "not listed: 2 in @eaDir, 2 maps beside their image, 2 masks beside their image",
    )


def test_what_is_named_like_a_mask_without_its_image_is_an_image(tmp_path: Path) -> None:
    lay(tmp_path, "x.png", "ocean.mask.png", "a-masklabel.png", "sub/x.seg.png", "xseg.png")
    listing = listed(tmp_path)
    assert len(paths(listing)) == 5
    assert pairs(listing) == {}


def test_second_pictures_in_a_tar_are_no_samples_either(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("0001.jpg", "0001.seg.png", "0001.mask.png", "0001.txt"):
            content = io.BytesIO()
            if name.endswith(".txt"):
                content.write(b"1girl")
            else:
                Image.new("RGB", (4, 4)).save(content, "PNG")
            member = tarfile.TarInfo(name)
            member.size = content.tell()
            content.seek(0)
            tar.addfile(member, content)
    listing = listed(tmp_path)
    assert paths(listing) == ["a.tar::0001.jpg"]
    assert pairs(listing) == {"a.tar::0001.jpg": "a.tar::0001.mask.png"}


def test_a_folder_of_masks_is_matched_by_path_then_by_its_end_then_by_name(tmp_path: Path) -> None:
    lay(tmp_path, "1_a/x.jpg", "1_b/x.jpg", "1_b/y.jpg", "deep/1_c/x.jpg", "z.png", "own.png")
    lay(tmp_path, "masks/1_a/x.png", "masks/1_b/x.png", "masks/y.webp", "masks/1_c/x.png")
    lay(tmp_path, "masks/nobody.png", "masks/own.png", "own-masklabel.png")
    listing = listed(tmp_path, "masks")
    assert paths(listing) == sorted(
        ["1_a/x.jpg", "1_b/x.jpg", "1_b/y.jpg", "deep/1_c/x.jpg", "own.png", "z.png"]
    )
    assert pairs(listing) == {
        "1_a/x.jpg": "masks/1_a/x.png",
        "1_b/x.jpg": "masks/1_b/x.png",
        "1_b/y.jpg": "masks/y.webp",
        "deep/1_c/x.jpg": "masks/1_c/x.png",
        "own.png": "own-masklabel.png",
    }
    assert "6 in the folder of masks" in listing.notes[0]
    assert "1 of the masks there belong to no image" in listing.notes[0]


def test_a_name_that_several_masks_have_says_nothing(tmp_path: Path) -> None:
    lay(tmp_path, "a/x.jpg", "masks/1/x.png", "masks/2/x.png")
    assert pairs(listed(tmp_path, "masks")) == {}


def test_a_folder_of_masks_without_images_is_an_error(tmp_path: Path) -> None:
    lay(tmp_path, "x.png")
    with pytest.raises(NadirError, match="no image lies below `masks`") as caught:
        listed(tmp_path, "masks")
    assert caught.value.where == "params.yaml ingest.mask_folder"
