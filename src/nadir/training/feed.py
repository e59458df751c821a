"""From the stages' files to batches: latents, captions, micro-conditioning and tag weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from nadir.data.batches import BatchPlan
from nadir.data.captions import render_caption
from nadir.data.tables import MANIFEST, TAGS, read_table
from nadir.data.tags import sample_weights
from nadir.ground.errors import NadirError
from nadir.training import randomness
from nadir.training.objective import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nadir.config.train import TrainParams
    from nadir.data.latents import LatentReader
    from nadir.model.scaling import LatentScaling
    from nadir.model.text import TextEncoder

_TIME_IDS = (
    "original_height",
    "original_width",
    "crop_top",
    "crop_left",
    "bucket_height",
    "bucket_width",
)


@dataclass(frozen=True)
class Samples:
    """The training images that have a latent, one row each, in the order of the latent index.

    Attributes:
        positions_N: Row of each in the latent index.
        tags: [N] lists of tags, in Arrow memory.
        weights_N: Tag weights, mean 1 over the training images; all 1 without tag weighting.
        time_ids_N6: Micro-conditioning in pixels.
        buckets: Rows of this table in each bucket, buckets by name.
    """

    positions_N: NDArray[np.int64]
    tags: pa.Array
    weights_N: NDArray[np.float32]
    time_ids_N6: NDArray[np.float32]
    buckets: tuple[NDArray[np.int64], ...]

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

    def prompt_tags(self, row: int) -> list[tuple[str, str]]:
        """(name, class) of each tag of one image."""
        return [(tag["name"], tag["class"]) for tag in self.tags[row].as_py()]


def load_samples(
    index: pd.DataFrame, *, manifest: Path, tags: Path, tag_weighting: bool
) -> Samples:
    """Join the latent index with the manifest's training split.

    Args:
        index: Rows of data/latents/index.parquet.
        manifest: data/manifest.parquet.
        tags: data/tags.parquet, read only with tag weighting.
        tag_weighting: Weigh samples by the rarity of their tags.

    Raises:
        NadirError: No training image has a latent.
    """
    images = read_table(manifest, MANIFEST, ["sha256", "split", "tags"])
    weights = np.ones(len(images), np.float32)
    if tag_weighting:
        weights = sample_weights(images, read_table(tags, TAGS)).astype(np.float32)
    row_of = pd.Index(images["sha256"].to_numpy(zero_copy_only=False)).get_indexer(index["sha256"])
    train = images["split"].to_numpy(zero_copy_only=False) == "train"
    positions = np.flatnonzero((row_of >= 0) & train[row_of])
    if not len(positions):
        raise NadirError(
            "no training image has a latent",
            where=str(manifest),
            fix="see data/quarantine.parquet and reports/buckets.json for where images went",
        )
    rows, chosen = row_of[positions], index.iloc[positions]
    return Samples(
        positions_N=positions.astype(np.int64),
        tags=images["tags"].combine_chunks().take(pa.array(rows)),
        weights_N=weights[rows],
        time_ids_N6=chosen[list(_TIME_IDS)].to_numpy(np.float32),
        buckets=tuple(
            np.asarray(found, np.int64)
            for _, found in sorted(chosen.groupby("bucket").indices.items())
        ),
    )


class Feed:
    """Makes the batch of any step, or one process' part of it.

    Every random choice is a pure function of (seed, step, position in the batch), so the batch
    does not depend on the number of processes or on the steps before.

    Args:
        samples: What to train on.
        reader: The latents.
        scaling: Normalises latents.
        text: Frozen text encoders, on the training device.
        params: Batch size, captions, seed.
        timesteps: T of the noise schedule.
        device: Where batches go.
    """

    def __init__(
        self,
        samples: Samples,
        *,
        reader: LatentReader,
        scaling: LatentScaling,
        text: TextEncoder,
        params: TrainParams,
        timesteps: int,
        device: torch.device,
    ) -> None:
        self._samples = samples
        self._reader = reader
        self._scaling = scaling
        self._text = text
        self._params = params
        self._timesteps = timesteps
        self._device = device
        sizes = [len(rows) for rows in samples.buckets]
        self._plan = BatchPlan(sizes, params.batch_size, params.seed)

    def batch(self, step: int, *, rank: int = 0, ranks: int = 1) -> Batch:
        """The part of `step`'s batch that process `rank` of `ranks` works on.

        Raises:
            NadirError: The batch cannot be split evenly.
        """
        seed, size = self._params.seed, self._params.batch_size
        bucket, within_B = self._plan.rank_batch(step, rank, ranks)
        rows_B = self._samples.buckets[bucket][within_B]
        places = range(rank * len(rows_B), (rank + 1) * len(rows_B))
        latents_BCHW = self._reader.rows(self._samples.positions_N[rows_B]).float()
        shape = (latents_BCHW.shape[1], latents_BCHW.shape[2], latents_BCHW.shape[3])
        timesteps = randomness.stratified_timesteps(seed, step, size, self._timesteps)
        hidden_BSD, pooled_BP = self._text.encode(
            self.captions(step, rows_B, places), self._params.caption.token_chunks
        )
        device = self._device
        return Batch(
            latents_BCHW=self._scaling.normalise(latents_BCHW).to(device),
            noise_BCHW=randomness.noise(seed, step, places, shape).to(device),
            timesteps_B=timesteps[places.start : places.stop],
            hidden_BSD=hidden_BSD,
            pooled_BP=pooled_BP,
            time_ids_B6=torch.from_numpy(self._samples.time_ids_N6[rows_B]).to(device),
            weights_B=torch.from_numpy(self._samples.weights_N[rows_B]).to(device),
        )

    def captions(self, step: int, rows: NDArray[np.int64], places: Sequence[int]) -> list[str]:
        """Prompts of some samples at `step`, tags dropped and shuffled by `params.caption`."""
        return [
            render_caption(
                self._samples.prompt_tags(int(row)),
                self._params.caption,
                randomness.caption_rng(self._params.seed, step, place),
            )
            for row, place in zip(rows, places, strict=True)
        ]
