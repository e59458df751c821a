"""Faults that pixels hide: a black picture may be right, a NaN never is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Health:
    """Counts over all images, taken before any conversion to 8 bits."""

    images: int
    nonfinite: int


def health(flags: Sequence[tuple[bool, bool]]) -> Health:
    """Count images and faults from each image's (latents_finite, pixels_finite)."""
    return Health(
        images=len(flags),
        nonfinite=sum(not (latents and pixels) for latents, pixels in flags),
    )
