"""From the stages' files to batches: latents, captions, micro-conditioning and tag weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from nadir.data.buckets.batches import BatchPlan, pixel_batches
from nadir.data.tables import MANIFEST, TAG_RULES, TAGS, read_table
from nadir.data.tags.caption_facts import CaptionFacts, about, caption_facts
from nadir.data.tags.captions import render_caption
from nadir.data.tags.codes import TagCoder, TagUses, training_uses
from nadir.data.tags.rules import TagRules
from nadir.data.tags.weights import sample_weights, tag_names, tag_repeats
from nadir.ground.errors import NadirError
from nadir.model.sdxl.calling import TIME_IDS
from nadir.training import randomness
from nadir.training.objective import Batch
from nadir.training.regularisation import regularisation_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from nadir.config.caption import CaptionParams
    from nadir.config.objective import RegularisationParams
    from nadir.config.train import TrainParams
    from nadir.data.latents.store import LatentReader
    from nadir.model.sdxl.scaling import LatentScaling
    from nadir.model.sdxl.text import TextEncoder
    from nadir.training.timesteps import TimestepSampler

_CROP_LEFT = TIME_IDS.index("crop_left")


@dataclass(frozen=True)
class Samples:
    """The training images that have a latent, one row each, in the order of the latent index.

    Attributes:
        positions_N: Row of each in the latent index.
        tags: Of all training images of the manifest.
        tag_images_N: Which of those each row is.
        tag_names: (name, class) of each tag.
        weights_N: Tag weights, mean 1 over the training images (all 1 without tag weighting),
            times the weight of regularisation images.
        time_ids_N6: Micro-conditioning in pixels.
        buckets: Rows of this table in each bucket, buckets by name.
        repeats_N: How often an epoch shows each; None shows all once.
        facts: What captions have besides tags, of all training images; None for nothing.
        aliases: Other names of the tags.
    """

    positions_N: NDArray[np.int64]
    tags: TagUses
    tag_images_N: NDArray[np.int64]
    tag_names: Sequence[tuple[str, str]]
    weights_N: NDArray[np.float32]
    time_ids_N6: NDArray[np.float32]
    buckets: tuple[NDArray[np.int64], ...]
    repeats_N: NDArray[np.int64] | None = None
    facts: CaptionFacts | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of training images."""
        return len(self.positions_N)

    @property
    def canvas(self) -> tuple[int, int]:
        """(height, width) in pixels of the bucket with the most images."""
        largest = max(self.buckets, key=len)
        height, width = self.time_ids_N6[largest[0], 4:]
        return int(height), int(width)

    @property
    def typical_original(self) -> tuple[int, int]:
        """Median original (height, width) in pixels, what a generated image should claim."""
        height, width = np.median(self.time_ids_N6[:, :2], axis=0)
        return round(float(height)), round(float(width))

    def area_px(self, rows_B: NDArray[np.int64]) -> int:
        """Width times height of the bucket that some rows belong to."""
        height, width = self.time_ids_N6[rows_B[0], 4:]
        return int(height) * int(width)

    def prompt_tags(self, row: int) -> list[tuple[str, str]]:
        """(name, class) of each tag of one image, aliases and implications applied."""
        return [self.tag_names[tag] for tag in self.tags.of(int(self.tag_images_N[row]))]


def load_samples(
    index: pd.DataFrame,
    *,
    manifest: Path,
    tags: Path,
    tag_weighting: bool,
    repeats: Mapping[str, int] | None = None,
    regularisation: RegularisationParams | None = None,
    captions: CaptionParams | None = None,
    rules: Path | None = None,
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

    Raises:
        NadirError: No training image has a latent, or none has a tag or folder that is named.
    """
    images = read_table(manifest, MANIFEST, ["sha256", "split", "repeats"])
    train = pc.equal(images["split"], "train").to_numpy()
    row_of = pc.index_in(pa.array(index["sha256"], pa.string()), images["sha256"].combine_chunks())
    row_of = pc.fill_null(row_of, -1).to_numpy()
    positions = np.flatnonzero((row_of >= 0) & train[row_of])
    if not len(positions):
        raise NadirError(
            "no training image has a latent",
            where=str(manifest),
            fix="see data/quarantine.parquet and reports/buckets.json for where images went",
        )
    chosen, table = index.iloc[positions], read_table(tags, TAGS)
    coder, names = TagCoder(table), tag_names(table)
    uses = training_uses(manifest, coder)
    facts = None
    if captions:
        facts = caption_facts(manifest, captions, coder=coder, tag_names=names, chosen=train)
    # The tags are of training images alone, so those before an image say which of them it is.
    rows = (np.cumsum(train) - 1)[row_of[positions]]
    weights = sample_weights(uses, table) if tag_weighting else np.ones(len(uses))
    if regularisation and (regularisation.tags or regularisation.folders):
        paths = read_table(manifest, MANIFEST, ["path"])["path"].filter(train).to_pylist()
        weights = weights * regularisation_weights(regularisation, uses, table, paths)
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
        repeats_N=None
        if (shown := _repeats(images, uses, table, repeats)) is None
        else shown[rows],
        facts=facts,
        aliases={}
        if rules is None
        else TagRules.of_table(read_table(rules, TAG_RULES)).aliases({name for name, _ in names}),
    )


def _repeats(
    images: pa.Table, uses: TagUses, tags: pa.Table, by_tag: Mapping[str, int] | None
) -> NDArray[np.int64] | None:
    """How often an epoch shows each training image: its folder's number times its tags'."""
    train = images.filter(pc.equal(images["split"], "train"))
    by_folder = np.asarray(train["repeats"].fill_null(1).to_numpy(), dtype=np.int64)
    if by_tag:
        return by_folder * tag_repeats(uses, tags, by_tag)
    return by_folder if (by_folder > 1).any() else None


def batch_plan(samples: Samples, params: TrainParams) -> BatchPlan:
    """The order in which the samples are shown.

    Args:
        samples: What to train on.
        params: Batch size, its multiple, seed.
    """
    sizes: int | tuple[int, ...] = params.batch_size
    if params.batch_multiple:
        shapes = [samples.time_ids_N6[rows[0], :3:-1].astype(int) for rows in samples.buckets]
        sizes = pixel_batches(
            [(int(width), int(height)) for width, height in shapes],
            params.batch_size,
            params.batch_multiple,
        )
    repeats = None
    if samples.repeats_N is not None:
        repeats = [samples.repeats_N[rows] for rows in samples.buckets]
    return BatchPlan([len(rows) for rows in samples.buckets], sizes, params.seed, repeats)


class BatchLoader:
    """Makes the batch of any step, or one process' part of it.

    Every random choice is a pure function of (seed, step, position in the batch), so the batch
    does not depend on the number of processes or on the steps before.

    Args:
        samples: What to train on.
        reader: The latents.
        scaling: Normalises latents.
        text: Text encoders, on the training device.
        params: Batch size, captions, seed.
        timesteps: Draws the noise levels.
        device: Where batches go.

    Attributes:
        timesteps: Draws the noise levels.
    """

    def __init__(
        self,
        samples: Samples,
        *,
        reader: LatentReader,
        scaling: LatentScaling,
        text: TextEncoder,
        params: TrainParams,
        timesteps: TimestepSampler,
        device: torch.device,
    ) -> None:
        self._samples = samples
        self._reader = reader
        self._scaling = scaling
        self._text = text
        self._params = params
        self.timesteps = timesteps
        self._device = device
        self._plan = batch_plan(samples, params)

    def batch(self, step: int, *, rank: int = 0, ranks: int = 1) -> Batch:
        """The part of `step`'s batch that process `rank` of `ranks` works on.

        Raises:
            NadirError: The batch cannot be split evenly.
        """
        seed = self._params.seed
        bucket, within_B = self._plan.rank_batch(step, rank, ranks)
        rows_B = self._samples.buckets[bucket][within_B]
        places = range(rank * len(rows_B), (rank + 1) * len(rows_B))
        positions_B = self._samples.positions_N[rows_B]
        time_ids_B6 = self._samples.time_ids_N6[rows_B]
        flipped_B = self._flipped(step, positions_B, places)
        time_ids_B6[flipped_B, _CROP_LEFT] = self._reader.flip_crop_left(positions_B[flipped_B])
        latents_BCHW = self._reader.rows(positions_B, flipped_B)
        shape = (latents_BCHW.shape[1], latents_BCHW.shape[2], latents_BCHW.shape[3])
        size = self._plan.batch_sizes[bucket]
        timesteps_B = self.timesteps.draw(seed, step, size, self._samples.area_px(rows_B))
        device = self._device
        hidden_BSD, pooled_BP, tokens_BECS = self._conditioning(self.captions(step, rows_B, places))
        return Batch(
            latents_BCHW=self._scaling.normalise(latents_BCHW.to(device).float()),
            noise_BCHW=randomness.noise(seed, step, places, shape).to(device),
            timesteps_B=timesteps_B[places.start : places.stop],
            hidden_BSD=hidden_BSD,
            pooled_BP=pooled_BP,
            time_ids_B6=torch.from_numpy(time_ids_B6).to(device),
            weights_B=torch.from_numpy(self._samples.weights_N[rows_B]).to(device),
            tokens_BECS=tokens_BECS,
        )

    def _conditioning(
        self, captions: list[str]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Text states and pooled vectors, or the tokens alone where text encoders are trained."""
        chunks = self._params.caption.token_chunks
        if self._params.text_encoders is None:
            return *self._text.encode(captions, chunks), None
        none_B0 = torch.zeros(len(captions), 0)
        return none_B0, none_B0, self._text.tokens(captions, chunks).to(self._device)

    def drawn(self, step: int) -> tuple[list[str], torch.Tensor, torch.Tensor]:
        """What the whole batch of `step` is made of, whatever its values are.

        Returns:
            sha256 of each image, timesteps_B, and whether each latent is finite.
        """
        bucket, within_B = self._plan.rank_batch(step, 0, 1)
        positions_B = self._samples.positions_N[self._samples.buckets[bucket][within_B]]
        size = self._plan.batch_sizes[bucket]
        latents_BCHW = self._reader.rows(positions_B, self._flipped(step, positions_B, range(size)))
        area_px = self._samples.area_px(self._samples.buckets[bucket][within_B])
        timesteps_B = self.timesteps.draw(self._params.seed, step, size, area_px)
        finite_B = latents_BCHW.isfinite().flatten(1).all(dim=1)
        return list(self._reader.index["sha256"].iloc[positions_B]), timesteps_B, finite_B

    def _flipped(
        self, step: int, positions_B: NDArray[np.int64], places: Sequence[int]
    ) -> NDArray[np.bool_]:
        """Which images of the batch are shown mirrored."""
        coins: NDArray[np.bool_] = randomness.flips(self._params.seed, step, places)
        return self._reader.has_flip(positions_B) & coins

    @property
    def epoch_images(self) -> int:
        """Images of one pass over the samples, repetitions included."""
        return self._plan.epoch_images

    def images_before(self, step: int) -> int:
        """Images in all batches before `step`, repetitions included."""
        return self._plan.images_before(step)

    def captions(self, step: int, rows: NDArray[np.int64], places: Sequence[int]) -> list[str]:
        """Prompts of some samples at `step`, tags dropped and shuffled by `params.caption`."""
        return [
            render_caption(
                self._samples.prompt_tags(int(row)),
                self._params.caption,
                randomness.caption_rng(self._params.seed, step, place),
                about(self._samples.facts, int(self._samples.tag_images_N[row])),
            )
            for row, place in zip(rows, places, strict=True)
        ]
