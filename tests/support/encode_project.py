"""A project with a few pictures that stand in buckets, for tests of the stage encode."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from tests.support.manifests import manifest_table

from nadir.data.latents.store import LatentReader
from nadir.data.tables import BUCKETS, LATENT_INDEX, MANIFEST, read_table, write_table

# Columns of the index that say how rows are spread over shards.
PLACE = ["shard", "row", "flip_shard", "flip_row"]
SIZES = ((64, 64), (96, 64), (64, 64), (64, 64), (64, 96))


def paint(project: Path, number: int, size: tuple[int, int]) -> None:
    """A picture of its own: a flat colour with one bright corner."""
    folder = project / "data" / "sample"
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), (40 * number) % 256, np.uint8)
    pixels[:20, :20] = (250, 20, 90)
    Image.fromarray(pixels).save(folder / f"{number}.png")


def describe(project: Path, *, only: int | None = None, crop_left: int = 0) -> None:
    """What validate and bucket would write about the pictures: each shrunk by half, uncropped."""
    rows: list[dict[str, Any]] = []
    for path in sorted((project / "data" / "sample").iterdir())[:only]:
        width, height = Image.open(path).size
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append({"sha256": sha256, "path": path.name, "width": width, "height": height})
    rows.sort(key=lambda row: row["sha256"])
    write_table(manifest_table(rows), project / "data/manifest.parquet", MANIFEST)
    buckets = [
        {
            "sha256": row["sha256"],
            "bucket_width": row["width"] // 2 - crop_left,
            "bucket_height": row["height"] // 2,
            "resize_width": row["width"] // 2,
            "resize_height": row["height"] // 2,
            "crop_left": crop_left,
            "crop_top": 0,
            "retained_area": 1.0,
        }
        for row in rows
    ]
    table = pa.Table.from_pylist(buckets, schema=BUCKETS)
    write_table(table, project / "data/buckets.parquet", BUCKETS)


def latents(project: Path) -> dict[str, torch.Tensor]:
    reader = LatentReader(project / "data" / "latents")
    return {sha: reader.rows([row])[0] for row, sha in enumerate(reader.index["sha256"])}


def read_index(project: Path) -> pa.Table:
    return read_table(project / "data/latents/index.parquet", LATENT_INDEX)


def assert_equal(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Equal to the last bit."""
    assert list(actual) == list(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(actual[name], tensor, rtol=0, atol=0)


def shards(project: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in (project / "work/latents").glob("*.safetensors")}


def edit(project: Path, old: str, new: str) -> None:
    text = (project / "params.yaml").read_text()
    assert old in text
    (project / "params.yaml").write_text(text.replace(old, new))


def start_over(project: Path) -> None:
    shutil.rmtree(project / "work")
    shutil.rmtree(project / "data/latents")
