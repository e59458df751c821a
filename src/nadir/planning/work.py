"""What a training will go through: images, epochs, and how often each bucket comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nadir.data.tables import BUCKETS, LATENT_INDEX, MANIFEST, read_table
from nadir.ground import artifacts
from nadir.training.loader import batch_plan
from nadir.training.samples import load_samples

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from nadir.config.train import TrainParams

_ENCODED = artifacts.LATENTS / "index.parquet"


@dataclass(frozen=True)
class BucketWork:
    """One bucket's share.

    Attributes:
        width: In pixels.
        height: In pixels.
        images: Training images in it.
        batch: Images of one of its batches, over all processes.
        batches: How many of the steps are its.
    """

    width: int
    height: int
    images: int
    batch: int
    batches: int


@dataclass(frozen=True)
class Work:
    """What the steps of a training go through.

    Attributes:
        images: Training images.
        epoch_images: Of one pass, repetitions included.
        shown: Images of all steps together.
        buckets: By width and height.
    """

    images: int
    epoch_images: int
    shown: int
    buckets: tuple[BucketWork, ...]

    @property
    def epochs(self) -> float:
        """Passes over the images."""
        return self.shown / self.epoch_images

    def fullest(self) -> BucketWork:
        """The bucket whose batches have the most pixels."""
        return max(self.buckets, key=lambda b: b.width * b.height * b.batch)


def plan_work(root: Path, train: TrainParams) -> Work | None:
    """The work of a training; None while a stage that it depends on has not run.

    Args:
        root: The project's.
        train: `params.yaml` train.

    Raises:
        NadirError: The data and the settings do not fit, as the training would find.
    """
    needed = (artifacts.MANIFEST, artifacts.TAGS)
    images = (_ENCODED, artifacts.BUCKETS)
    if not all((root / path).is_file() for path in needed):
        return None
    if not any((root / path).is_file() for path in images):
        return None
    samples = load_samples(
        _index(root),
        manifest=root / artifacts.MANIFEST,
        tags=root / artifacts.TAGS,
        tag_weighting=False,
        repeats=train.repeats,
    )
    plan = batch_plan(samples, train)
    counts = plan.visits_before(train.steps)
    buckets = []
    for rows, batch, count in zip(samples.buckets, plan.batch_sizes, counts, strict=True):
        height, width = samples.time_ids_N6[rows[0], 4:]
        buckets.append(BucketWork(int(width), int(height), len(rows), batch, count))
    return Work(
        images=len(samples),
        epoch_images=plan.epoch_images // samples.epochs_a_pass,
        shown=plan.images_before(train.steps),
        buckets=tuple(sorted(buckets, key=lambda b: (b.width, b.height))),
    )


def _index(root: Path) -> pd.DataFrame:
    """The index of the latents, or what it will be once they are encoded."""
    if (root / _ENCODED).is_file():
        index: pd.DataFrame = read_table(root / _ENCODED, LATENT_INDEX).to_pandas()
        return index
    buckets = read_table(root / artifacts.BUCKETS, BUCKETS).to_pandas()
    columns = ["sha256", "width", "height"]
    images = read_table(root / artifacts.MANIFEST, MANIFEST, columns).to_pandas()
    joined: pd.DataFrame = buckets.merge(images, on="sha256")
    names = joined["bucket_width"].astype(str) + "x" + joined["bucket_height"].astype(str)
    joined["bucket"] = names
    joined[["original_width", "original_height"]] = joined[["width", "height"]]
    return joined
