"""Masks at latent resolution: fitted as their image is, averaged over each latent pixel's area."""

from __future__ import annotations

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.buckets.geometry import fit_image
from nadir.data.inspection.decoding import open_alpha, open_image
from nadir.ground.errors import NadirError
from nadir.ground.events import Progress, say
from nadir.model.sdxl.encoding import ShardWriter, bucket_name
from nadir.model.sdxl.opening import (
    MAX_BYTES,
    bucket_batches,
    changed,
    in_room,
    opened,
    read_unchanged,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from nadir.config.encode import EncodeParams
    from nadir.data.latents.store import LatentStore
    from nadir.data.sources.interfaces import Source
    from nadir.model.sdxl.opening import Row

    Floats = NDArray[np.float32]

MASKING = 1
"""Raise when a rule here gives other masks, so that none of the old ones is used again."""

_ORDER = ("bucket_width", "bucket_height", "sha256")
_MOST_ASPECT_ERROR = 0.01


def masks_wanted(rows: pa.Table, listed: pa.Table | None, *, alpha: bool, factor: int) -> pa.Table:
    """The rows that are to have a mask, with columns mask, version and mask_key.

    Args:
        rows: Of manifest and buckets, with the key of each latent.
        listed: A `MASKS` table; None where mask files are not used.
        alpha: Whether images without a mask file get their own opacity as mask; mask is then null.
        factor: Pixels of the image along one of the latent.
    """
    found = pa.nulls(len(rows), pa.int32())
    if listed is not None:
        found = pc.index_in(rows["path"], value_set=listed["path"].combine_chunks())
        rows = rows.append_column("mask", listed["mask"].take(found))
        rows = rows.append_column("version", listed["version"].take(found))
    else:
        rows = rows.append_column("mask", found.cast(pa.string()))
        rows = rows.append_column("version", found.cast(pa.string()))
    if not alpha:
        rows = rows.filter(rows["mask"].is_valid())
    # The latent's key stands for the image and how it is fitted.
    columns = [rows[name].to_pylist() for name in ("key", "mask", "version")]
    keys = [
        hashlib.sha256(f"{key}\n{MASKING}/{factor}\n{mask}@{version}".encode()).hexdigest()
        for key, mask, version in zip(*columns, strict=True)
    ]
    return rows.append_column("mask_key", pa.array(keys, pa.string()))


@dataclass(frozen=True)
class MaskOpener:
    """Opens the mask of a row and fits it as its image is fitted.

    Attributes:
        source: Where images and masks lie.
        max_pixels: Largest width times height.
        factor: Pixels of the image along one of the latent.
    """

    source: Source
    max_pixels: int
    factor: int

    def __call__(self, row: Row) -> Floats:
        """[1, h, w] from 0 to 1.

        Raises:
            NadirError: The file is gone, has changed, is no image, or has another aspect ratio.
        """
        mask = self._alpha(row) if row["mask"] is None else self._file(row)
        height, width = row["bucket_height"] // self.factor, row["bucket_width"] // self.factor
        if mask is None:
            return np.ones((1, height, width), np.float32)
        pixels_HW = np.asarray(fit_image(mask, row), np.float32) / 255
        blocks = pixels_HW.reshape(height, self.factor, width, self.factor)
        return np.asarray(blocks.mean(axis=(1, 3)), np.float32)[None]

    def _alpha(self, row: Row) -> Image.Image | None:
        return open_alpha(io.BytesIO(read_unchanged(self.source, row)), max_pixels=self.max_pixels)

    def _file(self, row: Row) -> Image.Image:
        path = f"{self.source.location}/{row['mask']}"
        try:
            content = self.source.read(row["mask"], MAX_BYTES)
        except OSError as error:
            raise changed(path, f"the mask cannot be read ({error.strerror})") from error
        if content.version != row["version"]:
            raise changed(path, "the mask has changed since it was listed")
        try:
            # What is transparent in a mask is left out, as black is.
            mask = open_image(
                io.BytesIO(content.data), alpha_background=(0, 0, 0), max_pixels=self.max_pixels
            )
        except NadirError as error:
            raise NadirError(
                f"the mask cannot be used ({error.what})",
                where=path,
                fix="save it anew as a PNG in grey, or delete it: the whole image counts then",
            ) from error
        _check_aspect(mask.size, (row["width"], row["height"]), path)
        return mask.convert("L")


def _check_aspect(mask: tuple[int, int], image: tuple[int, int], where: str) -> None:
    """A mask may be smaller or larger than its image, by one factor for both sides."""
    expected = image[1] * mask[0] / image[0]
    if abs(mask[1] - expected) > max(1.0, _MOST_ASPECT_ERROR * expected):
        raise NadirError(
            f"the mask is {mask[0]} x {mask[1]} pixels, its image {image[0]} x {image[1]}: another "
            "aspect ratio",
            where=where,
            fix="make the mask anew from the image as it is now, or delete it: the whole image "
            "counts then",
        )


def make_masks(
    job: pa.Table, *, store: LatentStore, params: EncodeParams, opener: MaskOpener, workers: int
) -> None:
    """Make masks bucket by bucket and write their shards; no network is run.

    Args:
        job: Rows of `masks_wanted` that have no mask yet.
        store: Where shards go.
        params: Shard and batch size.
        opener: Gives the mask of a row.
        workers: Threads that decode; 0 uses every core.

    Raises:
        NadirError: A mask cannot be used.
    """
    import torch

    job = job.sort_by([(name, "ascending") for name in _ORDER])
    progress = Progress("encode", len(job), "masks")
    writer = ShardWriter(store, params.shard_bytes)
    black: list[str] = []
    full = 0
    try:
        with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
            batches = bucket_batches(job, params.batch_size)
            for rows, masks in opened(pool, in_room(opener), job, batches):
                nothing = [not mask.any() for mask in masks]
                black += [row["path"] for row in compress(rows, nothing)]
                full += sum(bool((mask == 1).all()) for mask in masks)
                masks_N1HW = torch.from_numpy(np.stack(masks)).half()
                writer.add(bucket_name(rows[0]), [row["mask_key"] for row in rows], masks_N1HW)
                progress.advance(len(rows))
    finally:
        writer.flush()
    if black:
        say(
            f"WARNING encode: {len(black):,} of {len(job):,} new masks are black all over, so "
            "their images count with train.masked_loss.unmasked alone; the first is of "
            f"{black[0]}"
        )
    if full == len(job):
        say(f"WARNING encode: none of {len(job):,} new masks leaves anything out")
