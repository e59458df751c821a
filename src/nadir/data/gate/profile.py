"""What a dataset is like in a few hundred numbers, and how far two datasets are apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from nadir.data.gate.manifest import Manifest

    Profile = dict[str, Any]

MIN_IMAGES = 100
"""Fewer images on either side are too few to distinguish change from chance."""
_TAGS = 500
_LUMINANCE_BINS = 20
_SHAPES = 256
"""More half octaves than lie between 1 : 2^31 and 2^31 : 1."""
_DIGITS = 6
_SHOWN = 0.0001


def profile(manifest: Manifest | pa.Table, counts: pa.Table) -> Profile:
    """Shares of tags, sizes and brightness among the used images.

    Args:
        manifest: The used images, columns of schema `MANIFEST`.
        counts: Their tags, from `Manifest.tag_counts`.

    Returns:
        `images`; `tags` (share of all tag uses, of the most frequent tags), `sizes` (share of
        images by side length in half octaves and shape) and `luminance` (share of images by
        brightness). Shares are rounded; equal manifests give equal profiles.
    """
    return {
        "images": manifest.num_rows,
        "tags": _tags(counts),
        "sizes": _sizes(manifest),
        "luminance": _luminance(manifest),
    }


def drift(current: Profile, reference: Profile | None) -> dict[str, float | None]:
    """How far apart two profiles are: total variation distance of each kind of share, 0 to 1.

    Returns:
        `tag_drift`, `size_drift` and `luminance_drift`; None without a reference or with too few
        images to compare.
    """
    names = {"tag_drift": "tags", "size_drift": "sizes", "luminance_drift": "luminance"}
    if reference is None or min(current["images"], reference["images"]) < MIN_IMAGES:
        return dict.fromkeys(names)
    return {
        name: round(distance(current[kind], reference[kind]), 4) for name, kind in names.items()
    }


def distance(current: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """Total variation distance of two distributions; what is not named counts as one more cell.

    It is the share that would have to change to make the one out of the other.
    """
    cells = [name for name in reference if name in current]
    p = np.array([current[name] for name in cells])
    q = np.array([reference[name] for name in cells])
    gone = sum(share for name, share in reference.items() if name not in current)
    new = sum(share for name, share in current.items() if name not in reference)
    unnamed = abs((1 - p.sum() - new) - (1 - q.sum() - gone))
    return float((np.abs(p - q).sum() + gone + new + unnamed) / 2)


def changed_tags(
    current: Profile, reference: Profile, count: int = 8
) -> list[tuple[str, float, float]]:
    """The tags whose share of the tag uses changed most: (tag, before, now)."""
    now, before = current["tags"], reference["tags"]
    rows = [(n, before.get(n, 0.0), now.get(n, 0.0)) for n in {*now, *before}]
    changed = [row for row in rows if abs(row[2] - row[1]) >= _SHOWN]
    return sorted(changed, key=lambda row: (-abs(row[2] - row[1]), row[0]))[:count]


def _tags(counts: pa.Table) -> dict[str, float]:
    uses = pc.sum(counts.column("count")).as_py() or 0
    top = counts.slice(0, _TAGS)
    pairs = zip(top.column("tag").to_pylist(), top.column("count").to_pylist(), strict=True)
    return {tag: round(count / uses, _DIGITS) for tag, count in pairs}


def _sizes(manifest: Manifest | pa.Table) -> dict[str, float]:
    width = manifest.column("width").to_numpy().astype(float)
    height = manifest.column("height").to_numpy().astype(float)
    side, shape = np.round(np.log2(width * height)), np.round(2 * np.log2(width / height))
    # Both as one number: sorting rows of two takes a hundred times as long.
    cells = np.bincount((side * _SHAPES + shape + _SHAPES // 2).astype(np.int64))
    found = np.flatnonzero(cells)
    pairs = zip((found // _SHAPES).tolist(), (found % _SHAPES - _SHAPES // 2).tolist(), strict=True)
    names = [f"2^{one / 2:g} px, 2^{other / 2:g} : 1" for one, other in pairs]
    return _shares(names, cells[found])


def _luminance(manifest: Manifest | pa.Table) -> dict[str, float]:
    light = manifest.column("mean_luminance").to_numpy()
    bins = np.minimum((light * _LUMINANCE_BINS).astype(int), _LUMINANCE_BINS - 1)
    values, counts = np.unique(bins, return_counts=True)
    return _shares([f"{value / _LUMINANCE_BINS:.2f}" for value in values.tolist()], counts)


def _shares(names: list[str], counts: Any) -> dict[str, float]:
    total = max(int(counts.sum()), 1)
    pairs = zip(names, counts.tolist(), strict=True)
    return {name: round(count / total, _DIGITS) for name, count in pairs}
