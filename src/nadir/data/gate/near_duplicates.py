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

from nadir.data.large_tables import sorting_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Integers = np.ndarray[tuple[int], np.dtype[Any]]
    Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]

MAX_DISTANCE = 4
"""Differing bits. Most hashes set half their bits, so most distances are even."""

_ALL_BITS = (1 << 64) - 1
_COMPARED_AT_ONCE = 1 << 15
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
    order = sorting_order(values)
    ordered = values[order]
    new = np.r_[True, ordered[1:] != ordered[:-1]][: len(values)]
    parts = _connected_parts(ordered[new])
    # Each part is called by its smallest hash.
    numbers = np.cumsum(parts == np.arange(len(parts))) - 1
    groups = np.empty(len(values), np.int64)
    groups[order] = numbers[parts][np.cumsum(new) - 1]
    return groups


def _connected_parts(distinct: Hashes) -> Integers:
    """The smallest hash of the connected part that each hash is in, by position."""
    # A union-find forest over distinct hashes, and a stack of sets to compare: members and bits
    # that still distinguish them. All hashes with all bits come first.
    parents = np.arange(len(distinct))
    crowds = [(parents.copy(), _ALL_BITS)]
    while crowds:
        members, free = crowds.pop()
        for mask in _band_pairs(free):
            if len(members) < 2 or _under_one_root(parents, members):
                break  # no further pair can change anything
            places, keys = _side_by_side(distinct[members], mask)
            order = members[places]
            starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
            sizes = np.diff(np.r_[starts, len(keys)])
            # In a large crowd every pair would be compared. Members agree in the bands of `mask`,
            # so what distinguishes them lies in the other bits: they are split by those, later.
            rest = free & ~mask
            large = (sizes > _CROWD) & (rest.bit_count() >= _FEWEST_BITS)
            bounds = zip(starts[large].tolist(), sizes[large].tolist(), strict=True)
            crowds += [(order[start : start + size], rest) for start, size in bounds]
            behind = np.repeat(np.where(large, 0, starts + sizes), sizes) - np.arange(len(keys))
            _connect(parents, *(order[ends] for ends in _close_pairs(distinct[order], behind)))
    return _roots(parents, np.arange(len(distinct)))


def _side_by_side(values: Hashes, mask: int) -> tuple[Integers, Hashes]:
    """Places of values so that those which agree in the bits of `mask` follow each other.

    Returns:
        The places [N], and at each of them a number for the bits it has there.
    """
    keys, filled = np.zeros_like(values), 0
    for low, count in _runs(mask):
        keys |= (values >> np.uint64(low) & np.uint64((1 << count) - 1)) << np.uint64(filled)
        filled += count
    # Sorting numbers that carry their place is ten times as fast as sorting places by numbers.
    bits = np.uint64(len(values).bit_length())
    packed = np.sort(keys << bits | np.arange(len(values), dtype=np.uint64))
    return (packed & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64), packed >> bits


def _runs(mask: int) -> Iterator[tuple[int, int]]:
    """First bit and number of the set bits that follow each other."""
    low = 0
    while mask >> low:
        low += (mask >> low & -(mask >> low)).bit_length() - 1
        count = (~(mask >> low) & (mask >> low) + 1).bit_length() - 1
        yield low, count
        low += count


def _under_one_root(parents: Integers, members: Integers) -> bool:
    first, last = _roots(parents, members[[0, -1]]).tolist()
    return bool(first == last and np.ptp(_roots(parents, members)) == 0)


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
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    left, right = _roots(parents, left), _roots(parents, right)
    apart = left != right
    # All pairs at once: as edges of a graph whose vertices are the roots. Its connected parts are
    # what one union after the other would give, without a Python loop over millions of pairs.
    ends = np.concatenate([left[apart], right[apart]])
    roots, ends = np.unique(ends, return_inverse=True)
    links = (ends[: len(ends) // 2], ends[len(ends) // 2 :])
    shape = (len(roots), len(roots))
    count, parts = connected_components(
        coo_array((np.ones(len(links[0]), np.int8), links), shape=shape), directed=False
    )
    # The smallest root of a part is above the others: the result does not depend on the order.
    least = np.full(count, len(parents))
    np.minimum.at(least, parts, roots)
    parents[roots] = least[parts]


def _close_pairs(values: Hashes, behind: Integers) -> tuple[Integers, Integers]:
    """Places of close pairs, [P] twice; each value is compared with those less than `behind` on."""
    found = [(behind[:0], behind[:0])]
    # A few at a time, so that what is compared stays in the processor's cache.
    for start in range(0, len(values), _COMPARED_AT_ONCE):
        near = start + np.flatnonzero(behind[start : start + _COMPARED_AT_ONCE] > 1)
        # Each against the one `step` places on: all pairs, without a Python loop over crowds.
        for step in itertools.count(1):
            if not len(near):
                break
            close = near[np.bitwise_count(values[near] ^ values[near + step]) <= MAX_DISTANCE]
            found.append((close, close + step))
            near = near[behind[near] > step + 1]
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
