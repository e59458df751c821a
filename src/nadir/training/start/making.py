"""Joins what a training reads: in memory, or into files for all processes to map."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.data.latents.masks import MASKS_NAME, mask_places
from nadir.data.latents.places import LatentPlaces
from nadir.data.latents.store import INDEX_NAME
from nadir.data.tables import LATENT_INDEX, TAGS, read_table
from nadir.data.tags.codes import TagCoder, training_uses
from nadir.training.samples import load_samples
from nadir.training.start.kept import is_whole, writing
from nadir.training.start.tables import TrainingData, map_uses, write_data, write_uses

if TYPE_CHECKING:
    from nadir.config.train import TrainParams
    from nadir.data.tags.codes import TagUses


@dataclass(frozen=True)
class Sources:
    """The stages' files that a training reads, latents themselves aside.

    Attributes:
        manifest: `data/manifest.parquet`.
        tags: `data/tags.parquet`.
        rules: `data/tag_rules.parquet`.
        latents: Folder `data/latents`.
    """

    manifest: Path
    tags: Path
    rules: Path
    latents: Path

    def files(self) -> list[Path]:
        """All of them; that of the masks may be missing."""
        indexes = [self.latents / INDEX_NAME, self.latents / MASKS_NAME]
        return [self.manifest, self.tags, self.rules, *indexes]


@dataclass(frozen=True)
class Order:
    """What is to be made, and where.

    Attributes:
        sources: What it is made of.
        train: `params.yaml` train.
        tags: Folder of the images' tags.
        data: Folder of everything else.
    """

    sources: Sources
    train: TrainParams
    tags: Path
    data: Path


def join(sources: Sources, train: TrainParams, uses: TagUses | None = None) -> TrainingData:
    """Read and join everything in this process' memory.

    Args:
        sources: The stages' files.
        train: `params.yaml` train.
        uses: The tags of the training images, where they are known; else the manifest's are read.

    Raises:
        NadirError: A table is missing or damaged; no training image has a latent; a tag or folder
            that the parameters name is nowhere.
    """
    table = read_table(sources.latents / INDEX_NAME, LATENT_INDEX)
    samples = load_samples(
        table.to_pandas(),
        manifest=sources.manifest,
        tags=sources.tags,
        tag_weighting=train.tag_weighting,
        repeats=train.repeats,
        regularisation=train.regularisation,
        captions=train.caption,
        rules=sources.rules,
        uses=uses,
    )
    masks = mask_places(sources.latents, table["key"].to_pylist()) if train.masked_loss else None
    return TrainingData(samples, LatentPlaces.of_table(table), masks)


def make(order: Order) -> bool:
    """Write what is missing; whether anything was.

    Raises:
        NadirError: As `join` does.
        OSError: The disk is full, or cannot be written to.
    """
    if is_whole(order.tags) and is_whole(order.data):
        return False
    if not is_whole(order.tags):
        coder = TagCoder(read_table(order.sources.tags, TAGS))
        with writing(order.tags) as folder, tempfile.TemporaryDirectory(dir=folder) as scratch:
            uses = training_uses(order.sources.manifest, coder, Path(scratch) / "codes")
            write_uses(folder, uses)
    with writing(order.data) as folder:
        write_data(folder, join(order.sources, order.train, map_uses(order.tags)))
    return True
