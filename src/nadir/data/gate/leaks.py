"""Held-out images that look like a training image, whatever the split was made from.

The split keeps groups of look-alikes together. This looks for pairs instead, by another way, so
that a fault of the groups shows: of the three parts of two hashes that differ in at most four bits,
one differs in at most one bit. Each part of a held-out hash, and each of its neighbours one bit
away, is looked up among the same parts of all training hashes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nadir.data.gate.near_duplicates import MAX_DISTANCE
from nadir.data.large_tables import distinct, sorting_order

if TYPE_CHECKING:
    from nadir.data.gate.near_duplicates import Hashes

    Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]
    Integers = np.ndarray[tuple[int], np.dtype[Any]]

_PARTS = ((0, 21), (21, 21), (42, 22))
"""First bit and number of bits; one bit may differ in each, and one more in but one of them."""
_PAIRS_AT_ONCE = 1 << 17


def leaking_images(values: Hashes, held: Mask) -> int:
    """How many held-out images lie within `MAX_DISTANCE` bits of a training image.

    Args:
        values: Perceptual hashes, from `hash_values` [N].
        held: [N] which images are held out.
    """
    # Both sides hold many equal hashes (plain backgrounds), which need one look only.
    wanted, counts = np.unique(values[held], return_counts=True)
    return int(counts[near_any(wanted, distinct(values[~held]))].sum())


def near_any(wanted: Hashes, known: Hashes) -> Mask:
    """Which of `wanted` [N] lie within `MAX_DISTANCE` bits of one of `known` [M]."""
    near = np.zeros(len(wanted), dtype=bool)
    for first, bits in _PARTS:
        rest = np.uint64(64 - bits)
        sorted_known = np.sort(_turned(known, first, bits))
        counts = np.bincount((sorted_known >> rest).astype(np.int64), minlength=1 << bits)
        ends = np.cumsum(counts)
        # Both in the same order, so that each look is near the one before.
        turned = _turned(wanted, first, bits)
        order = sorting_order(turned)
        for change in (0, *(1 << bit for bit in range(bits))):
            # Those found already need no further pair.
            left = order[~near[order]]
            values = turned[left]
            keys = (values >> rest).astype(np.int64) ^ change
            for rows in _blocks(counts[keys]):
                place, other = _pairs(ends[keys[rows]], counts[keys[rows]])
                mine = rows[place]
                distance = np.bitwise_count(values[mine] ^ sorted_known[other])
                near[left[mine[distance <= MAX_DISTANCE]]] = True
    return near


def _turned(values: Hashes, first: int, bits: int) -> Hashes:
    """The same bits, a part of them first: as many differ between two values as before."""
    after = np.uint64(first + bits)
    return values << (np.uint64(64) - after) | values >> after


def _blocks(counts: Integers) -> list[Integers]:
    """Rows with a count, in runs that have about `_PAIRS_AT_ONCE` pairs each."""
    rows = np.flatnonzero(counts)
    block = np.cumsum(counts[rows]) // _PAIRS_AT_ONCE
    return np.split(rows, np.flatnonzero(np.diff(block)) + 1) if len(rows) else []


def _pairs(ends: Integers, counts: Integers) -> tuple[Integers, Integers]:
    """Each row with each of the `counts` places before its end."""
    place = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    return place, np.arange(len(place)) - before[place] + (ends - counts)[place]
