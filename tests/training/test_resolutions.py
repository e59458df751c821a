"""Several resolutions: visits by image, one resolution a batch, conditioning of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.support.training_project import HOLDOUT, IMAGES
from tests.training.test_loader import loader_of, samples_of

from nadir.config.objective import UniformTimesteps
from nadir.data.latents.checks import verify
from nadir.data.latents.store import LatentReader, LatentStore
from nadir.data.tables import LATENT_INDEX, write_table
from nadir.heldout.images import load_heldout
from nadir.training.loader import batch_plan
from nadir.training.samples import load_samples

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.config.train import TrainParams

LARGE = (96, 96)


@pytest.fixture
def several(project: Path) -> Path:
    """The project, its square images at 96 x 96 as well as at 32 x 32."""
    folder = project / "data/latents"
    rows = pa.Table.from_pandas(LatentReader(folder).index, LATENT_INDEX).to_pylist()
    square = [row for row in rows if row["bucket"] == "32x32"]
    keys = [f"large-{row['key']}" for row in square]
    latents = torch.randn(len(keys), 4, 24, 24, generator=torch.Generator().manual_seed(0))
    shard = LatentStore(folder).write_shard("96x96", keys, latents)
    place = {"shard": shard, "bucket": "96x96", "bucket_width": 96, "bucket_height": 96}
    rows += [
        row | place | {"key": key, "row": number, "crop_left": 9}
        for number, (row, key) in enumerate(zip(square, keys, strict=True))
    ]
    rows.sort(key=lambda row: (row["sha256"], row["bucket_width"], row["bucket_height"]))
    write_table(pa.Table.from_pylist(rows, LATENT_INDEX), folder / "index.parquet", LATENT_INDEX)
    return project


def shown_by_row(project: Path, params: TrainParams, epochs: int, **changes: object) -> np.ndarray:
    samples = load_samples(
        LatentReader(project / "data/latents").index,
        manifest=project / "data/manifest.parquet",
        tags=project / "data/tags.parquet",
        tag_weighting=True,
        **changes,
    )
    plan = batch_plan(samples, params)
    steps = epochs * plan.epoch_images // samples.epochs_a_pass // params.batch_size
    counts = np.zeros(len(samples.positions_N))
    for step in range(steps):
        bucket, places = plan.batch(step)
        np.add.at(counts, samples.buckets[bucket][places], 1)
    return counts


def test_every_image_is_shown_once_an_epoch_whatever_its_resolutions(
    several: Path, train_params: TrainParams
) -> None:
    samples = samples_of(several)
    assert len(samples) == IMAGES - HOLDOUT
    assert len(samples.positions_N) == 81
    loader = loader_of(several, train_params, samples)
    assert loader.epoch_images == IMAGES - HOLDOUT
    params = train_params.model_copy(update={"batch_size": 3})
    counts = shown_by_row(several, params, epochs=40)
    by_image = np.bincount(samples.tag_images_N, counts)
    # Batches do not end where epochs do, and a bucket's share of them may be off by two.
    assert abs(by_image - 40).max() <= 3
    twice = np.bincount(samples.tag_images_N)[samples.tag_images_N] == 2
    assert twice.sum() == 54
    assert abs(counts[twice] - 20).max() <= 2


def test_repeats_count_by_image_too(several: Path, train_params: TrainParams) -> None:
    params = train_params.model_copy(update={"batch_size": 3})
    samples = samples_of(several)
    counts = shown_by_row(several, params, epochs=12, repeats={"smile": 3})
    by_image = np.bincount(samples.tag_images_N, counts)
    rows = {image: row for row, image in enumerate(samples.tag_images_N.tolist())}
    has = [("smile", "general") in samples.prompt_tags(rows[image]) for image in range(len(rows))]
    assert by_image[has].mean() == pytest.approx(36, rel=0.1)
    assert by_image[~np.array(has)].mean() == pytest.approx(12, rel=0.1)


def test_a_batch_is_of_one_resolution_with_its_own_conditioning_and_timesteps(
    several: Path, train_params: TrainParams
) -> None:
    shifted = UniformTimesteps(distribution="uniform", min=0.0, max=1.0, shift=1024)
    loader = loader_of(several, train_params.model_copy(update={"timesteps": shifted}))
    drawn: dict[tuple[int, ...], list[torch.Tensor]] = {}
    for step in range(60):
        batch = loader.batch(step)
        height, width = batch.latents_BCHW.shape[2:]
        assert (batch.time_ids_B6[:, 4:] == torch.tensor([4 * height, 4 * width])).all()
        assert (batch.time_ids_B6[:, 3] == (9 if width == 24 else 3)).all()
        assert (batch.time_ids_B6[:, 1] == 300).all()
        drawn.setdefault((height, width), []).append(batch.timesteps_B)
    assert sorted(drawn) == [(6, 10), (8, 8), (24, 24)]
    mean = {size: float(torch.cat(found).double().mean()) for size, found in drawn.items()}
    assert mean[(24, 24)] > mean[(8, 8)] + 100, "nine times the area asks for three times the sigma"


def test_what_is_drawn_and_measured_takes_each_image_at_its_largest(
    several: Path, train_params: TrainParams
) -> None:
    samples = samples_of(several)
    assert samples.canvas in (LARGE, (24, 40))
    assert samples.is_largest.sum() == IMAGES - HOLDOUT
    sizes = samples.time_ids_N6[samples.is_largest, 4:].tolist()
    assert [32.0, 32.0] not in sizes
    heldout = load_heldout(
        manifest=several / "data/manifest.parquet",
        tags=several / "data/tags.parquet",
        latents=several / "data/latents",
        captions=train_params.caption,
        limit=99,
    )
    assert len({image.sha256 for image in heldout}) == len(heldout) == HOLDOUT
    assert {tuple(image.latents_CHW.shape) for image in heldout} == {(4, 24, 24), (4, 6, 10)}


def test_the_check_of_latents_knows_several_rows_of_an_image(several: Path) -> None:
    folder = several / "data/latents"
    assert verify(LatentStore(several / "work/latents"), folder).faults == ()
    rows = pa.Table.from_pandas(LatentReader(folder).index, LATENT_INDEX).to_pylist()
    twice = pa.Table.from_pylist([rows[0], *rows], LATENT_INDEX)
    write_table(twice, folder / "index.parquet", LATENT_INDEX)
    faults = verify(LatentStore(several / "work/latents"), folder).faults
    assert "one is there twice" in faults[0].what
