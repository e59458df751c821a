"""`reports/validation.html`: what the dataset looks like, what was left out, and the verdict."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from nadir.data.gate.profile import changed_tags
from nadir.data.gate.verdicts import UNRATED
from nadir.data.inspection.decoding import ImageError, open_small
from nadir.data.quarantine import FIXES, UNDECODABLE, Reason
from nadir.ground.pages.charts import bar_chart, histogram
from nadir.ground.pages.page import render_page, thumbnail_uri

if TYPE_CHECKING:
    import pyarrow as pa
    from markupsafe import Markup

    from nadir.config.validate import ValidateParams
    from nadir.data.gate.expectations import Outcome
    from nadir.data.gate.manifest import Manifest
    from nadir.data.gate.summary import Dataset
    from nadir.data.sources.interfaces import Source

SAMPLES = 21
"""Usable images shown."""
EXAMPLES = 8
"""Quarantined images shown per reason."""
_THUMBNAIL_PX = 176
_CHARTED = 20_000
_TOP_TAGS = 8
_COLOURS = {
    "converted": "converted to sRGB",
    "srgb": "sRGB as it is",
    "unusable": "unusable, read as sRGB",
}


def validation_page(
    dataset: Dataset, outcomes: list[Outcome], *, source: Source, params: ValidateParams
) -> str:
    """The page as one self-contained HTML file; equal inputs give equal bytes.

    Args:
        dataset: What was found.
        outcomes: What the gate said.
        source: Where the thumbnails' images lie.
        params: The limits in force.
    """
    failed = [outcome for outcome in outcomes if not outcome.passed]
    stops = any(outcome.expectation.severity == "critical" for outcome in failed)
    ordered = sorted(outcomes, key=lambda o: (o.passed, o.expectation.severity))
    return render_page(
        "validation.html",
        package="nadir.data.gate",
        dataset=dataset,
        layout=source.format,
        outcomes=ordered,
        failed=failed,
        state="bad" if stops else "unsure" if failed else "good",
        params=params,
        samples=_samples(dataset.manifest, source, params),
        reasons=_reasons(dataset, source, params),
        charts=_charts(dataset),
        changes=_changes(dataset),
        examples=EXAMPLES,
        hidden=max(dataset.manifest.num_rows - SAMPLES, 0),
    )


def _samples(manifest: Manifest, source: Source, params: ValidateParams) -> list[dict[str, str]]:
    # The manifest is sorted by sha256, so its first rows are as good as drawn by lot.
    rows = manifest.table(SAMPLES).select(["path", "width", "height", "tags"]).to_pylist()
    return [
        {
            "uri": _thumbnail(source, row["path"], params),
            "path": row["path"],
            "size": f"{row['width']} x {row['height']}",
            "tags": ", ".join(tag["name"] for tag in row["tags"][:5]),
        }
        for row in rows
    ]


def _reasons(dataset: Dataset, source: Source, params: ValidateParams) -> list[dict[str, Any]]:
    """One entry per reason, the most frequent first, with some of its images."""
    entries = []
    for name, count in dataset.reasons.items():
        mask = pc.equal(dataset.quarantine.column("reason"), name)
        rows = dataset.quarantine.filter(mask).slice(0, EXAMPLES).to_pylist()
        # There is nothing to see of those, and looking at some is dangerous.
        blind = Reason(name) in UNDECODABLE
        for row in rows:
            row["uri"] = "" if blind else _thumbnail(source, row["path"], params)
        fix = FIXES[Reason(name)]
        entries.append({"name": name, "count": count, "fix": fix, "examples": rows})
    return entries


def _thumbnail(source: Source, path: str, params: ValidateParams) -> str:
    """A data URI, or empty when the image cannot be shown."""
    try:
        with source.open(path) as file:
            image = open_small(
                file,
                alpha_background=params.alpha_background,
                max_pixels=params.max_pixels,
                side=_THUMBNAIL_PX,
            )
    except (ImageError, OSError):
        return ""
    return thumbnail_uri(image, _THUMBNAIL_PX)


def _changes(dataset: Dataset) -> list[tuple[str, float, float]]:
    """The tags that changed most; none when the datasets cannot be compared."""
    if dataset.reference is None or dataset.totals["tag_drift"] is None:
        return []
    return changed_tags(dataset.profile, dataset.reference)


def _charts(dataset: Dataset) -> list[Markup]:
    manifest = dataset.manifest
    if not manifest.num_rows:
        return []
    table = manifest.table(_CHARTED)
    note = f" The first {_CHARTED:,} images by hash." if manifest.num_rows > _CHARTED else ""
    width, height = table.column("width").to_numpy(), table.column("height").to_numpy()
    light = table.column("mean_luminance").to_numpy()
    tags = pc.list_value_length(table.column("tags")).to_numpy()
    return [
        _histogram(np.maximum(width, height), "Longer side", "pixels", note),
        _histogram(np.log2(width / height), "Shape", "log2 of width : height, 0 is square", note),
        _histogram(light, "Brightness", "mean luminance, 0 black to 1 white", note),
        _histogram(tags, "Tags per image", "tags", note),
        _formats(table, note),
        _top_tags(table, note),
        *_ratings(dataset),
        *_colours(dataset),
    ]


def _histogram(values: Any, title: str, label: str, note: str) -> Markup:
    return histogram(values.tolist(), bins=24, title=title, x_label=label, caption=note.strip())


def _formats(table: pa.Table, note: str) -> Markup:
    counts = Counter(table.column("format").to_pylist()).most_common()
    names, values = [str(name) for name, _ in counts], [count for _, count in counts]
    caption = f"The real format of the images, whatever their names say.{note}"
    return bar_chart(names, values, title="File formats", caption=caption)


def _ratings(dataset: Dataset) -> list[Markup]:
    ratings = dataset.ratings
    if set(ratings) == {UNRATED}:
        return []
    names, values = list(ratings)[:_TOP_TAGS], list(ratings.values())[:_TOP_TAGS]
    caption = "Images by the rating that the source gives them."
    return [bar_chart(names, values, title="Ratings", caption=caption)]


def _colours(dataset: Dataset) -> list[Markup]:
    if not dataset.colours:
        return []
    names = [_COLOURS[name] for name in dataset.colours]
    caption = "What became of embedded profiles. Images without one are read as sRGB."
    return [
        bar_chart(names, list(dataset.colours.values()), title="Colour profiles", caption=caption)
    ]


def _top_tags(table: pa.Table, note: str) -> Markup:
    names = table.column("tags").combine_chunks().flatten().field("name")
    counts = Counter(names.to_pylist())
    top = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_TOP_TAGS]
    caption = f"Images with each of the most frequent tags, of {len(counts):,} tags.{note}"
    return bar_chart(
        [name for name, _ in top], [n for _, n in top], title="Most frequent tags", caption=caption
    )
