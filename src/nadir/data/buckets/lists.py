"""Lists of canvas sizes: SDXL's own, all that a grid has, or the few that lose least (§4.1)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from nadir.data.buckets.aspects import aspect_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Size = tuple[int, int]

SDXL: tuple[Size, ...] = (
    (512, 2048), (512, 1984), (512, 1920), (512, 1856), (576, 1792), (576, 1728), (576, 1664),
    (640, 1600), (640, 1536), (704, 1472), (704, 1408), (768, 1344), (768, 1280), (832, 1216),
    (832, 1152), (896, 1152), (896, 1088), (960, 1088), (960, 1024), (1024, 1024), (1024, 960),
    (1088, 960), (1088, 896), (1152, 896), (1152, 832), (1216, 832), (1280, 768), (1344, 768),
    (1344, 704), (1408, 704), (1472, 704), (1536, 640), (1600, 640), (1664, 576), (1728, 576),
    (1792, 576), (1856, 512), (1920, 512), (1984, 512), (2048, 512),
)  # fmt: skip
"""Width and height of the 40 sizes SDXL was trained at (2307.01952, appendix I)."""

# SDXL's own sizes go down to this share of the largest.
_MIN_AREA_SHARE = 0.9
_REFERENCE_IMAGES = 4000


def bucket_list(
    *,
    max_area_px: int,
    step_px: int,
    min_side_px: int,
    max_side_px: int,
    base_side_px: int | None = None,
    max_aspect_ratio: float = math.inf,
) -> list[Size]:
    """The (width, height) of every bucket of a grid, sorted.

    For each width the largest height within area and side, the same with the axes swapped, and the
    base square. Of buckets with equal aspect ratio only the largest stays.

    Args:
        max_area_px: Largest width times height.
        step_px: Sides are multiples of this.
        min_side_px: Shortest side, a multiple of `step_px`.
        max_side_px: Longest side, a multiple of `step_px`.
        base_side_px: Side of the base square; None for the largest that fits.
        max_aspect_ratio: Longest over shortest side.
    """
    if base_side_px is None:
        base_side_px = min(math.isqrt(max_area_px) // step_px * step_px, max_side_px)
    found = []
    for width in range(min_side_px, max_side_px + 1, step_px):
        height = min(max_area_px // width // step_px * step_px, max_side_px)
        if height >= min_side_px and _within(width, height, max_aspect_ratio):
            found += [(width, height), (height, width)]
    return _of_distinct_ratio(found, base_side_px)


def best_buckets(
    count: int,
    *,
    max_area_px: int,
    step_px: int,
    min_side_px: int,
    max_side_px: int,
    max_aspect_ratio: float = math.inf,
) -> list[Size]:
    """At most `count` sizes of a grid that together crop least, sorted.

    Chosen among all sizes of at least nine tenths of the area, the square and as many tall as wide
    ones. What they crop is measured on the spread of `nadir.data.buckets.aspects`, tall and wide
    counted alike, never on the dataset: new images must not change the sizes of old ones.

    Args:
        count: 1 or more; of an even number, one less is used.
        max_area_px: Largest width times height.
        step_px: Sides are multiples of this.
        min_side_px: Shortest side, a multiple of `step_px`.
        max_side_px: Longest side, a multiple of `step_px`.
        max_aspect_ratio: Longest over shortest side.
    """
    sides = range(min_side_px, max_side_px + 1, step_px)
    wide = [
        (width, height)
        for width in sides
        for height in sides
        if height <= width
        and _MIN_AREA_SHARE * max_area_px <= width * height <= max_area_px
        and _within(width, height, max_aspect_ratio)
    ]
    base = min(math.isqrt(max_area_px) // step_px * step_px, max_side_px)
    sizes = [size for size in _of_distinct_ratio(wide, base) if size[0] >= size[1]]
    sizes.sort(key=lambda size: size[0] / size[1])
    middles = (np.arange(_REFERENCE_IMAGES) + 0.5) / _REFERENCE_IMAGES
    images = np.sort(np.abs(aspect_quantile(middles)))
    log_ratios = np.log([width / height for width, height in sizes])
    chosen = [sizes[index] for index in _least_loss(log_ratios, images, (count - 1) // 2)]
    return sorted({*chosen, *((height, width) for width, height in chosen)})


def _least_loss(places: Floats, images: Floats, count: int) -> list[int]:
    """Indices of the first place and of at most `count` more that lose least, ascending.

    Exact, by dynamic programming: the best choice that ends at a place extends a best choice that
    ends before it.

    Args:
        places: [M] log aspect ratios, ascending from 0.
        images: [N] log aspect ratios, ascending.
        count: How many besides the first.
    """
    # Sizes are points on the axis of log aspect ratio. An image at distance d from its size loses
    # 1 - exp(-d) of its area; it goes to the nearer of the two sizes around it, so the loss between
    # two neighbouring choices depends on those two alone. That is what makes this a shortest path.
    size = len(places)
    between = np.full((size, size), np.inf)
    for first in range(size):
        for last in range(first + 1, size):
            inside = images[slice(*np.searchsorted(images, places[[first, last]]))]
            distance = np.minimum(inside - places[first], places[last] - inside)
            between[first, last] = -np.expm1(-distance).sum()
    beyond = [-np.expm1(place - images[images >= place]).sum() for place in places]
    costs, before = np.where(np.arange(size) == 0, 0.0, np.inf), []
    options = [(costs[0] + beyond[0], 0, 0)]
    for taken in range(1, min(count, size - 1) + 1):
        # costs[i]: least loss of `taken - 1` choices of which i is the last, up to i.
        total = costs[:, None] + between
        before.append(np.argmin(total, axis=0))
        costs = total.min(axis=0)
        last = int(np.argmin(costs + beyond))
        options.append((float(costs[last] + beyond[last]), taken, last))
    _, taken, last = min(options)
    path = [last]
    for links in reversed(before[:taken]):
        path.append(int(links[path[-1]]))
    return path[::-1]


def _of_distinct_ratio(sizes: Sequence[Size], base_side_px: int) -> list[Size]:
    """Of sizes with equal aspect ratio the largest; the square is the base."""
    # In ascending order, so that of equal ratios the largest is written last.
    by_ratio = {(w // math.gcd(w, h), h // math.gcd(w, h)): (w, h) for w, h in sorted(sizes)}
    by_ratio[1, 1] = (base_side_px, base_side_px)
    return sorted(by_ratio.values())


def _within(width: int, height: int, max_aspect_ratio: float) -> bool:
    return max(width, height) <= max_aspect_ratio * min(width, height)
