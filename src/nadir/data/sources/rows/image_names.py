"""An md5 or id within the name of an image: `danbooru_123_MD5.jpg`, `yande.re 123 tags.jpg`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.sources.columns import rows_of

if TYPE_CHECKING:
    from typing import TypeAlias

    Column: TypeAlias = pa.ChunkedArray
    Integers = np.ndarray[tuple[int], np.dtype[np.int64]]

_MD5 = r"(?:^|[^0-9a-f])([0-9a-f]{32})(?:[^0-9a-f]|$)"
_LEAST_DIGITS = 4
"""Of an id that letters stand against; `1girl` is not number 1."""


def find_in_names(values: Column, bare: Column, key: str) -> Integers:
    """Row of `bare` whose name holds each value, -1 where none or several do.

    Args:
        values: Of md5 or id; null for those not looked for.
        bare: Names without endings; null for those that cannot be found.
        key: `md5` or `id`.
    """
    if values.null_count == len(values) or bare.null_count == len(bare):
        return np.full(len(values), -1, dtype=np.int64)
    if key == "md5":
        return _by_parts(values, *_hashes(bare))
    found = _by_parts(values, *_numbers(bare, whole=True))
    other = _by_parts(values, *_numbers(bare, whole=False))
    # An image that has a whole number of some row is not another's by a number within a word.
    free = (found < 0) & ~np.isin(other, found[found >= 0])
    return np.where(free, other, found)


def _hashes(bare: Column) -> tuple[pa.Array, Integers]:
    """The hashes in names, and whose they are."""
    lower = pc.utf8_lower(bare)
    # pyarrow extracts named groups only.
    found = pc.struct_field(pc.extract_regex(lower, _MD5.replace("([0", "(?P<hash>[0")), "hash")
    found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    rows = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))
    return found.take(pa.array(rows)), rows


def _numbers(bare: Column, *, whole: bool) -> tuple[pa.Array, Integers]:
    """The numbers in names, and whose they are; those within hashes are none."""
    lower = pc.utf8_lower(bare)
    text = pc.replace_substring_regex(lower, r"[0-9a-f]{32}", " ")
    parts = pc.split_pattern_regex(text, r"[^0-9a-z]+" if whole else r"[^0-9]+")
    parts = parts.combine_chunks() if isinstance(parts, pa.ChunkedArray) else parts
    flat, rows = parts.flatten(), pc.list_parent_indices(parts).to_numpy()
    pattern = r"^[0-9]{1,18}$" if whole else rf"^[0-9]{{{_LEAST_DIGITS},18}}$"
    keep = pc.match_substring_regex(flat, pattern)
    return flat.filter(keep), rows[keep.to_numpy(zero_copy_only=False)]


def _by_parts(values: Column, parts: pa.Array, images: Integers) -> Integers:
    """The image that alone has each value among the parts of its name."""
    pairs = pa.table({"part": parts, "image": pa.array(images)})
    pairs = pairs.group_by("part").aggregate([("image", "min"), ("image", "max")])
    alone = pairs.filter(pc.equal(pairs.column("image_min"), pairs.column("image_max")))
    place = rows_of(pc.utf8_lower(values), alone.column("part"))
    found = alone.column("image_min").take(place).fill_null(-1).to_numpy()
    return _longest(values, np.asarray(found, dtype=np.int64))


def _longest(values: Column, found: Integers) -> Integers:
    """Of several values in the name of one image only the longest, if one is."""
    hit = np.flatnonzero(found >= 0)
    lengths = pc.utf8_length(values).fill_null(0).to_numpy()[hit]
    best = np.zeros(int(found.max(initial=-1)) + 1, dtype=lengths.dtype)
    np.maximum.at(best, found[hit], lengths)
    lost = hit[lengths < best[found[hit]]]
    kept = found.copy()
    kept[lost] = -1
    return kept
