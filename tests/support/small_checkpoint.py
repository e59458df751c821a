"""A real checkpoint and real held-out latents, as small as they can be; the U-Net is untrained."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pyarrow as pa
import torch

from nadir.config.base_model import BaseModelParams
from nadir.config.noise import NoiseParams
from nadir.config.reader import read_section
from nadir.data.latents.store import LatentStore
from nadir.data.tables import LATENT_INDEX, MANIFEST, TAGS, write_table
from nadir.model.load import LatentScaling, save_checkpoint
from nadir.model.sdxl.networks import load_unet
from nadir.model.tiny.networks import make_tiny

if TYPE_CHECKING:
    from pathlib import Path

SCALING = LatentScaling("per_channel", (0.1, -0.2, 0.0, 0.3), (0.9, 1.1, 1.0, 1.2))
BUCKETS = ((32, 32), (48, 24))


def write_base(folder: Path, params: Path) -> None:
    """The tiny SDXL of a parameter file with fewer channels and an almost untrained VAE."""
    tiny = read_section("base_model", BaseModelParams, params).tiny
    small = {
        "vae_channels": (8, 8, 16),
        "unet_channels": (16, 32),
        "unet_transformer_layers": (0, 1),
        "text_hidden": (16, 16),
        "vae_steps": 1,
        "vae_batch_size": 1,
        "vae_image_px": 32,
    }
    make_tiny(folder, tiny.model_copy(update=small))


def awaken(unet: torch.nn.Module) -> None:
    """Give the layers that start at zero weights, so that prompts have an effect."""
    generator = torch.Generator().manual_seed(0)
    for parameter in unet.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)


def write_checkpoint(
    folder: Path,
    base: Path,
    params: Path,
    *,
    scaling: LatentScaling = SCALING,
    **training: object,
) -> None:
    """A checkpoint of the base with the noise settings of a parameter file."""
    unet = load_unet(base)
    awaken(unet)
    noise = read_section("noise", NoiseParams, params).model_dump()
    save_checkpoint(
        folder, base=base, unet=unet, noise=noise, scaling=scaling, training=dict(training)
    )


def write_holdout(data: Path, *, images: int, training: int = 0) -> None:
    """Manifest and latents of images; colours and tags by turns.

    Args:
        data: Folder `data`.
        images: Held-out images, the first by hash.
        training: Training images after them; then latents show the turn.
    """
    count = images + training
    names = sorted(hashlib.sha256(str(i).encode()).hexdigest() for i in range(count))
    store, rows = LatentStore(data / "latents"), []
    for turn, name in enumerate(names):
        width, height = BUCKETS[turn % len(BUCKETS)]
        generator = torch.Generator().manual_seed(turn)
        latents = torch.randn(1, 4, height // 4, width // 4, generator=generator)
        if training:
            latents[:, 0] += 3 * (turn % 2)
        shard = store.write_shard(f"{width}x{height}", [name], latents)
        size = {"bucket_width": width, "bucket_height": height}
        original = {"original_width": width * 2, "original_height": height * 2}
        where = {"key": name, "sha256": name, "shard": shard, "row": 0}
        crop = {"crop_left": 0, "crop_top": 2}
        rows.append({**where, "bucket": f"{width}x{height}", **size, **original, **crop})
    write_table(_table(rows, LATENT_INDEX), data / "latents" / "index.parquet", LATENT_INDEX)
    splits = ["holdout"] * images + ["train"] * training
    manifest = [
        _manifest_row(name, turn) | {"split": split}
        for turn, (name, split) in enumerate(zip(names, splits, strict=True))
    ]
    write_table(_table(manifest, MANIFEST), data / "manifest.parquet", MANIFEST)
    tags = [
        _tag_row("1girl", []),
        _tag_row("red_hair", []),
        _tag_row("blue_hair", []),
        _tag_row("happy", ["smile"]),
    ]
    write_table(_table(tags, TAGS), data / "tags.parquet", TAGS)


def _table(rows: list[dict[str, object]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)


def _tag_row(name: str, from_names: list[str]) -> dict[str, object]:
    plain = {"count": 10, "document_frequency": 0.1, "rarity": "common", "weight": 1.0}
    return {"tag": name, "class": "general", "weighted": True, "from_names": from_names, **plain}


def _manifest_row(name: str, turn: int) -> dict[str, object]:
    tags = ["1girl", ("red_hair", "blue_hair")[turn % 2], "smile"]
    return {
        "sha256": name,
        "path": f"{turn}.png",
        "width": 64,
        "height": 64,
        "format": "png",
        "split": "holdout",
        "tags": [{"name": tag, "class": "general"} for tag in tags],
        "mean_luminance": 0.5,
        "perceptual_hash": "0" * 16,
        "record_id": str(turn),
    }
