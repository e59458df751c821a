"""`bucket`: the canvas sizes images are trained at (paper §4.1)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from nadir.config.base import Section
from nadir.diffusion.sdxl import VAE_FACTOR

Side = Annotated[int, Field(ge=VAE_FACTOR, multiple_of=VAE_FACTOR)]
Size = tuple[Side, Side]


class BucketParams(Section):
    """How the bucket list is made and how images are fitted."""

    max_area_px: Annotated[int, Field(ge=64)]
    """Largest width times height of a bucket; SDXL 1048576 (1024²)."""
    resolutions: Annotated[tuple[Annotated[int, Field(ge=64)], ...], Field(min_length=2)] | None
    """null: every image has one canvas, of max_area_px. A rising list of areas that ends with
    max_area_px: each image goes to the lowest, and to each higher one that it fills unenlarged."""
    step_px: Annotated[int, Field(ge=VAE_FACTOR, multiple_of=VAE_FACTOR)]
    """Sides are multiples of this; SDXL 64."""
    min_side_px: Annotated[int, Field(ge=VAE_FACTOR)]
    """Shortest bucket side; SDXL 512."""
    max_side_px: Annotated[int, Field(ge=VAE_FACTOR)]
    """Longest bucket side; SDXL 2048."""
    max_aspect_ratio: Annotated[float, Field(ge=1)]
    """Longest over shortest side of a bucket."""
    max_buckets: Annotated[int, Field(ge=1)] | None
    """Choose this many sizes of the grid, those that crop least; null takes its usual list."""
    sizes: Literal["sdxl"] | Annotated[tuple[Size, ...], Field(min_length=1)] | None
    """A fixed list of [width, height] in place of the grid's; `sdxl` is the 40 of SDXL."""
    max_log_aspect_error: Annotated[float, Field(gt=0)]
    """|ln AR(image) - ln AR(bucket)| above this: excluded with a reason. ln 1.5 is 0.405."""
    min_images: Annotated[int, Field(ge=1)]
    """Buckets with fewer training images merge into the nearest other one if all images fit it."""
    upscale: Literal["allow", "exclude"]
    """What to do with images smaller than their bucket."""
    crop: Literal["centre", "random", "upper_third"]
    """Where the crop window lies on the axis that is cut."""
    seed: int
    """Seed of `crop: random`."""

    @model_validator(mode="after")
    def _sides_fit(self) -> BucketParams:
        if self.min_side_px > self.max_side_px:
            msg = "min_side_px must not exceed max_side_px"
            raise ValueError(msg)
        for name in ("min_side_px", "max_side_px"):
            if getattr(self, name) % self.step_px:
                msg = f"{name} must be a multiple of step_px ({self.step_px})"
                raise ValueError(msg)
        self._check_resolutions()
        if self.min_side_px**2 > self.max_area_px:
            msg = "a square of min_side_px is larger than max_area_px, so no bucket fits"
            raise ValueError(msg)
        if isinstance(self.sizes, tuple):
            ratios = [width / height for width, height in self.sizes]
            if len(set(ratios)) < len(ratios):
                msg = "sizes must not repeat an aspect ratio, or images could go to either of two"
                raise ValueError(msg)
        return self

    def _check_resolutions(self) -> None:
        areas = self.resolutions
        if areas is None:
            return
        if areas[-1] != self.max_area_px:
            msg = f"resolutions must end with max_area_px ({self.max_area_px})"
            raise ValueError(msg)
        if any(2 * high < 3 * low for low, high in pairwise(areas)):
            msg = "resolutions must rise, each to 1.5 times the area before or more"
            raise ValueError(msg)
        if self.sizes is not None:
            msg = "resolutions need sizes: null, for each makes a list of its own from the grid"
            raise ValueError(msg)
        if areas[0] < self.step_px**2:
            msg = f"a square of step_px is larger than the resolution {areas[0]}, so no bucket fits"
            raise ValueError(msg)

    def at(self, area_px: int) -> BucketParams:
        """The parameters of one resolution alone: sides shrink as the square root of the area.

        Args:
            area_px: One of `resolutions`; at the lowest, small images are treated as `upscale`
                says, at the others they are left out.
        """
        scale = math.sqrt(area_px / self.max_area_px)
        is_lowest = self.resolutions is None or area_px == self.resolutions[0]
        step = self.step_px
        return self.model_copy(
            update={
                "max_area_px": area_px,
                "min_side_px": max(math.floor(self.min_side_px * scale / step), 1) * step,
                "max_side_px": math.ceil(self.max_side_px * scale / step) * step,
                "resolutions": None,
                "upscale": self.upscale if is_lowest else "exclude",
            }
        )
