"""The training images that have latents: tags, weights, micro-conditioning and buckets of each."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.tables import MANIFEST, TAG_RULES, TAGS, read_table
from nadir.data.tags.caption_facts import CaptionFacts, caption_facts
from nadir.data.tags.codes import TagCoder, TagUses, training_uses
from nadir.data.tags.rules import TagRules
from nadir.data.tags.weights import sample_weights, tag_names, tag_repeats
from nadir.ground.errors import NadirError
from nadir.model.sdxl.calling import TIME_IDS
from nadir.training.losses.regularisation import regularisation_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from nadir.config.caption import CaptionParams
    from nadir.config.objective import RegularisationParams

CROP_LEFT = TIME_IDS.index("crop_left")
"""Column of micro-conditioning."""


@dataclass(frozen=True)
class Samples:
    """The latents of training images, one row each, in the order of the latent index.

    An image has a row for each resolution it is trained at, and shares its visits out evenly among
    them: an epoch shows each image once (or as often as it is repeated), whatever its rows.

    Attributes:
        positions_N: Row of each in the latent index.
        tags: Of all training images of the manifest.
        tag_images_N: Which of those each row is.
        tag_names: (name, class) of each tag.
        weights_N: Tag weights, mean 1 over the training images (all 1 without tag weighting),
            times the weight of regularisation images.
        time_ids_N6: Micro-conditioning in pixels.
        buckets: Rows of this table in each bucket, buckets by name.
        repeats_N: How often one pass over the batches shows each; None shows all once.
        epochs_a_pass: Epochs in one pass over the batches: the least number in which every image
            shows each of its rows equally often.
        facts: What captions have besides tags, of all training images; None for nothing.
        aliases: Other names of the tags.
        hashes: sha256 of each row's image.
        largest_N: What `is_largest` gives, where it is known.
    """

    positions_N: NDArray[np.int64]
    tags: TagUses
    tag_images_N: NDArray[np.int64]
    tag_names: Sequence[tuple[str, str]]
    weights_N: NDArray[np.float32]
    time_ids_N6: NDArray[np.float32]
    buckets: tuple[NDArray[np.int64], ...]
    repeats_N: NDArray[np.int64] | None = None
    epochs_a_pass: int = 1
    facts: CaptionFacts | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    hashes: Sequence[str] = ()
    largest_N: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """Number of training images."""
        return int(self.is_largest.sum())

    @cached_property
    def is_largest(self) -> NDArray[np.bool_]:
        """Whether each row is its image's at the highest resolution; true once for each image."""
        if self.largest_N is not None:
            return self.largest_N
        order = np.lexsort((self.time_ids_N6[:, 4:].prod(axis=1), self.tag_images_N))
        images = self.tag_images_N[order]
        found = np.zeros(len(images), bool)
        found[order[np.append(images[1:] != images[:-1], True)]] = True
        return found

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) in pixels of the bucket with the most images, each at its largest."""
        largest = max(self.buckets, key=lambda rows: int(self.is_largest[rows].sum()))
        height, width = self.time_ids_N6[largest[0], 4:]
        return int(height), int(width)

    @property
    def canvases(self) -> list[tuple[int, int]]:
        """(width, height) in pixels of every bucket with an image, sorted."""
        found = (self.time_ids_N6[rows[0], 4:] for rows in self.buckets)
        return sorted((int(width), int(height)) for height, width in found)

    @property
    def typical_original(self) -> tuple[int, int]:
        """Median original (height, width) in pixels, what a generated image should claim."""
        height, width = np.median(self.time_ids_N6[self.is_largest, :2], axis=0)
        return round(float(height)), round(float(width))

    def visit_shares(self) -> NDArray[np.float64]:
        """Share of all images shown that comes from each bucket."""
        repeats_N = np.ones(len(self.positions_N)) if self.repeats_N is None else self.repeats_N
        shown = np.array([repeats_N[rows].sum() for rows in self.buckets])
        return np.asarray(shown / shown.sum())

    def area_px(self, rows_B: NDArray[np.int64]) -> int:
        """Width times height of the bucket that some rows belong to."""
        height, width = self.time_ids_N6[rows_B[0], 4:]
        return int(height) * int(width)

    def prompt_tags(self, row: int) -> list[tuple[str, str]]:
        """(name, class) of each tag of one image, aliases and implications applied."""
        return [self.tag_names[tag] for tag in self.tags.of(int(self.tag_images_N[row]))]


def load_samples(  # noqa: PLR0913 - each is a file or a setting of its own
    index: pd.DataFrame,
    *,
    manifest: Path,
    tags: Path,
    tag_weighting: bool,
    repeats: Mapping[str, int] | None = None,
    regularisation: RegularisationParams | None = None,
    captions: CaptionParams | None = None,
    rules: Path | None = None,
    uses: TagUses | None = None,
) -> Samples:
    """Join the latent index with the manifest's training split.

    Args:
        index: Rows of data/latents/index.parquet.
        manifest: data/manifest.parquet.
        tags: data/tags.parquet.
        tag_weighting: Weigh samples by the rarity of their tags.
        repeats: `train.repeats`.
        regularisation: `train.regularisation`.
        captions: `train.caption`; None where no captions are made.
        rules: data/tag_rules.parquet; None where nothing is asked for by other names.
        uses: `training_uses` of the manifest where they are known; None reads them.

    Raises:
        NadirError: No training image has a latent, or none has a tag or folder that is named.
    """
    images = read_table(manifest, MANIFEST, ["sha256", "split", "repeats"])
    train = pc.equal(images["split"], "train").to_numpy()
    positions, rows = _join(index, images["sha256"], train, where=manifest)
    chosen, table = index.iloc[positions], read_table(tags, TAGS)
    coder, names = TagCoder(table), tag_names(table)
    uses = training_uses(manifest, coder) if uses is None else uses
    weights = sample_weights(uses, table) if tag_weighting else np.ones(len(uses))
    if regularisation:
        weights = weights * _regularisation(regularisation, uses, table, manifest, train)
    shown, epochs = _visits(rows, _repeats(images, uses, table, repeats))
    return Samples(
        positions_N=positions.astype(np.int64),
        tags=uses,
        tag_images_N=rows,
        tag_names=names,
        weights_N=weights[rows].astype(np.float32),
        time_ids_N6=chosen[list(TIME_IDS)].to_numpy(np.float32),
        buckets=tuple(
            np.asarray(found, np.int64)
            for _, found in sorted(chosen.groupby("bucket").indices.items())
        ),
        repeats_N=shown,
        epochs_a_pass=epochs,
        facts=caption_facts(manifest, captions, coder=coder, tag_names=names, chosen=train)
        if captions
        else None,
        aliases=_aliases(rules, names) if rules else {},
        hashes=chosen["sha256"].tolist(),
    )


def _regularisation(
    params: RegularisationParams,
    uses: TagUses,
    tags: pa.Table,
    manifest: Path,
    train: NDArray[np.bool_],
) -> NDArray[np.float64] | float:
    """Weight of each training image by `train.regularisation`; paths are read if it names any."""
    if not (params.tags or params.folders):
        return 1.0
    paths = read_table(manifest, MANIFEST, ["path"])["path"].filter(train).to_pylist()
    return regularisation_weights(params, uses, tags, paths)


def _join(
    index: pd.DataFrame, hashes: pa.ChunkedArray, train: NDArray[np.bool_], *, where: Path
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the latent index that are training images, and which of those each is.

    Args:
        index: The latent index.
        hashes: The manifest's sha256.
        train: Whether each image of the manifest is one for training.
        where: The manifest.

    Raises:
        NadirError: No training image has a latent.
    """
    row_of = pc.index_in(pa.array(index["sha256"], pa.string()), hashes.combine_chunks())
    row_of = pc.fill_null(row_of, -1).to_numpy()
    positions = np.flatnonzero((row_of >= 0) & train[row_of])
    if not len(positions):
        raise NadirError(
            "no training image has a latent",
            where=str(where),
            fix="see data/quarantine.parquet and reports/buckets.json for where images went",
        )
    # Tags are of training images alone, so those before an image say which of them it is.
    return positions, (np.cumsum(train) - 1)[row_of[positions]]


def _aliases(rules: Path, names: Sequence[tuple[str, str]]) -> dict[str, str]:
    table = TagRules.of_table(read_table(rules, TAG_RULES))
    return table.aliases({name for name, _ in names})


def _repeats(
    images: pa.Table, uses: TagUses, tags: pa.Table, by_tag: Mapping[str, int] | None
) -> NDArray[np.int64] | None:
    """How often an epoch shows each training image: its folder's number times its tags'."""
    train = images.filter(pc.equal(images["split"], "train"))
    by_folder = np.asarray(train["repeats"].fill_null(1).to_numpy(), dtype=np.int64)
    if by_tag:
        return by_folder * tag_repeats(uses, tags, by_tag)
    return by_folder if (by_folder > 1).any() else None


def _visits(
    rows: NDArray[np.int64], often: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64] | None, int]:
    """How often a pass shows each row, None for once each; and how many epochs that pass is."""
    shown, epochs = _shared_visits(rows)
    if often is not None:
        return shown * often[rows], epochs
    return (shown if epochs > 1 else None), epochs


def _shared_visits(images_N: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """How often a pass shows each row, and how many epochs that pass is.

    An image with r rows gives each 1 / r of its visits. Over as many epochs as the least common
    multiple of all r these are whole numbers, which the plan of batches wants.
    """
    of_image = np.bincount(images_N)
    epochs = math.lcm(*np.unique(of_image[of_image > 0]).tolist())
    return epochs // of_image[images_N], epochs
