"""Held-out images by how rare their tags are: does training learn the rare ones (paper §4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nadir.heldout.images import HeldOutImage

    Tag = tuple[str, str]

HEAD, MIDDLE, TAIL = "head_tags", "mid_tags", "tail_tags"


def rarity_groups(
    images: Sequence[HeldOutImage], frequency: Mapping[Tag, float]
) -> dict[str, list[str]]:
    """The images in three equal groups by the document frequency of their rarest tag.

    Args:
        images: Held-out images; those without a tag that training knows belong to no group.
        frequency: Share of the training images that carry a tag, by (name, class).

    Returns:
        sha256 of the images by group, `head_tags` with the most frequent ones first; nothing where
        there are fewer than three images.
    """
    ranked = sorted(
        (-min(frequency[tag] for tag in image.tags), image.sha256) for image in images if image.tags
    )
    size, left = divmod(len(ranked), 3)
    if not size:
        return {}
    names = [sha256 for _, sha256 in ranked]
    ends = [size, size + size + left]
    return {HEAD: names[: ends[0]], MIDDLE: names[ends[0] : ends[1]], TAIL: names[ends[1] :]}
