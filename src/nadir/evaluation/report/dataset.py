"""What the checkpoint was trained on, in numbers and charts, from the tables of its dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from nadir.data.tables import LATENT_INDEX, MANIFEST, TAGS, read_table
from nadir.ground.pages.charts import bar_chart, histogram

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from markupsafe import Markup

_MOST_BARS = 12
_BRIGHTNESS_BINS = 20
_RARITIES = ("head", "mid", "tail")


@dataclass(frozen=True)
class DataSummary:
    """The dataset in short.

    Attributes:
        cards: Large numbers: label, value, note.
        facts: Smaller ones by name.
        charts: What its pictures and tags are like.
    """

    cards: list[dict[str, str]]
    facts: dict[str, str]
    charts: list[Markup]


def data_summary(*, manifest: Path, tags: Path, latents: Path) -> DataSummary:
    """Read the tables that training read.

    Args:
        manifest: `data/manifest.parquet`.
        tags: `data/tags.parquet`.
        latents: Folder `data/latents`.

    Raises:
        NadirError: A table is missing or damaged.
    """
    columns = ["width", "height", "format", "split", "tags", "mean_luminance"]
    images = read_table(manifest, MANIFEST, columns)
    names = read_table(tags, TAGS, ["tag", "class", "count", "rarity"])
    index = read_table(latents / "index.parquet", LATENT_INDEX, ["bucket"])
    training = images.filter(pc.equal(images["split"], "train"))
    charts = [
        _brightness(training),
        _bars(names, "tag", "count", title="Most used tags", caption="Images that have them."),
        _bars(
            index.group_by("bucket").aggregate([("bucket", "count")]),
            "bucket",
            "bucket_count",
            title="Canvases",
            caption="Latents by the size in pixels that images were scaled and cropped to.",
        ),
    ]
    return DataSummary(
        _cards(images, names), _facts(images, names), [chart for chart in charts if chart]
    )


def _cards(images: pa.Table, names: pa.Table) -> list[dict[str, str]]:
    splits = _counts(images["split"])
    uses = pc.sum(names["count"]).as_py() or 0
    return [
        {
            "label": "Training images",
            "value": f"{splits.get('train', 0):,}",
            "note": f"and {splits.get('holdout', 0):,} that it never saw",
        },
        {
            "label": "Tags",
            "value": f"{len(names):,}",
            "note": f"used {uses:,} times in training images",
        },
    ]


def _facts(images: pa.Table, names: pa.Table) -> dict[str, str]:
    rarities = _counts(names["rarity"])
    formats = _counts(images["format"])
    facts = {
        "Sizes": _sizes(images),
        "Files": ", ".join(f"{count:,} {name}" for name, count in formats.items()),
        "Tags of an image": _spread(pc.list_value_length(images["tags"]).to_numpy()),
        "Tags by rarity": ", ".join(
            f"{rarities[name]:,} {name}" for name in _RARITIES if name in rarities
        ),
        "Tags by class": ", ".join(
            f"{count:,} {name}" for name, count in _counts(names["class"]).items()
        ),
    }
    return {name: text for name, text in facts.items() if text}


def _sizes(images: pa.Table) -> str:
    if not len(images):
        return ""
    width, height = images["width"].to_numpy(), images["height"].to_numpy()
    order = np.argsort(width.astype(np.int64) * height)
    low, middle, high = (order[place] for place in (0, len(order) // 2, -1))
    return (
        f"{width[low]} x {height[low]} to {width[high]} x {height[high]} px, "
        f"the middle one {width[middle]} x {height[middle]}"
    )


def _spread(counts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> str:
    if not len(counts):
        return ""
    return f"{counts.min()} to {counts.max()}, the middle one {np.median(counts):.0f}"


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    """How often each value stands in a column, the most frequent first."""
    found = {
        str(pair["values"]): int(pair["counts"]) for pair in pc.value_counts(column).to_pylist()
    }
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _brightness(training: pa.Table) -> Markup | None:
    if not len(training):
        return None
    return histogram(
        training["mean_luminance"].to_numpy().astype(np.float64).tolist(),
        bins=_BRIGHTNESS_BINS,
        title="Brightness of training images",
        x_label="mean luminance (0 black, 1 white)",
        caption="Black and white can be learnt only from pictures that are black or white.",
    )


def _bars(table: pa.Table, label: str, value: str, *, title: str, caption: str) -> Markup | None:
    if not len(table):
        return None
    first = table.sort_by([(value, "descending"), (label, "ascending")]).slice(0, _MOST_BARS)
    return bar_chart(
        first[label].to_pylist(), first[value].to_pylist(), title=title, caption=caption
    )
