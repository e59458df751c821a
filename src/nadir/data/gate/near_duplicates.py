"""Groups of images that look the same, also among millions.

Two images are near-duplicates when their 64-bit perceptual hashes differ in at most `MAX_DISTANCE`
bits; groups are the connected parts of that relation.

Pairs are found by multi-index hashing: of `MAX_DISTANCE` + 2 bands of bits at least two are equal
in a close pair, so for every two bands only hashes that agree in both are compared. Where too many
agree (plain backgrounds look alike), the same is done again with their other bits.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Sequence

    Integers = np.ndarray[tuple[int], np.dtype[Any]]
    Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]

MAX_DISTANCE = 4
"""Differing bits. Most hashes set half their bits, so most distances are even."""

_ALL_BITS = (1 << 64) - 1
_CROWD = 2000
"""So many hashes that agree are split further before they are compared one with the other."""
_FEWEST_BITS = 3 * (MAX_DISTANCE + 2)
"""With fewer bits left to distinguish them, splitting further gains nothing."""


def hash_values(hashes: Sequence[str] | pa.ChunkedArray) -> Hashes:
    """Hashes of 16 hex digits as numbers [N]."""
    if not isinstance(hashes, pa.ChunkedArray):
        hashes = pa.chunked_array([pa.array(hashes, pa.string())])
    parts = [bytes.fromhex(_joined(chunk)) for chunk in hashes.chunks]
    return np.frombuffer(b"".join(parts), ">u8").astype(np.uint64)


def _joined(texts: pa.StringArray) -> str:
    """The texts of an array after one another: as they lie in memory."""
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32)[[texts.offset, texts.offset + len(texts)]].tolist()
    return bytes(data[bounds[0] : bounds[1]]).decode() if len(texts) and data else ""


def near_duplicate_groups(values: Hashes) -> Integers:
    """Number the groups of near-duplicates.

    Args:
        values: Perceptual hashes, from `hash_values` [N].

    Returns:
        Group of each image [N], counted from 0 in the order of the groups' smallest hashes.
    """
    distinct, image_to_distinct = np.unique(values, return_inverse=True)
    labels = _connected_parts(distinct)
    # scipy does not define the order of its labels; ours is that of the smallest hash.
    _, first, group = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return np.asarray(rank[group][image_to_distinct])


def _connected_parts(distinct: Hashes) -> Integers:
    """A hash of the connected part that each hash is in, by position."""
    # A union-find forest over distinct hashes, and a stack of sets to compare: members and bits
    # that still distinguish them. All hashes with all bits come first.
    parents = np.arange(len(distinct))
    crowds = [(parents.copy(), _ALL_BITS)]
    while crowds:
        members, free = crowds.pop()
        for mask in _band_pairs(free):
            if len(members) < 2 or np.ptp(_roots(parents, members)) == 0:
                break  # all under one root already: no further pair can change anything
            # Sorted by the two bands, hashes that agree in both lie side by side.
            order = members[np.argsort(distinct[members] & np.uint64(mask), kind="stable")]
            keys = distinct[order] & np.uint64(mask)
            starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
            sizes = np.diff(np.r_[starts, len(keys)])
            # In a large crowd every pair would be compared. Members agree in the bands of `mask`,
            # so what distinguishes them lies in the other bits: they are split by those, later.
            rest = free & ~mask
            large = (sizes > _CROWD) & (rest.bit_count() >= _FEWEST_BITS)
            bounds = zip(starts[large].tolist(), sizes[large].tolist(), strict=True)
            crowds += [(order[start : start + size], rest) for start, size in bounds]
            _connect(parents, *_compare(distinct, order, keys, np.repeat(~large, sizes)))
    return _roots(parents, np.arange(len(distinct)))


def _roots(parents: Integers, members: Integers) -> Integers:
    """The root above each member, and the ways there made short."""
    # Parents are never larger than their children, so this ends: at the smallest of each part.
    roots = parents[members]
    while (parents[roots] != roots).any():
        roots = parents[roots]
    parents[members] = roots
    return roots


def _connect(parents: Integers, left: Integers, right: Integers) -> None:
    """Put each pair under one root, the smallest of those it connects."""
    # All pairs at once: as edges of a graph whose vertices are the roots. Its connected parts are
    # what one union after the other would give, without a Python loop over millions of pairs.
    ends = np.concatenate([_roots(parents, left), _roots(parents, right)])
    roots, ends = np.unique(ends, return_inverse=True)
    links = (ends[: len(left)], ends[len(left) :])
    shape = (len(roots), len(roots))
    count, parts = connected_components(
        coo_array((np.ones(len(left), np.int8), links), shape=shape), directed=False
    )
    # The smallest root of a part is above the others: the result does not depend on the order.
    least = np.full(count, len(parents))
    np.minimum.at(least, parts, roots)
    parents[roots] = least[parts]


def _compare(
    distinct: Hashes, order: Integers, keys: Hashes, wanted: np.ndarray[Any, np.dtype[np.bool_]]
) -> tuple[Integers, Integers]:
    """Close pairs among those `order` puts side by side with equal keys, where `wanted`."""
    found = [(order[:0], order[:0])]
    near = np.flatnonzero(wanted)
    values = distinct[order]
    # Every element against the one `step` places behind it, while the keys agree: all pairs of each
    # crowd, without a Python loop over crowds.
    for step in range(1, len(order)):
        near = near[near + step < len(order)]
        near = near[keys[near] == keys[near + step]]
        if not len(near):
            break
        close = np.bitwise_count(values[near] ^ values[near + step]) <= MAX_DISTANCE
        found.append((order[near[close]], order[near[close] + step]))
    lefts, rights = zip(*found, strict=True)
    return np.concatenate(lefts), np.concatenate(rights)


def _band_pairs(free: int) -> list[int]:
    """Masks of every two bands that the bits of `free` fall into."""
    # d differing bits touch at most d of the d + 2 bands, so two bands are equal in every close
    # pair. One band would do with d + 1 of them, but agreement in two of these is
    # hundreds of times rarer, and so are the comparisons.
    bits = [bit for bit in range(64) if free >> bit & 1]
    bounds = np.linspace(0, len(bits), MAX_DISTANCE + 3).round().astype(int).tolist()
    bands = [sum(1 << bit for bit in bits[low:high]) for low, high in itertools.pairwise(bounds)]
    return [one | other for one, other in itertools.combinations(bands, 2)]
