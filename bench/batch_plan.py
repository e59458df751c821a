"""The batch plan: opening it, and a batch of it.

Opening is `batch_plan` on samples in memory and one batch of every bucket, which draws its first
permutation. A batch is which images it holds, not their latents; mean, and 99th percentile, of
20,000 consecutive batches of 64 images and mean of 2,000 at random steps of the first million,
where a bucket's permutation of that epoch is drawn anew nearly each time. `samples` is what
training does before: join the latent index with the manifest and read every tag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from bench.bucketing import preset
from bench.performance import PAGE, alone, cost, manifests_from_arguments, seconds, table, write

from nadir.config.reader import read_section
from nadir.config.tag_statistics import TagStatisticsParams
from nadir.config.train import TrainParams
from nadir.data.batches import BatchPlan
from nadir.data.fitting import fit_images
from nadir.data.latents import LatentReader
from nadir.data.tables import LATENT_INDEX, MANIFEST, TAGS, read_table, write_table
from nadir.data.tags import tag_statistics
from nadir.training.feed import Samples, batch_plan, load_samples

if TYPE_CHECKING:
    from pathlib import Path

_BATCHES, _JUMPS = 20_000, 200


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
    """Seconds of each part."""
    params = read_section("train", TrainParams, PAGE.parents[1] / "presets" / "sdxl.yaml")
    loaded: list[Samples] = []
    loading = cost(
        lambda: loaded.append(
            load_samples(
                LatentReader(folder).index,
                manifest=manifest,
                tags=folder / "t.parquet",
                tag_weighting=True,
            )
        )
    )
    samples, plans = loaded[0], list[BatchPlan]()
    opening = cost(lambda: plans.append(_opened(batch_plan(samples, params))))
    each = [seconds(lambda step=step: plans[0].batch(step)) for step in range(_BATCHES)]
    jumps = np.random.default_rng(0).integers(0, 10**6, _JUMPS).tolist()
    jumping = seconds(lambda: [plans[0].batch(step) for step in jumps]) / _JUMPS
    return {
        "loading": loading,
        "opening": opening,
        "batch": float(np.mean(each)),
        "p99": float(np.percentile(each, 99)),
        "jump": jumping,
        "buckets": len(samples.buckets),
    }


def _opened(plan: BatchPlan) -> BatchPlan:
    """The plan after a batch of every bucket."""
    step, waiting = 0, set(range(len(plan.bucket_sizes)))
    while waiting and step < _BATCHES:
        bucket, _ = plan.visit(step)
        if bucket in waiting:
            plan.batch(step)
            waiting.remove(bucket)
        step += 1
    return plan


def main() -> None:
    """Measure and write the section."""
    import tempfile
    from pathlib import Path

    rows = []
    for posts, manifest in manifests_from_arguments(__doc__):
        with tempfile.TemporaryDirectory() as name:
            alone(prepare, Path(name), manifest)
            found = alone(measure, Path(name), manifest)
        rows.append(
            [
                f"{posts:,}",
                str(found["buckets"]),
                *(f"{part:.2f}" for part in found["opening"]),
                f"{found['batch'] * 1e6:.0f}",
                f"{found['p99'] * 1e6:.0f}",
                f"{found['jump'] * 1e3:.1f}",
                *(f"{part:.1f}" for part in found["loading"]),
                f"{found['peak_gb']:.1f}",
            ]
        )
    header = ["images", "buckets", "open, s", "CPU, s", "batch, µs", "99 %, µs", "jump, ms"]
    header += ["samples, s", "CPU, s"]
    body = (__doc__ or "").split("\n\n", 1)[1].replace("2,000 at", f"{_JUMPS} at")
    write("Batch plan", body + "\n" + table([*header, "GB"], rows))


if __name__ == "__main__":
    main()
