"""Encoding the images that have no latent yet: in one process, or shared out over several."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.inspection.decoding import DECODING
from nadir.data.latents.shards import shard_rows
from nadir.data.latents.store import LatentStore, latent_key
from nadir.ground.errors import NadirError
from nadir.ground.events import Progress
from nadir.model.sdxl.opening import bucket_batches, in_room, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch
    from diffusers import AutoencoderKL
    from PIL import Image

    from nadir.config.encode import EncodeParams, TilingParams

    Row = Mapping[str, Any]

GEOMETRY = (
    "resize_width", "resize_height", "crop_left", "crop_top", "bucket_width", "bucket_height",
)  # fmt: skip
_ORDER = ("bucket_width", "bucket_height", "sha256", "flipped")


@dataclass(frozen=True)
class Recipe:
    """All that shapes a latent besides image and crop.

    Attributes:
        encoder: Hash of the VAE's encoder, of its precision and of the stored one.
        background: RGB (0-255) behind transparent pixels.
        tiling: When and how images are encoded in tiles.
    """

    encoder: str
    background: tuple[int, int, int]
    tiling: TilingParams

    def keys(self, rows: pa.Table) -> pa.ChunkedArray:
        """The content key of each row's latent.

        Args:
            rows: sha256, the columns of `GEOMETRY`, flipped.
        """
        pixels = pc.multiply(rows["bucket_width"].cast("int64"), rows["bucket_height"])
        tiled = pc.greater(pixels, self.tiling.above_px or np.iinfo(np.int64).max)
        tiles = f";tiles={self.tiling.tile_px}/{self.tiling.overlap_px}"
        geometry = pc.binary_join_element_wise(
            pc.binary_join_element_wise(*(rows[name].cast("string") for name in GEOMETRY), ","),
            f";alpha={self.background};decoding={DECODING}",
            pc.if_else(tiled, tiles, ""),
            pc.if_else(rows["flipped"], ";flip", ""),
            "",
        )
        # Part by part, so that millions of texts are not there at once.
        parts = pa.table({"sha256": rows["sha256"], "geometry": geometry}).to_batches(1 << 16)
        keys = [
            pa.array([latent_key(sha, self.encoder, text) for sha, text in zip(*part, strict=True)])
            for part in ([column.to_pylist() for column in part.columns] for part in parts)
        ]
        return pa.chunked_array(keys, pa.string())


def encode_missing(
    job: pa.Table,
    *,
    vae: AutoencoderKL,
    store: LatentStore,
    params: EncodeParams,
    open_row: Callable[[Row], Image.Image],
    workers: int,
    rank: int = 0,
    ranks: int = 1,
) -> None:
    """Encode one process' part of a job, bucket by bucket, and write its shards.

    Threads open the images of the next batches while the VAE encodes one, as many as have room at
    their full size. A killed run keeps
    every shard that was written before. An image's latent does not depend on what shares its
    batch, so neither on the number of processes nor on what was encoded before.

    Args:
        job: Rows to encode: `key`, `sha256`, `path`, `width`, `height`, the columns of `GEOMETRY`,
            `flipped`.
        vae: On its device, in its precision.
        store: Where shards go.
        params: Batch size, shard size, stored precision, tiling.
        open_row: Gives the fitted image of a row.
        workers: Threads that decode images; 0 uses every core.
        rank: Which of the processes this is.
        ranks: How many share the job; each takes consecutive batches.

    Raises:
        NadirError: An image cannot be opened, or a latent is not finite.
    """
    # PyTorch is imported where something is encoded: keys of latents need none.
    from nadir.compute.threads import one_thread

    job = job.sort_by([(name, "ascending") for name in _ORDER])
    batches = bucket_batches(job, params.batch_size)
    batches = batches[len(batches) * rank // ranks : len(batches) * (rank + 1) // ranks]
    unit = "images" if ranks == 1 else f"images of process {rank + 1} of {ranks}"
    progress = Progress("encode", sum(stop - start for start, stop in batches), unit)
    writer = ShardWriter(store, params.shard_bytes)
    # Two threads of torch round otherwise than one. More cores are for more processes.
    exact = one_thread() if vae.device.type == "cpu" else contextlib.nullcontext()
    try:
        with exact, ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
            for rows, images in opened(pool, in_room(open_row), job, batches):
                latents_NCHW = _encode(vae, rows, images, params)
                writer.add(bucket_name(rows[0]), [row["key"] for row in rows], latents_NCHW)
                progress.advance(len(rows))
    finally:
        # An image that is gone must not cost the latents of those before it.
        writer.flush()


def _encode(
    vae: AutoencoderKL, rows: Sequence[Row], images: list[Image.Image], params: EncodeParams
) -> torch.Tensor:
    import torch

    from nadir.model.sdxl.autoencoder import encode_images

    stored = {"fp32": torch.float32, "fp16": torch.float16}[params.store]
    # A batch that is not full would take other kernels, with other rounding: then a latent would
    # depend on how many were missing when it was made.
    filled = images + images[-1:] * (params.batch_size - len(images))
    tiling = _tiles(rows[0], params.tiling)
    latents_NCHW = encode_images(vae, filled, tiling)[: len(images)].to(stored)
    finite_N = latents_NCHW.isfinite().flatten(1).all(1).tolist()
    if not all(finite_N):
        raise NadirError(
            f"the VAE gives latents that are not finite in {params.precision}",
            where=str(rows[finite_N.index(False)]["path"]),
            fix="set encode.precision: fp32 or bf16 (SDXL's own VAE overflows in fp16), and "
            "encode.store: fp32 if that does not help",
        )
    return latents_NCHW


def _tiles(row: Row, tiling: TilingParams) -> TilingParams | None:
    """How a row is tiled, or None when it is encoded as a whole."""
    pixels = int(row["bucket_width"]) * int(row["bucket_height"])
    return tiling if 0 < tiling.above_px < pixels else None


class ShardWriter:
    """Gathers latents of one bucket at a time and writes them as shards."""

    def __init__(self, store: LatentStore, shard_bytes: int) -> None:
        self.store = store
        self.shard_bytes = shard_bytes
        self.bucket = ""
        self.keys: list[str] = []
        self.parts: list[torch.Tensor] = []

    def add(self, bucket: str, keys: list[str], latents_NCHW: torch.Tensor) -> None:
        """Take a batch; write what is there when it fills a shard, or before another bucket."""
        if bucket != self.bucket:
            self.flush()
        self.bucket = bucket
        capacity = shard_rows(self.shard_bytes, latents_NCHW[0].nbytes)
        while keys:
            room = capacity - len(self.keys)
            self.keys += keys[:room]
            self.parts.append(latents_NCHW[:room])
            keys, latents_NCHW = keys[room:], latents_NCHW[room:]
            if len(self.keys) == capacity:
                self.flush()

    def flush(self) -> None:
        """Write what is there."""
        if self.keys:
            import torch

            self.store.write_shard(self.bucket, self.keys, torch.cat(self.parts))
        self.keys, self.parts = [], []


def bucket_name(row: Row) -> str:
    """Width and height of a row's bucket, as `64x64`."""
    return f"{int(row['bucket_width'])}x{int(row['bucket_height'])}"
