"""Masks beside the latents: cropped as their image, averaged, found again, told when bad."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from tests.support.encode_project import describe, edit, latents, paint, read_index

from nadir.data.latents.checks import verify
from nadir.data.latents.compaction import compact
from nadir.data.latents.masks import MaskReader, live_keys, mask_places
from nadir.data.latents.store import LatentReader, LatentStore
from nadir.data.tables import MASKS, write_table
from nadir.stages.encode import main

if TYPE_CHECKING:
    from pathlib import Path

FACTOR = 4


def mask_file(project: Path, number: int, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(project / f"data/sample/masks/{number}.png")


def list_masks(project: Path) -> None:
    """What ingest writes of the folder of masks."""
    found = sorted((project / "data/sample/masks").iterdir())
    columns = {
        "path": [path.name for path in found],
        "mask": [f"masks/{path.name}" for path in found],
        "version": [str(path.stat().st_mtime_ns) for path in found],
    }
    write_table(pa.table(columns), project / "data/masks.parquet", MASKS)


@pytest.fixture
def masked(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with masks for its pictures 0 and 1: the right half of it counts."""
    describe(project, crop_left=4)
    edit(project, "masks: null", "masks: files")
    edit(project, "source: data/sample", f"source: {project}/data/sample")
    (project / "data/sample/masks").mkdir()
    for number, (width, height) in ((0, (64, 64)), (1, (96, 64))):
        half = np.zeros((height, width), np.uint8)
        half[:, width // 2 :] = 255
        mask_file(project, number, half)
    list_masks(project)
    return project


def masks_of(project: Path, *, flipped: bool = False) -> dict[str, torch.Tensor]:
    """The mask of each picture by its name."""
    reader = LatentReader(project / "data/latents")
    masks = MaskReader(reader.folder, mask_places(reader.folder, reader.index["key"].tolist()))
    names = {
        row["sha256"]: row["path"]
        for row in pa.parquet.read_table(project / "data/manifest.parquet").to_pylist()
    }
    found = {}
    for row, sha256 in enumerate(reader.index["sha256"]):
        size = tuple(reader.rows([row]).shape[2:])
        one = masks.rows(np.array([row]), np.array([flipped]), (size[0], size[1]))
        found[names[sha256]] = one[0, 0]
    return found


def test_a_mask_is_cropped_as_its_image_and_averaged(masked: Path) -> None:
    main()
    found = masks_of(masked)
    # 64 pixels are halved to 32 and lose 4 on the left: 12 of 28 are left of the middle, 3 of 7.
    assert found["0.png"].shape == (8, 7)
    assert found["0.png"][:, :3].max() < 0.05
    assert found["0.png"][:, 3:].min() > 0.95
    halved = Image.open(masked / "data/sample/masks/1.png").resize(
        (48, 32), Image.Resampling.LANCZOS
    )
    pixels = np.asarray(halved.crop((4, 0, 48, 32)), np.float64) / 255
    average = pixels.reshape(8, FACTOR, 11, FACTOR).mean(axis=(1, 3))
    np.testing.assert_allclose(found["1.png"].numpy(), average, atol=1e-3)
    assert all((found[f"{number}.png"] == 1).all() for number in (2, 3, 4)), "no mask: all counts"
    assert torch.equal(masks_of(masked, flipped=True)["0.png"], found["0.png"].flip(1))


def test_latents_are_the_same_with_masks_and_without(masked: Path) -> None:
    main()
    index, with_masks = read_index(masked), latents(masked)
    edit(masked, "masks: files", "masks: null")
    main()
    assert not (masked / "data/latents/masks.parquet").exists()
    assert read_index(masked) == index
    assert all(torch.equal(with_masks[sha256], one) for sha256, one in latents(masked).items())
    assert len(list((masked / "data/latents").glob("*.safetensors"))) == 3


def test_masks_are_made_once_and_anew_when_their_file_changes(
    masked: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def told() -> str:
        main()
        out = "".join(capfd.readouterr())
        return re.findall(r"\d+ masks, \d+ made, \d+ reused", out)[-1]

    assert told() == "2 masks, 2 made, 0 reused"
    assert told() == "2 masks, 0 made, 2 reused"
    mask_file(masked, 0, np.full((64, 64), 255, np.uint8))
    list_masks(masked)
    assert told() == "2 masks, 1 made, 1 reused"
    assert (masks_of(masked)["0.png"] == 1).all()


def test_verify_and_compact_know_masks(masked: Path) -> None:
    main()
    store, output = LatentStore(masked / "work/latents"), masked / "data/latents"
    assert verify(store, output).faults == ()
    assert compact(store, live_keys(output), 1 << 20).dead_rows == 0
    before = masks_of(masked)
    main()
    assert all(torch.equal(before[name], mask) for name, mask in masks_of(masked).items())
    (output / "masks.parquet").write_bytes(b"no parquet")
    assert any("masks.parquet" in str(fault.path) for fault in verify(store, output).faults)


def test_alpha_is_a_mask_and_a_file_comes_before_it(masked: Path) -> None:
    pixels = np.full((64, 64, 4), 255, np.uint8)
    pixels[:32, :, 3] = 0
    for number in (0, 2):
        pixels[0, 0, 0] = number
        Image.fromarray(pixels).save(masked / f"data/sample/{number}.png")
    (masked / "masks").mkdir()
    for path in (masked / "data/sample/masks").iterdir():
        path.rename(masked / "masks" / path.name)
    (masked / "data/sample/masks").rmdir()
    describe(masked)
    (masked / "masks").rename(masked / "data/sample/masks")
    edit(masked, "masks: files", "masks: alpha")
    main()
    top, bottom = masks_of(masked)["2.png"][:3], masks_of(masked)["2.png"][5:]
    assert (top.max() < 0.05, bottom.min() > 0.95) == (True, True)
    assert torch.equal(masks_of(masked)["0.png"], masks_of(masked)["2.png"])
    assert (masks_of(masked)["1.png"] == 1).all()
    edit(masked, "masks: alpha", "masks: both")
    main()
    found = masks_of(masked)
    assert found["0.png"][:, :3].max() < 0.05, "its file"
    assert found["2.png"][:3].max() < 0.05, "its own opacity"


def test_bad_masks_are_told(masked: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mask_file(masked, 0, np.zeros((32, 32), np.uint8))
    list_masks(masked)
    main()
    assert "1 of 2 new masks are black all over" in (out := "".join(capfd.readouterr()))
    assert "the first is of 0.png" in out
    assert (masks_of(masked)["0.png"] == 0).all()

    for content, why in (
        (np.zeros((32, 64), np.uint8), "the mask is 64 x 32 pixels, its image 64 x 64: another"),
        (None, "the mask cannot be used"),
    ):
        if content is None:
            (masked / "data/sample/masks/0.png").write_bytes(b"no image")
        else:
            mask_file(masked, 0, content)
        list_masks(masked)
        with pytest.raises(SystemExit):
            main()
        assert why in (out := "".join(capfd.readouterr()))
        assert "masks/0.png" in out

    mask_file(masked, 0, np.zeros((64, 64), np.uint8))
    with pytest.raises(SystemExit):
        main()
    assert "the mask has changed since it was listed" in "".join(capfd.readouterr())


def test_masks_that_are_wanted_and_nowhere_are_told(
    masked: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_table(MASKS.empty_table(), masked / "data/masks.parquet", MASKS)
    with pytest.raises(SystemExit):
        main()
    assert "no image has a mask file" in "".join(capfd.readouterr())
    edit(masked, "masks: files", "masks: alpha")
    (masked / "data/sample/masks").rename(masked / "masks")
    paint(masked, 9, (64, 64))
    describe(masked)
    main()
    assert "none of 6 new masks leaves anything out" in "".join(capfd.readouterr())
