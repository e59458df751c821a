"""Stage `tag_statistics`: count the training images' tags and weigh them by rarity."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from nadir.config.reader import read_section
from nadir.config.tag_statistics import TagStatisticsParams
from nadir.data.tables import MANIFEST, TAGS, read_table, write_table
from nadir.data.tags import effective_sample_share, sample_weights, tag_statistics
from nadir.ground.events import emit, say
from nadir.ground.files import atomic_path, write_json
from nadir.stages.runner import run

if TYPE_CHECKING:
    import pyarrow as pa

_MANIFEST = Path("data/manifest.parquet")
_PLOTTED_RANKS = 1000


def work() -> None:
    """Write the tag table, its metrics and the rank-frequency plot."""
    images = read_table(_MANIFEST, MANIFEST, columns=["split", "tags"])
    tags = tag_statistics(_MANIFEST, read_section("tag_statistics", TagStatisticsParams))
    write_table(tags, Path("data/tags.parquet"), TAGS)
    weights = sample_weights(images, tags)[np.asarray(pc.equal(images["split"], "train"))]
    classes = {
        entry["values"]: entry["counts"] for entry in pc.value_counts(tags["class"]).to_pylist()
    }
    report = {
        "tags": tags.num_rows,
        "uses": pc.sum(tags["count"]).as_py() or 0,
        "classes": classes,
        "effective_sample_size_share": effective_sample_share(weights),
    }
    write_json(Path("reports/tags.json"), report)
    _write_ranks(tags, Path("reports/tags.csv"))
    say(
        f"tag_statistics: {report['tags']} tags, {report['uses']} uses; weighting by them leaves "
        f"{report['effective_sample_size_share']:.0%} of the effective sample size"
    )
    emit("result", stage="tag_statistics", **report)


def _write_ranks(tags: pa.Table, path: Path) -> None:
    """Every rank of a small vocabulary; of a large one, ranks evenly spread on a log axis."""
    ranks = np.unique(np.geomspace(1, max(tags.num_rows, 1), 2 * _PLOTTED_RANKS).round())
    if tags.num_rows <= _PLOTTED_RANKS:
        ranks = np.arange(1, tags.num_rows + 1)
    shown = tags.take(ranks.astype(np.int64) - 1)
    rows = zip(*(shown[name].to_pylist() for name in ("count", "tag", "class")), strict=True)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["rank", "count", "tag", "class"])
        writer.writerows((int(rank), *row) for rank, row in zip(ranks, rows, strict=True))


def main() -> None:
    """Entry point."""
    run("tag_statistics", work)


if __name__ == "__main__":
    main()
