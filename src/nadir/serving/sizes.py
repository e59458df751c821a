"""Which sizes a model draws: the canvases that its training has seen, else SDXL's way to them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nadir.data.buckets.lists import SDXL, bucket_list
from nadir.diffusion.sdxl import SIDE_PX
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Size = tuple[int, int]

MOST_TIMES_NATIVE = 4
"""Pixels that may be asked for, and the longer side, as multiples of the model's own."""
_STEPS_A_SIDE = 16  # SDXL's sizes are multiples of a sixteenth of its side
# Of |ln| of area beside that of aspect ratio: it decides between resolutions, whose grids differ.
_AREA_WEIGHT = 0.25
_SPREAD = 1.25  # sizes of one resolution differ in area by less than this factor


@dataclass(frozen=True)
class Sizes:
    """What a model draws.

    Attributes:
        side: Of the square that it is made for, pixels.
        buckets: (width, height) that may be drawn.
        most_pixels: That may be asked for.
    """

    side: int
    buckets: tuple[Size, ...]
    most_pixels: int

    @property
    def longest(self) -> int:
        """Pixels of a side that may be asked for."""
        return MOST_TIMES_NATIVE * self.side

    def nearest(self, width: int, height: int) -> Size:
        """The bucket nearest in aspect ratio, as training chose it; of the nearer resolution."""

        def distance(bucket: Size) -> float:
            shape = math.log(bucket[0] * height / (bucket[1] * width))
            area = math.log(self._resolution(bucket) / (width * height))
            return abs(shape) + _AREA_WEIGHT * abs(area)

        return min(self.buckets, key=distance)

    def _resolution(self, bucket: Size) -> int:
        """The largest area of a bucket of about this one's."""
        most = _SPREAD * bucket[0] * bucket[1]
        return max(area for width, height in self.buckets if (area := width * height) < most)

    @property
    def usual(self) -> Size:
        """What is drawn when no size is asked for: the model's own, as far as the limit allows."""
        own = (self.side, self.side)
        return own if self.side**2 <= self.most_pixels else self.nearest(*own)


def sizes_of(
    training: Mapping[str, Any], side: int, multiple: int, most_pixels: int | None = None
) -> Sizes:
    """The sizes of a model.

    Args:
        training: What its checkpoint says of its training; models of others and older checkpoints
            name no buckets, and get those of SDXL or, at another size, a grid made alike.
        side: Of the square that it is made for, pixels.
        multiple: What both sides must be multiples of, pixels.
        most_pixels: Of a picture; None is four times the square.

    Raises:
        NadirError: The limit leaves no size.
    """
    most = most_pixels or MOST_TIMES_NATIVE * side**2
    found = [(int(width), int(height)) for width, height in training.get("buckets") or ()]
    found = [size for size in found if not any(pixels % multiple for pixels in size)]
    kept = tuple(size for size in found or _usual(side, multiple) if size[0] * size[1] <= most)
    if not kept:
        raise NadirError(
            f"the model draws no picture of {most:,} pixels or fewer",
            where="most_pixels",
            fix=f"raise the limit; the square that it is made for has {side**2:,}",
        )
    return Sizes(side, kept, most)


def _usual(side: int, multiple: int) -> Sequence[Size]:
    if side == SIDE_PX:
        return SDXL
    step = max(side // _STEPS_A_SIDE // multiple, 1) * multiple
    half = max(side // 2 // step, 1) * step
    return bucket_list(
        max_area_px=side**2, step_px=step, min_side_px=half, max_side_px=max(2 * side, half)
    )
