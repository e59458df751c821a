"""Counts, rarity and loss weights of tags, and the loss weights of images (paper §4.3).

The paper weighs a sample down when tags of certain classes were seen often, and publishes no
formula; the one here is this project's own.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from nadir.compute.cores import on_all_cores
from nadir.data.tags.codes import TagCoder, TagUses, meant_uses
from nadir.data.tags.names import most_used_first, names_used
from nadir.data.tags.pairs import tag_pairs
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from nadir.config.tag_statistics import TagStatisticsParams
    from nadir.data.tags.caption_lengths import CaptionLengths
    from nadir.data.tags.rules import TagRules

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Strings = NDArray[np.str_]
    Measure = Callable[[TagUses, Sequence[tuple[str, str]]], CaptionLengths]


@dataclass(frozen=True)
class TagStatistics:
    """What the training images' tags say.

    Attributes:
        tags: A `TAGS` table.
        pairs: A `TAG_PAIRS` table of the most used tags.
        weights: Loss weight of each training image, in the manifest's order, mean 1.
        captions: How long the training images' captions are; None when not asked for.
    """

    tags: pa.Table
    pairs: pa.Table
    weights: Floats
    captions: CaptionLengths | None = None


def tag_statistics(
    manifest: Path,
    params: TagStatisticsParams,
    *,
    rules: TagRules | None = None,
    scratch: Path | None = None,
    measure: Measure | None = None,
) -> TagStatistics:
    """Count and weigh the tags of the training images, out of core.

    Args:
        manifest: File of a `MANIFEST` table.
        params: Power, clips, classes and limits.
        rules: Aliases and implications; an image counts for all that its tags stand for.
        scratch: Folder for temporary files; eight bytes for each use of a tag.
        measure: How long the captions are, from the uses and (name, class) of each tag.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        uses, vocabulary = _uses(manifest, rules, Path(folder))
        counts = np.zeros(vocabulary.num_rows, np.int64)
        for piece in uses.pieces():
            counts += np.bincount(piece.rows, minlength=len(counts))
        tags = _weighed(vocabulary.append_column("count", pa.array(counts)), len(uses), params)
        order = np.lexsort(
            [*(tags[name].to_numpy(zero_copy_only=False) for name in ("class", "tag")), -counts]
        )
        return TagStatistics(
            tags=tags.take(order),
            pairs=tag_pairs(uses, tags, order[: params.paired_tags]),
            weights=sample_weights(uses, tags),
            captions=measure(uses, tag_names(tags)) if measure else None,
        )


def _uses(manifest: Path, rules: TagRules | None, folder: Path) -> tuple[TagUses, pa.Table]:
    """The training images' tags, rows of `TAGS` columns tag, class and from_names."""
    names, named = names_used(manifest, folder / "names.bin")
    vocabulary = _vocabulary(most_used_first(names), rules)
    columns = (names[column].combine_chunks() for column in ("name", "class"))
    return (
        meant_uses(named, TagCoder(vocabulary).meanings(*columns), folder / "uses.bin"),
        vocabulary,
    )


def tag_names(tags: pa.Table) -> list[tuple[str, str]]:
    """(name, class) of each row of a `TAGS` table."""
    return list(zip(tags["tag"].to_pylist(), tags["class"].to_pylist(), strict=True))


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


def sample_weights(uses: TagUses, tags: pa.Table) -> Floats:
    """Loss weights of some images, [N] with mean 1.

    A sample's weight is the product over tag classes of the mean weight of its tags in the class.
    Tags that carry no weight (too common, of an unweighted class, unseen in training) are left
    out, and a class without tags counts 1.

    Args:
        uses: The images' tags, rows of `tags`.
        tags: A `TAGS` table.
    """
    classes = tags["class"].to_numpy(zero_copy_only=False).astype(np.str_)
    names, group = np.unique(classes, return_inverse=True)
    weighted, weights = tags["weighted"].to_numpy(), tags["weight"].to_numpy()
    groups = max(len(names), 1)

    def products(piece: TagUses) -> Floats:
        takes_part = weighted[piece.rows]
        rows = piece.rows[takes_part]
        cell = piece.images()[takes_part] * groups + group[rows]
        count = np.bincount(cell, minlength=len(piece) * groups)
        total = np.bincount(cell, weights[rows], minlength=len(piece) * groups)
        means = np.divide(total, count, out=np.ones(len(count)), where=count > 0)
        return np.asarray(means.reshape(len(piece), groups).prod(axis=1))

    parts = [np.ones(0), *on_all_cores(products, uses.pieces())]
    raw = np.concatenate(parts)
    return raw / raw.mean() if len(raw) else raw


def tag_repeats(uses: TagUses, tags: pa.Table, repeats: Mapping[str, int]) -> Integers:
    """How often an epoch shows each of some images, [N]: the most that one of its tags asks for.

    Args:
        uses: The images' tags, rows of `tags`.
        tags: A `TAGS` table.
        repeats: Tag and times, 1 or more.

    Raises:
        NadirError: A tag that no image has.
    """
    names = tags["tag"].to_pylist()
    unknown = sorted(set(repeats) - set(names))
    if unknown:
        raise NadirError(
            f"no training image has the tag `{unknown[0]}`",
            where="params.yaml train.repeats",
            fix="name tags of data/tags.parquet, in its form (red_hair)",
        )
    times = np.array([repeats.get(name, 1) for name in names], np.int64)
    found = np.ones(len(uses), np.int64)
    np.maximum.at(found, uses.images(), times[uses.rows])
    return found


def effective_sample_share(weights: Floats) -> float:
    """Kish's effective sample size (Σw)² / Σw², as a share of the samples: 1 for equal weights."""
    return float(weights.sum() ** 2 / (weights**2).sum() / len(weights)) if len(weights) else 1.0


def _vocabulary(names: pa.Table, rules: TagRules | None) -> pa.Table:
    """`TAGS` columns tag, class and from_names, of what the names stand for.

    A tag that only rules name has the class of the most used name that brings it.
    """
    pairs = list(zip(names["name"].to_pylist(), names["class"].to_pylist(), strict=True))
    tags = dict.fromkeys(pairs)
    brought: dict[tuple[str, str], list[str]] = defaultdict(list)
    if rules:
        stands_for = {pair: rules.tags(pair[0]) for pair in pairs}
        tags = dict.fromkeys(pair for pair in pairs if stands_for[pair][0] == pair[0])
        own_class = dict(reversed(tags))
        for name, tag_class in pairs:
            for tag in stands_for[name, tag_class]:
                if tag != name:
                    key = (tag, own_class.setdefault(tag, tag_class))
                    tags.setdefault(key)
                    if name not in brought[key]:
                        brought[key].append(name)
    columns = [[name for name, _ in tags], [tag_class for _, tag_class in tags]]
    return pa.table(
        {
            "tag": pa.array(columns[0], pa.string()),
            "class": pa.array(columns[1], pa.string()),
            "from_names": pa.array([brought.get(key, []) for key in tags], pa.list_(pa.string())),
        }
    )


def _weighed(tags: pa.Table, images: int, params: TagStatisticsParams) -> pa.Table:
    """A `TAGS` table, of a table with tag, class, from_names and count."""
    counts = tags["count"].to_numpy()
    classes = tags["class"].to_numpy(zero_copy_only=False).astype(np.str_)
    frequency = counts / max(images, 1)
    weighted = np.isin(classes, params.weighted_classes)
    weighted &= frequency <= params.max_document_frequency
    weights = tag_weights(counts, classes, params)
    columns = {
        "document_frequency": frequency,
        "rarity": rarity_bins(counts, head_share=params.head_share, tail_share=params.tail_share),
        "weight": np.where(weighted, weights, 1.0),
        "weighted": weighted,
    }
    for name, values in columns.items():
        tags = tags.append_column(name, pa.array(values))
    return tags
