"""A miniature project that trains in a second: 60 flat latents and the smallest SDXL."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from ruamel.yaml import YAML

from nadir.config.base_model import TinyParams
from nadir.config.reader import read_section
from nadir.config.tag_statistics import TagStatisticsParams
from nadir.data.latents.store import LatentStore
from nadir.data.tables import LATENT_INDEX, MANIFEST, TAG_RULES, TAGS, write_table
from nadir.data.tags.weights import tag_statistics
from nadir.ground.files import write_json
from nadir.model.tiny.networks import make_tiny

if TYPE_CHECKING:
    from pathlib import Path

TINY = TinyParams(
    seed=0,
    vae_channels=(8, 8, 8),
    vae_steps=1,
    vae_batch_size=1,
    vae_learning_rate=0.001,
    vae_image_px=16,
    unet_channels=(8, 16),
    unet_layers_per_block=1,
    unet_transformer_layers=(0, 1),
    attention_head_dim=8,
    text_hidden=(8, 8),
    text_layers=2,
)
TRAIN: dict[str, Any] = {
    "steps": 12,
    "batch_size": 4,
    "warmup_steps": 2,
    "checkpoint_every": 4,
    "preview_every": 6,
    "preview_prompts": ["1girl, red_hair"],
    "validation": {"every": 6, "images": 6, "levels": 1},
}
DVC_YAML = """\
stages:
  train:
    cmd: python -m nadir.stages.train
    params: [noise, train]
    deps: [data/manifest.parquet, data/tags.parquet, data/tag_rules.parquet, data/latents,
      data/latent_statistics.json, models/base]
    outs: [models/checkpoint, models/run.json]
"""
BUCKETS = ((32, 32), (40, 24))
IMAGES, HOLDOUT = 60, 6
_TAGS = ("1girl", "1boy", "red_hair", "blue_hair", "smile", "black_background", "white_background")


def make_base(folder: Path) -> Path:
    """The smallest tiny SDXL, in seconds."""
    make_tiny(folder, TINY)
    return folder


def write_project(folder: Path, *, base: Path, params_text: str, **train: Any) -> Path:
    """Write everything that the train stage reads.

    Args:
        folder: Becomes the project's root.
        base: From `make_base`; linked in.
        params_text: The default params.yaml.
        train: Changes to `TRAIN`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dvc.yaml").write_text(DVC_YAML, encoding="utf-8")
    yaml = YAML()
    tree = yaml.load(params_text)
    tree["train"].update(TRAIN | train)
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(tree, file)
    (folder / "models").mkdir()
    (folder / "models/base").symlink_to(base)
    _write_data(folder / "data", read_section_of(folder))
    return folder


def read_section_of(folder: Path) -> TagStatisticsParams:
    """The tag statistics' parameters of a project."""
    return read_section("tag_statistics", TagStatisticsParams, folder / "params.yaml")


def _write_data(data: Path, params: TagStatisticsParams) -> None:
    rng = np.random.default_rng(0)
    hashes = sorted(hashlib.sha256(bytes([number])).hexdigest() for number in range(IMAGES))
    tags = [_draw_tags(rng) for _ in hashes]
    manifest = {
        "sha256": hashes,
        "path": [f"{number}.png" for number in range(IMAGES)],
        "width": [300] * IMAGES,
        "height": [200 + number for number in range(IMAGES)],
        "format": ["png"] * IMAGES,
        "split": ["holdout"] * HOLDOUT + ["train"] * (IMAGES - HOLDOUT),
        "tags": tags,
        "mean_luminance": [0.5] * IMAGES,
        "perceptual_hash": ["0" * 16] * IMAGES,
        "record_id": ["r"] * IMAGES,
        "rating": ["general", None] * (IMAGES // 2),
        "repeats": [None] * IMAGES,
        "captions": [[{"kind": "text", "text": f"A girl looks {number}."}] for number in range(60)],
        "score": list(range(IMAGES)),
        "year": [2020] * IMAGES,
        "kept_tags": [min(1, len(names)) for names in tags],
    }
    write_table(pa.table(manifest), data / "manifest.parquet", MANIFEST)
    tags = tag_statistics(data / "manifest.parquet", params).tags
    write_table(tags, data / "tags.parquet", TAGS)
    rules = [{"kind": "alias", "name": "redhead", "tag": "red_hair"}]
    write_table(pa.Table.from_pylist(rules), data / "tag_rules.parquet", TAG_RULES)
    _write_latents(data, hashes, rng)


def _draw_tags(rng: np.random.Generator) -> list[dict[str, str]]:
    chosen = rng.choice(_TAGS, size=int(rng.integers(1, 5)), replace=False)
    return [{"name": str(name), "class": "general"} for name in chosen]


def _write_latents(data: Path, hashes: list[str], rng: np.random.Generator) -> None:
    store = LatentStore(data / "latents")
    rows: list[dict[str, Any]] = []
    for number, (width, height) in enumerate(BUCKETS):
        members = hashes[number :: len(BUCKETS)]
        shape = (len(members), 4, height // 4, width // 4)
        planes = rng.standard_normal((len(members), 4, 1, 1), dtype=np.float32)
        values = planes + 0.2 * rng.standard_normal(shape, dtype=np.float32)
        shard = store.write_shard(f"{width}x{height}", members, torch.from_numpy(values * 3 + 1))
        rows += [
            {
                "key": sha,
                "sha256": sha,
                "shard": shard,
                "row": row,
                "bucket": f"{width}x{height}",
                "bucket_width": width,
                "bucket_height": height,
                "original_width": 300,
                "original_height": 200 + hashes.index(sha),
                "crop_left": 3,
                "crop_top": 0,
            }
            for row, sha in enumerate(members)
        ]
    rows.sort(key=lambda row: str(row["sha256"]))
    write_table(
        pa.Table.from_pylist(rows, LATENT_INDEX), data / "latents/index.parquet", LATENT_INDEX
    )
    statistics = {"mean": [1.0] * 4, "std": [3.0] * 4, "images": IMAGES, "pixels": 1}
    write_json(data / "latent_statistics.json", statistics)
