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

if TYPE_CHECKING:
    from nadir.data.gate.near_duplicates import Hashes

    Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]
    Integers = np.ndarray[tuple[int], np.dtype[Any]]

_PARTS = ((0, 21), (21, 21), (42, 22))
"""First bit and number of bits; one bit may differ in each, and one more in but one of them."""
_PAIRS_AT_ONCE = 1 << 22


def leaking_images(values: Hashes, held: Mask) -> int:
    """How many held-out images lie within `MAX_DISTANCE` bits of a training image.

    Args:
        values: Perceptual hashes, from `hash_values` [N].
        held: [N] which images are held out.
    """
    # Both sides hold many equal hashes (plain backgrounds), which need one look only.
    wanted, counts = np.unique(values[held], return_counts=True)
    return int(counts[near_any(wanted, np.unique(values[~held]))].sum())


def near_any(wanted: Hashes, known: Hashes) -> Mask:
    """Which of `wanted` [N] lie within `MAX_DISTANCE` bits of one of `known` [M]."""
    near = np.zeros(len(wanted), dtype=bool)
    for first, bits in _PARTS:
        order = np.argsort(_part(known, first, bits), kind="stable")
        sorted_known = known[order]
        counts = np.bincount(_part(known, first, bits), minlength=1 << bits)
        ends = np.cumsum(counts)
        for change in (0, *(1 << bit for bit in range(bits))):
            # Those found already need no further pair.
            left = np.flatnonzero(~near)
            keys = _part(wanted[left], first, bits) ^ change
            for rows in _blocks(counts[keys]):
                place, other = _pairs(ends[keys[rows]], counts[keys[rows]])
                mine = left[rows][place]
                distance = np.bitwise_count(wanted[mine] ^ sorted_known[other])
                near[mine[distance <= MAX_DISTANCE]] = True
    return near


def _part(values: Hashes, first: int, bits: int) -> Integers:
    return (values >> np.uint64(first) & np.uint64((1 << bits) - 1)).astype(np.int64)


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
