"""The batch plan: opening it, and a batch of it.

Opening is `batch_plan` on the rows of each bucket and one batch of every bucket, which draws its
first permutation. A batch is which images it holds, not their latents: mean and 99th percentile of
20,000 consecutive batches of 64 images, and mean of 200 at random steps of the first million, where
a bucket's permutation of that epoch is drawn anew nearly each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from bench.booru import geometry
from bench.bucketing import preset
from bench.performance import PAGE, alone, cost, posts_from_arguments, seconds, write
from bench.results import table

from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.data.buckets.assignment import fit_images
from nadir.data.buckets.batches import BatchPlan
from nadir.data.tags.codes import TagUses
from nadir.training.loader import batch_plan
from nadir.training.samples import Samples

if TYPE_CHECKING:
    from pathlib import Path

_BATCHES, _JUMPS = 20_000, 200


def samples_of(posts: int) -> Samples:
    """Images in the buckets of the SDXL preset, as training has them."""
    fitted = fit_images(geometry(posts), preset())
    table_of = {name: fitted.table[name].to_numpy() for name in ("bucket_width", "bucket_height")}
    places = table_of["bucket_width"].astype(np.int64) * 10_000 + table_of["bucket_height"]
    ends = np.cumsum(np.unique(places, return_counts=True)[1])[:-1]
    count = len(places)
    return Samples(
        positions_N=np.arange(count),
        tags=TagUses(np.zeros(count + 1, np.int64), np.zeros(0, np.int32)),
        tag_images_N=np.arange(count),
        tag_names=[],
        weights_N=np.ones(count, np.float32),
        time_ids_N6=np.zeros((count, 6), np.float32),
        buckets=tuple(np.split(np.argsort(places, kind="stable"), ends)),
    )


def measure(_: Path, posts: int) -> dict[str, Any]:
    """Seconds of each part."""
    params = read_section("train", TrainParams, PAGE.parents[1] / "presets" / "sdxl.yaml")
    samples, plans = samples_of(posts), list[BatchPlan]()
    opening = cost(lambda: plans.append(_opened(batch_plan(samples, params))))
    each = [seconds(lambda step=step: plans[0].batch(step)) for step in range(_BATCHES)]
    jumps = np.random.default_rng(0).integers(0, 10**6, _JUMPS).tolist()
    jumping = seconds(lambda: [plans[0].batch(step) for step in jumps]) / _JUMPS
    return {
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
    rows = []
    for posts in posts_from_arguments(__doc__):
        found = alone(measure, posts)
        rows.append(
            [
                f"{posts:,}",
                str(found["buckets"]),
                *(f"{part:.2f}" for part in found["opening"]),
                f"{found['batch'] * 1e6:.0f}",
                f"{found['p99'] * 1e6:.0f}",
                f"{found['jump'] * 1e3:.1f}",
                f"{found['peak_gb']:.1f}",
            ]
        )
    header = ["images", "buckets", "open, s", "CPU, s", "batch, µs", "99 %, µs", "jump, ms", "GB"]
    write("Batch plan", (__doc__ or "").split("\n\n", 1)[1] + "\n" + table(header, rows))


if __name__ == "__main__":
    main()
