"""Train and hold-out: near-duplicates always fall on the same side.

Two images are near-duplicates when their 64-bit perceptual hashes differ in at most `MAX_DISTANCE`
bits; groups are the connected parts of that relation. A group's side is a hash of its name, so it
does not depend on the other images, and a growing dataset keeps its hold-out.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Sequence

    Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
    Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]
    Integers = np.ndarray[tuple[int], np.dtype[Any]]

MAX_DISTANCE = 4
"""Differing bits. DCT hashes set half their bits, so distances between them are even."""
MIN_IMAGES = 20
"""From this many images on, at least one group is held out."""


def near_duplicate_groups(hashes: Sequence[str]) -> Integers:
    """Number the groups of near-duplicates.

    Args:
        hashes: Perceptual hashes, 16 hex digits each.

    Returns:
        Group of each image [N], counted from 0 in the order of the groups' smallest hashes.
    """
    values = np.array([int(text, 16) for text in hashes], dtype=np.uint64)
    distinct, image_to_distinct = np.unique(values, return_inverse=True)
    left, right = _close_pairs(distinct)
    links = coo_array((np.ones(len(left), bool), (left, right)), shape=(len(distinct),) * 2)
    _, labels = connected_components(links, directed=False)
    # The labels' own order is scipy's business; ours is that of the smallest hash.
    _, first, group = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return np.asarray(rank[group][image_to_distinct])


def assign_splits(hashes: Sequence[str], *, share: float, seed: int) -> tuple[list[str], Integers]:
    """Split images by group.

    About `share` of the groups are held out, never more than twice that share of the images: large
    groups, and in tiny datasets bad luck, stay in training.

    Args:
        hashes: Perceptual hashes, 16 hex digits each.
        share: Share of groups to hold out, 0 to below 1.
        seed: Chooses which.

    Returns:
        `train` or `holdout` for each image, and each image's group.
    """
    groups = near_duplicate_groups(hashes)
    count = len(hashes)
    if share <= 0 or count == 0:
        return ["train"] * count, groups
    sizes = np.bincount(groups)
    names = [""] * len(sizes)
    for text, group in zip(hashes, groups, strict=True):
        names[group] = min(names[group] or text, text)
    scores = np.array([_score(name, seed) for name in names])
    held = _held_out(scores, sizes, share)
    return ["holdout" if is_held else "train" for is_held in held[groups]], groups


def _held_out(scores: Floats, sizes: Integers, share: float) -> Mask:
    """Which groups are held out: those with a score below `share`, as far as there is room."""
    count = int(sizes.sum())
    room = max(1, int(2 * share * count))
    held = np.zeros(len(sizes), dtype=bool)
    for group in np.argsort(scores, kind="stable"):
        needed = count >= MIN_IMAGES and not held.any()
        if scores[group] >= share and not needed:
            break
        if sizes[group] <= room:
            held[group] = True
            room -= sizes[group]
    return held


def _close_pairs(distinct: Integers) -> tuple[Integers, Integers]:
    """Pairs of positions whose hashes differ in at most `MAX_DISTANCE` bits.

    Of `MAX_DISTANCE` + 2 bands of bits at least two are equal in such a pair. So for every two
    bands, after sorting by them, only neighbours that agree in both need to be compared.
    """
    lefts, rights = [], []
    for mask in _band_pairs():
        keys = distinct & mask
        order = np.argsort(keys, kind="stable")
        values, keys = distinct[order], keys[order]
        near = np.arange(len(order))
        for step in range(1, len(order)):
            near = near[near + step < len(order)]
            near = near[keys[near] == keys[near + step]]
            if not len(near):
                break
            close = np.bitwise_count(values[near] ^ values[near + step]) <= MAX_DISTANCE
            lefts.append(order[near[close]])
            rights.append(order[near[close] + step])
    nothing = np.zeros(0, dtype=np.int64)
    return np.concatenate([nothing, *lefts]), np.concatenate([nothing, *rights])


def _band_pairs() -> list[np.uint64]:
    """A mask for every two of the bands."""
    bounds = np.linspace(0, 64, MAX_DISTANCE + 3).round().astype(int).tolist()
    bands = [(1 << high) - (1 << low) for low, high in itertools.pairwise(bounds)]
    return [np.uint64(one | other) for one, other in itertools.combinations(bands, 2)]


def _score(name: str, seed: int) -> float:
    """A number in 0 to 1 that looks random and depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / float(1 << 56)
