"""Counts, rarity and loss weights of tags, and the loss weights of images (paper §4.3).

The paper weighs a sample down when tags of certain classes were seen often, and publishes no
formula; the one here is this project's own.
"""

from __future__ import annotations

import glob
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from nadir.config.tag_statistics import TagStatisticsParams

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Strings = NDArray[np.str_]

_ROWS_AT_ONCE = 100_000
# Neither appears in a tag: sources split tags at white space and commas.
_KEY_SEPARATOR = "\n"

_COUNT_SQL = """
    WITH uses AS (
        SELECT unnest(list_distinct(tags), recursive := true)
        FROM read_parquet($manifest) WHERE split = 'train'
    )
    SELECT name AS tag, class, count(*) AS count
    FROM uses GROUP BY name, class ORDER BY count DESC, tag, class
"""
_IMAGES_SQL = "SELECT count(*) FROM read_parquet($manifest) WHERE split = 'train'"


def tag_statistics(manifest: Path, params: TagStatisticsParams) -> pa.Table:
    """Count and weigh the tags of the training images; a `TAGS` table.

    Args:
        manifest: File of a `MANIFEST` table; DuckDB reads it out of core.
        params: Power, clips, classes and limits.
    """
    with duckdb.connect() as database:
        # The path is a glob to DuckDB.
        source = {"manifest": glob.escape(str(manifest))}
        counted = database.sql(_COUNT_SQL, params=source).to_arrow_table()
        images = int(database.sql(_IMAGES_SQL, params=source).fetchall()[0][0])
    counts = counted["count"].to_numpy().astype(np.int64)
    classes = counted["class"].to_numpy(zero_copy_only=False).astype(np.str_)
    frequency = counts / max(images, 1)
    weighted = np.isin(classes, params.weighted_classes)
    weighted &= frequency <= params.max_document_frequency
    weights = np.where(weighted, tag_weights(counts, classes, params), 1.0)
    columns = {
        "tag": counted["tag"],
        "class": counted["class"],
        "count": counts,
        "document_frequency": frequency,
        "rarity": rarity_bins(counts, head_share=params.head_share, tail_share=params.tail_share),
        "weight": weights,
        "weighted": weighted,
    }
    return pa.table(columns)


def tag_weights(counts: Integers, classes: Strings, params: TagStatisticsParams) -> Floats:
    """Weight of each tag: clip((geometric mean count of its class / count)^power, min, max).

    Args:
        counts: [N] images that carry the tag, 1 or more.
        classes: [N] class of the tag.
        params: Power and clips.
    """
    log_counts = np.log(counts)
    _, group = np.unique(classes, return_inverse=True)
    reference = np.bincount(group, log_counts) / np.maximum(np.bincount(group), 1)
    ratios = np.exp(params.power * (reference[group] - log_counts))
    return np.clip(ratios, params.min_weight, params.max_weight).astype(np.float64)


def rarity_bins(counts: Integers, *, head_share: float, tail_share: float) -> Strings:
    """Sort tags into `head`, `mid` and `tail` by their share of all uses.

    `head` is the most used tags that together hold at most `head_share` of the uses, and never
    empty; `tail` is the least used, as long as less than `tail_share` of the uses lie below them.
    Tags with equal counts stay together.

    Args:
        counts: [N] uses of each tag, in any order.
        head_share: 0 to 1.
        tail_share: 0 to 1.
    """
    if not len(counts):
        return np.array([], dtype=np.str_)
    levels, group = np.unique(counts, return_inverse=True)
    uses = np.bincount(group, counts)
    up_to = np.cumsum(uses)
    total = up_to[-1]
    bins = np.full(len(levels), "mid", dtype="<U4")
    bins[up_to - uses < tail_share * total] = "tail"
    bins[total - up_to + uses <= head_share * total] = "head"
    bins[-1] = "head"
    return bins[group]


def sample_weights(manifest: pa.Table, tags: pa.Table) -> Floats:
    """Loss weight of each image of the manifest, with mean 1 over its training images.

    A sample's weight is the product over tag classes of the mean weight of its tags in the class.
    Tags that carry no weight (too common, of an unweighted class, unseen in training) are left
    out, and a class without tags counts 1.

    Args:
        manifest: `MANIFEST` columns `split` and `tags`; [N] rows.
        tags: A `TAGS` table.

    Returns:
        [N] weights in the manifest's order; hold-out images have theirs on the same scale.
    """
    tags = tags.filter(tags["weighted"])
    known = pa.array(_keys(tags["tag"], tags["class"]))
    weights = tags["weight"].to_numpy()
    names, group = np.unique(
        tags["class"].to_numpy(zero_copy_only=False).astype(np.str_), return_inverse=True
    )
    parts = [
        _raw_weights(chunk, known, weights, group, len(names))
        for batch in manifest.select(["tags"]).to_batches(max_chunksize=_ROWS_AT_ONCE)
        for chunk in batch.columns
    ]
    raw = np.concatenate(parts) if parts else np.ones(0)
    train = pc.equal(manifest["split"], "train").to_numpy()
    return raw / raw[train].mean() if train.any() else raw


def effective_sample_share(weights: Floats) -> float:
    """Kish's effective sample size (Σw)² / Σw², as a share of the samples: 1 for equal weights."""
    return float(weights.sum() ** 2 / (weights**2).sum() / len(weights)) if len(weights) else 1.0


def _raw_weights(
    tags: pa.ListArray, known: pa.Array, weights: Floats, group: Integers, groups: int
) -> Floats:
    """[N] products of class means of one piece of the manifest."""
    uses = tags.flatten()
    image = np.repeat(np.arange(len(tags)), pc.list_value_length(tags).to_numpy())
    keys = _keys(uses.field("name"), uses.field("class"))
    row = pc.fill_null(pc.index_in(keys, value_set=known), -1).to_numpy()
    image, row = image[row >= 0], row[row >= 0]
    cell = image * groups + group[row]
    size = len(tags) * groups
    total = np.bincount(cell, weights[row], minlength=size)
    count = np.bincount(cell, minlength=size)
    means = np.divide(total, count, out=np.ones(size), where=count > 0)
    return np.asarray(means.reshape(len(tags), groups).prod(axis=1), dtype=np.float64)


def _keys(names: pa.Array, classes: pa.Array) -> pa.Array:
    """One string for each tag and its class."""
    joined = pc.binary_join_element_wise(classes, names, _KEY_SEPARATOR)
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
