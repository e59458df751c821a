"""Encoding the images that have no latent yet."""

from __future__ import annotations

import hashlib
import io
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from nadir.data.buckets import fit_image
from nadir.data.decoding import open_image
from nadir.data.latents import LatentStore, latent_key
from nadir.ground.errors import NadirError
from nadir.ground.events import Progress
from nadir.model.autoencoder import encode_images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from diffusers import AutoencoderKL
    from PIL import Image

    from nadir.config.encode import EncodeParams

    Row = Mapping[str, Any]

_GEOMETRY = (
    "resize_width", "resize_height", "crop_left", "crop_top", "bucket_width", "bucket_height",
)  # fmt: skip
_BATCHES_AHEAD = 2
_STORED = {"fp32": torch.float32, "fp16": torch.float16}


@dataclass(frozen=True)
class ImageOpener:
    """Opens an image of the source and fits it to its canvas, if it still is what it was.

    Attributes:
        root: The source's folder.
        alpha_background: RGB (0-255) behind transparent pixels.
        max_pixels: Largest width times height.
    """

    root: Path
    alpha_background: tuple[int, int, int]
    max_pixels: int

    def __call__(self, row: Row) -> Image.Image:
        """The fitted RGB image of a row of manifest and buckets.

        Raises:
            NadirError: The file is gone or has changed since `validate`.
        """
        path = self.root / row["path"]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise _changed(path, f"the image cannot be read ({error.strerror})") from error
        if hashlib.sha256(content).hexdigest() != row["sha256"]:
            raise _changed(path, "the image has changed since it was validated")
        image = open_image(
            io.BytesIO(content),
            alpha_background=self.alpha_background,
            max_pixels=self.max_pixels,
        )
        return fit_image(image, row)


def row_key(row: Row, encoder: str, background: tuple[int, int, int]) -> str:
    """The content key of a row's latent: image, encoder and geometry."""
    geometry = ",".join(str(int(row[name])) for name in _GEOMETRY)
    return latent_key(row["sha256"], encoder, f"{geometry};alpha={background}")


def encode_missing(
    rows: Sequence[tuple[str, Row]],
    *,
    vae: AutoencoderKL,
    store: LatentStore,
    params: EncodeParams,
    open_row: Callable[[Row], Image.Image],
    workers: int,
) -> None:
    """Encode rows bucket by bucket and write their shards.

    Threads open the images of the next batches while the VAE encodes one. A killed run keeps
    every shard that was written before. The rows may be any part of a dataset, so that several
    processes can share the work.

    Args:
        rows: (key, row) of every image that is to be encoded.
        vae: On its device, in its precision.
        store: Where shards go.
        params: Batch size, shard size and stored precision.
        open_row: Gives the fitted image of a row.
        workers: Threads that decode images; 0 uses every core.
    """
    progress = Progress("encode", len(rows), "images")
    batches = [
        (bucket, batch)
        for bucket, members in _by_bucket(rows)
        for batch in _chunks(members, params.batch_size)
    ]
    writer = _ShardWriter(store, params.shard_bytes)
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        opened = _ahead(pool, open_row, batches)
        for (bucket, batch), images in zip(batches, opened, strict=True):
            latents_NCHW = encode_images(vae, images).to(_STORED[params.store])
            writer.add(bucket, [key for key, _ in batch], latents_NCHW)
            progress.advance(len(batch))
    writer.flush()


def _ahead(
    pool: ThreadPoolExecutor,
    open_row: Callable[[Row], Image.Image],
    batches: Sequence[tuple[str, list[tuple[str, Row]]]],
) -> Iterator[list[Image.Image]]:
    """The images of each batch, with those of the next ones already being opened."""
    waiting: deque[list[Future[Image.Image]]] = deque()
    try:
        for _, batch in batches:
            waiting.append([pool.submit(open_row, row) for _, row in batch])
            if len(waiting) > _BATCHES_AHEAD:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]
    finally:
        # After an error nobody wants the rest.
        for future in (future for batch_futures in waiting for future in batch_futures):
            future.cancel()


class _ShardWriter:
    """Gathers latents of one bucket at a time and writes them as shards."""

    def __init__(self, store: LatentStore, shard_bytes: int) -> None:
        self.store = store
        self.shard_bytes = shard_bytes
        self.bucket = ""
        self.keys: list[str] = []
        self.parts: list[torch.Tensor] = []

    def add(self, bucket: str, keys: list[str], latents_NCHW: torch.Tensor) -> None:
        """Take a batch; write what is there when it is enough, or of another bucket."""
        size = latents_NCHW.nbytes + sum(part.nbytes for part in self.parts)
        if bucket != self.bucket or size > self.shard_bytes:
            self.flush()
        self.bucket = bucket
        self.keys += keys
        self.parts.append(latents_NCHW)

    def flush(self) -> None:
        """Write what is there."""
        if self.keys:
            self.store.write_shard(self.bucket, self.keys, torch.cat(self.parts))
        self.keys, self.parts = [], []


def _by_bucket(rows: Sequence[tuple[str, Row]]) -> Iterator[tuple[str, list[tuple[str, Row]]]]:
    groups: dict[str, list[tuple[str, Row]]] = {}
    for key, row in rows:
        groups.setdefault(bucket_name(row), []).append((key, row))
    yield from sorted(groups.items())


def bucket_name(row: Row) -> str:
    """Width and height of a row's bucket, as `64x64`."""
    return f"{int(row['bucket_width'])}x{int(row['bucket_height'])}"


def _chunks(items: list[tuple[str, Row]], size: int) -> Iterator[list[tuple[str, Row]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _changed(path: Path, what: str) -> NadirError:
    return NadirError(what, where=str(path), fix="run the pipeline again; it lists the source anew")
