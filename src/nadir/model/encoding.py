"""Encoding the images that have no latent yet."""

from __future__ import annotations

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
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

    A killed run keeps every shard that was written before.

    Args:
        rows: (key, row) of every image that is to be encoded.
        vae: On its device, in its precision.
        store: Where shards go.
        params: Batch size, shard size and stored precision.
        open_row: Gives the fitted image of a row.
        workers: Threads that decode images; 0 uses every core.
    """
    progress = Progress("encode", len(rows), "images")
    threads = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        for bucket, members in _by_bucket(rows):
            keys: list[str] = []
            parts: list[torch.Tensor] = []
            for batch in _chunks(members, params.batch_size):
                images = list(pool.map(open_row, [row for _, row in batch]))
                parts.append(encode_images(vae, images).to(_STORED[params.store]))
                keys += [key for key, _ in batch]
                progress.advance(len(batch))
                if sum(part.nbytes for part in parts) >= params.shard_bytes:
                    store.write_shard(bucket, keys, torch.cat(parts))
                    keys, parts = [], []
            if keys:
                store.write_shard(bucket, keys, torch.cat(parts))


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
