"""Train and hold-out: near-duplicates always fall on the same side.

Images are drawn by a hash of their own perceptual hash, and their look-alikes go with them. So no
image's side depends on images that look different, and a growing dataset keeps its hold-out: new
look-alikes of a held-out image are held out too, as long as there is room for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nadir.data.gate.near_duplicates import near_duplicate_groups
from nadir.ground.chance import fractions_of

if TYPE_CHECKING:
    from nadir.data.gate.near_duplicates import Hashes

    Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
    Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]
    Integers = np.ndarray[tuple[int], np.dtype[Any]]

_AT_ONCE = 100_000
MIN_IMAGES = 20
"""From this many images on, at least one group is held out."""


def assign_splits(values: Hashes, *, share: float, seed: int) -> tuple[Mask, Integers]:
    """Split images by group.

    About `share` of the distinct images are drawn and held out with their look-alikes, never more
    than twice that share of all images: groups too large for that, and in tiny datasets bad luck,
    stay in training.

    Args:
        values: Perceptual hashes, from `hash_values` [N].
        share: Share of images to draw for the hold-out, 0 to below 1.
        seed: Chooses which.

    Returns:
        True for each held-out image [N], and each image's group [N].
    """
    groups = near_duplicate_groups(values)
    if share <= 0 or len(values) == 0:
        return np.zeros(len(values), dtype=bool), groups
    scores = np.ones(int(groups.max()) + 1)
    # The least of its members': one that joins a group can only lower it.
    np.minimum.at(scores, groups, _drawn(values, seed))
    return _held_out(scores, np.bincount(groups), share)[groups], groups


def _held_out(scores: Floats, sizes: Integers, share: float) -> Mask:
    """Which groups are held out: those with a score below `share`, as far as there is room."""
    count = int(sizes.sum())
    room = max(1, int(2 * share * count))
    held = np.zeros(len(sizes), dtype=bool)
    needed = count >= MIN_IMAGES
    drawn = scores < share
    if drawn.any() and sizes[drawn].sum() <= room:
        return drawn
    for group in np.argsort(scores, kind="stable").tolist():
        if scores[group] >= share and not needed:
            break
        if sizes[group] <= room:
            held[group], needed = True, False
            room -= sizes[group]
    return held


def _drawn(values: Hashes, seed: int) -> Floats:
    """A number in 0 to below 1 for each hash [N], by its text and the seed alone."""
    start, parts = f"{seed}:".encode(), [np.zeros(0)]
    for first in range(0, len(values), _AT_ONCE):
        text = values[first : first + _AT_ONCE].astype(">u8").tobytes().hex().encode()
        parts.append(fractions_of(start + text[at : at + 16] for at in range(0, len(text), 16)))
    return np.concatenate(parts)
