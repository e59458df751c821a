"""What is joined before a first batch: the latent index, the manifest and the tags.

`LatentReader` on the index, and `load_samples` with tag weighting, which reads every tag of the
manifest; once for a dataset, after which trainings [map the result](#training-start).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from bench.bucketing import preset
from bench.performance import PAGE, alone, cost, manifests_from_arguments, write
from bench.results import table

from nadir.config.reader import read_section
from nadir.config.tag_statistics import TagStatisticsParams
from nadir.data.buckets.assignment import fit_images
from nadir.data.latents.store import LatentReader
from nadir.data.tables import LATENT_INDEX, MANIFEST, TAGS, read_table, write_table
from nadir.data.tags.weights import tag_statistics
from nadir.training.samples import load_samples


def write_index(manifest: Path, folder: Path) -> None:
    """A latent index of all images that have a bucket, as `encode` would write it."""
    images = read_table(manifest, MANIFEST, ["sha256", "width", "height", "split"])
    fitted = fit_images(images, preset()).table
    count = fitted.num_rows
    width, height = fitted["bucket_width"].to_numpy(), fitted["bucket_height"].to_numpy()
    places, names = np.unique(width * 10_000 + height, return_inverse=True)
    buckets = pa.array([f"{place // 10_000}x{place % 10_000}" for place in places.tolist()])
    columns: dict[str, Any] = {
        "key": fitted["sha256"],
        "sha256": fitted["sha256"],
        "shard": pa.array(["1024x1024-0.safetensors"]).take(pa.array(np.zeros(count, np.int32))),
        "row": np.arange(count, dtype=np.int32),
        "bucket": buckets.take(pa.array(names)),
        "original_width": fitted["resize_width"],
        "original_height": fitted["resize_height"],
    }
    columns |= {name: fitted[name] for name in fitted.column_names if name in LATENT_INDEX.names}
    for field in LATENT_INDEX:
        columns.setdefault(field.name, pa.nulls(count, field.type))
    write_table(pa.table(columns), folder / "index.parquet", LATENT_INDEX)


def write_tags(manifest: Path, folder: Path) -> None:
    """The tag table of a manifest."""
    params = read_section("tag_statistics", TagStatisticsParams, PAGE.parents[1] / "params.yaml")
    write_table(tag_statistics(manifest, params, scratch=folder).tags, folder / "t.parquet", TAGS)


def prepare(_: Path, target: Path, manifest: Path) -> dict[str, Any]:
    """What training reads."""
    write_index(manifest, target)
    write_tags(manifest, target)
    return {}


def measure(_: Path, folder: Path, manifest: Path) -> dict[str, Any]:
    """Seconds of both parts."""
    readers: list[LatentReader] = []
    opening = cost(lambda: readers.append(LatentReader(folder)))
    loading = cost(
        lambda: load_samples(
            readers[0].index, manifest=manifest, tags=folder / "t.parquet", tag_weighting=True
        )
    )
    return {"opening": opening, "loading": loading}


def main() -> None:
    """Measure and write the section."""
    rows = []
    for posts, manifest in manifests_from_arguments(__doc__):
        with tempfile.TemporaryDirectory() as name:
            alone(prepare, Path(name), manifest)
            found = alone(measure, Path(name), manifest)
        times = (*found["opening"], *found["loading"], found["peak_gb"])
        rows.append([f"{posts:,}", *(f"{part:.1f}" for part in times)])
    header = ["images", "index, s", "CPU, s", "samples, s", "CPU, s", "GB"]
    write("Training samples", (__doc__ or "").split("\n\n", 1)[1] + "\n" + table(header, rows))


if __name__ == "__main__":
    main()
