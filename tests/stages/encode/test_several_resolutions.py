"""An image at two resolutions: a latent and a row of the index for each, mirrored ones too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support.encode_project import SIZES, edit, read_index

from nadir.config.bucket import BucketParams
from nadir.config.reader import read_section
from nadir.data.latents.checks import verify
from nadir.data.latents.store import LatentReader, LatentStore
from nadir.data.tables import MANIFEST, read_table
from nadir.ground.files import read_json
from nadir.model.sdxl.autoencoder import encode_images
from nadir.model.sdxl.networks import load_vae
from nadir.stages.bucket import main as bucket
from nadir.stages.encode import main
from nadir.stages.latent_statistics import main as latent_statistics

if TYPE_CHECKING:
    from pathlib import Path

LOW, HIGH = 32 * 32, 64 * 64


@pytest.fixture
def several(project: Path) -> Path:
    edit(project, "resolutions: null", f"resolutions: [{LOW}, {HIGH}]")
    edit(project, "min_images: 32", "min_images: 1")
    edit(project, "split: train", "split: all")
    bucket()
    return project


def test_each_canvas_has_its_latent_row_and_statistics_count_images(several: Path) -> None:
    edit(several, "flip: false", "flip: true")
    edit(several, "sample_images: null", "sample_images: 3")
    main()
    index = read_index(several).to_pandas()
    areas = (index["bucket_width"] * index["bucket_height"]).to_numpy()
    # The two others are 96 x 64, whose bucket of the higher resolution is 80 x 48: all fill both.
    assert len(index) == 2 * len(SIZES)
    assert index["sha256"].value_counts().to_list() == [2] * len(SIZES)
    assert ((areas <= LOW).sum(), (areas > LOW).sum()) == (len(SIZES), len(SIZES))
    assert index["flip_key"].notna().all()
    reader, vae = LatentReader(several / "data/latents"), load_vae(several / "models/base")
    manifest = read_table(several / "data/manifest.parquet", MANIFEST).to_pandas()
    for row in np.flatnonzero(index["bucket"].isin(["64x64", "32x32"])):
        name = manifest.set_index("sha256").loc[index["sha256"][row], "path"]
        side = int(index["bucket_width"][row])
        image = Image.open(several / "data/sample" / name).resize((side, side), 1)
        expected = encode_images(vae, [image])[0]
        torch.testing.assert_close(reader.rows([row])[0], expected, rtol=1e-3, atol=1e-3)
    assert verify(LatentStore(several / "work/latents"), several / "data/latents").faults == ()

    latent_statistics()
    found = read_json(several / "data/latent_statistics.json")
    assert (found["images"], found["of_images"]) == (3, 5)
    sample = reader.image_numbers() < 3
    assert sample.sum() == 6
    values = [reader.rows([row])[0].flatten(1) for row in np.flatnonzero(sample)]
    mean = torch.cat(values, dim=1).double().mean(dim=1)
    np.testing.assert_allclose(found["mean"], mean.numpy(), atol=1e-5)


def test_the_bucket_stage_counts_images_and_canvases(several: Path) -> None:
    numbers = read_json(several / "reports/buckets.json")
    assert (numbers["images"], numbers["canvases"]) == (5, 10)
    params = read_section("bucket", BucketParams, several / "params.yaml")
    assert params.resolutions == (LOW, HIGH)
