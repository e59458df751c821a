"""Synthetic posts of a large booru: tags, sizes and hashes drawn from a small fitted model.

`booru_tags.json` holds, for each tag class, (rank, posts with the tag) at some forty ranks of a
large booru's public tag list at the end of 2024; counts between them follow a straight line in
log-log. Beyond rank 20,000 the line goes on to 25 posts, where that list ends: 140,782 tags, and
the sum of their counts is the list's own (297 million) to within 0.1 %. Its number of posts is not
public; 8.4 million is assumed, which makes 35 tags a post.

A post carries each tag independently of the others, so tags co-occur less than they really do.
Aspect ratios follow `nadir.data.buckets.aspects`, areas are log-normal around 1.9 megapixels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from nadir.data.buckets.aspects import aspect_quantile
from nadir.data.row_groups import ROWS_PER_GROUP
from nadir.data.tables import CAPTION_LIST, MANIFEST, TAG_LIST, write_groups

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

POSTS_OF_THE_MODEL = 8_400_000
POSTS_AT_ONCE = 100_000
HOLDOUT_SHARE = 0.01
# Tags on more posts than this share are drawn exactly; of rarer ones, doubles are dropped.
_FREQUENT = 0.005


@dataclass(frozen=True)
class TagModel:
    """Every tag with its class and the chance that a post carries it, most used first."""

    names: pa.Array
    classes: pa.Array
    chances: NDArray[np.float64]

    @classmethod
    def load(cls) -> TagModel:
        """The fitted model; names are made up, as long as real ones are on average."""
        path = Path(__file__).with_name("booru_tags.json")
        knots: dict[str, list[list[int]]] = json.loads(path.read_text(encoding="utf-8"))
        names, classes, counts = [], [], []
        for tag_class, points in knots.items():
            ranks, known = np.log(np.array(points, dtype=float)).T
            size = points[-1][0]
            counts.append(np.exp(np.interp(np.log(np.arange(1, size + 1)), ranks, known)))
            names += [f"{tag_class}_tag_{rank:05}" for rank in range(1, size + 1)]
            classes += [tag_class] * size
        chances = np.concatenate(counts) / POSTS_OF_THE_MODEL
        order = np.argsort(-chances, kind="stable")
        return cls(pa.array(names).take(order), pa.array(classes).take(order), chances[order])


def sizes(count: int, rng: np.random.Generator) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Widths and heights, [count] each, pixels."""
    aspects = np.exp(aspect_quantile(rng.random(count)))
    areas = np.exp(rng.normal(np.log(1.9e6), 0.7, count))
    widths, heights = np.sqrt(areas * aspects), np.sqrt(areas / aspects)
    return np.maximum(widths, 1).astype(np.int32), np.maximum(heights, 1).astype(np.int32)


def hashes(count: int, rng: np.random.Generator) -> pa.Array:
    """Hex sha256-like strings, [count]."""
    text = rng.bytes(32 * count).hex().encode()
    offsets = np.arange(count + 1, dtype=np.int32) * 64
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text))


def geometry(count: int, seed: int = 0) -> pa.Table:
    """The manifest's columns that `bucket` reads."""
    rng = np.random.default_rng(seed)
    widths, heights = sizes(count, rng)
    parts = [
        hashes(min(POSTS_AT_ONCE, count - start), rng) for start in range(0, count, POSTS_AT_ONCE)
    ]
    split = np.where(rng.random(count) < HOLDOUT_SHARE, 1, 0).astype(np.int8)
    splits = pa.DictionaryArray.from_arrays(split, pa.array(["train", "holdout"]))
    columns: dict[str, Any] = {"sha256": pa.chunked_array(parts), "width": widths}
    return pa.table(columns | {"height": heights, "split": splits.cast(pa.string())})


def manifests(count: int, seed: int = 0) -> Iterator[pa.Table]:
    """A manifest of `count` posts, in pieces."""
    rng, model = np.random.default_rng(seed), TagModel.load()
    for start in range(0, count, POSTS_AT_ONCE):
        size = min(POSTS_AT_ONCE, count - start)
        basis = geometry(size, seed=seed + start + 1)
        columns = {name: basis[name] for name in basis.column_names}
        columns |= {
            "path": pa.array([f"{number % 1000:03}/{number}.jpg" for number in range(size)]),
            "format": pa.array(["jpeg"] * size),
            "tags": draw_tags(model, size, rng),
            "mean_luminance": rng.random(size, dtype=np.float32),
            "perceptual_hash": pa.array([f"{number:016x}" for number in range(size)]),
            "record_id": pa.array([str(start + number) for number in range(size)]),
            "rating": pa.nulls(size, pa.string()),
            "captions": pa.nulls(size, CAPTION_LIST),
            "repeats": pa.nulls(size, pa.int32()),
            "score": pa.nulls(size, pa.int64()),
            "year": pa.nulls(size, pa.int32()),
            "kept_tags": pa.nulls(size, pa.int32()),
        }
        yield pa.table({name: columns[name] for name in MANIFEST.names}, schema=MANIFEST)


def write_manifest(path: Path, count: int, seed: int = 0) -> None:
    """Write a manifest as `validate` does: groups of rows, tags as dictionaries."""
    write_groups(_regrouped(manifests(count, seed)), path, MANIFEST)


def _regrouped(pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, `ROWS_PER_GROUP` at a time."""
    held = MANIFEST.empty_table()
    for piece in pieces:
        held = pa.concat_tables([held, piece])
        if held.num_rows >= ROWS_PER_GROUP:
            yield held.slice(0, ROWS_PER_GROUP)
            held = held.slice(ROWS_PER_GROUP)
    yield held


def draw_tags(model: TagModel, posts: int, rng: np.random.Generator) -> pa.Array:
    """The `tags` column of some posts."""
    frequent = int((model.chances > _FREQUENT).sum())
    post, tag = _frequent_uses(model.chances[:frequent], posts, rng)
    rare_post, rare_tag = _rare_uses(model.chances[frequent:], posts, rng)
    post, tag = np.append(post, rare_post), np.append(tag, rare_tag + frequent)
    keys = np.sort(post * len(model.chances) + tag)
    post, tag = np.divmod(keys[np.diff(keys, prepend=-1) > 0], len(model.chances))
    offsets = np.searchsorted(post, np.arange(posts + 1)).astype(np.int32)
    chosen = pa.array(tag.astype(np.int32))
    fields = [model.names.take(chosen), model.classes.take(chosen)]
    tags = pa.StructArray.from_arrays(fields, fields=list(TAG_LIST.value_type))
    return pa.ListArray.from_arrays(pa.array(offsets), tags)


def _frequent_uses(
    chances: NDArray[np.float64], posts: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Post and tag of each use: the gaps between a tag's posts are geometric."""
    found = []
    for chance in chances:
        expected = posts * chance
        gaps = rng.geometric(chance, int(expected + 6 * np.sqrt(expected) + 10))
        places = np.cumsum(gaps) - 1
        found.append(places[places < posts])
    lengths = [len(places) for places in found]
    return np.concatenate(found), np.repeat(np.arange(len(chances)), lengths)


def _rare_uses(
    chances: NDArray[np.float64], posts: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    total = np.cumsum(chances)
    count = rng.poisson(posts * total[-1])
    tags = np.searchsorted(total, rng.random(count) * total[-1]).astype(np.int64)
    return rng.integers(0, posts, count), tags
