"""How much of JPEG's 8 x 8 grid is to be seen in pictures.

Wang, Sheikh and Bovik (ICIP 2002, "No-reference perceptual quality assessment of JPEG compressed
images") measure two things: B, the mean absolute difference of neighbouring pixels across the
boundaries of 8 x 8 blocks, and A, that of neighbours inside of blocks. Blockiness here is B / A,
pooled over all pictures and both directions: 1 where the grid cannot be told from the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK_PX = 8
"""Side of JPEG's blocks, which begin at the canvas' corner."""


@dataclass
class Blockiness:
    """Sums over the pictures that were added.

    Attributes:
        across: Sum of absolute differences across the grid.
        across_count: How many.
        inside: Sum of the others.
        inside_count: How many.
    """

    across: float = 0.0
    across_count: int = 0
    inside: float = 0.0
    inside_count: int = 0

    def add(self, pixels_BCHW: torch.Tensor) -> None:
        """Count pictures of any range, each at least 9 pixels wide or high."""
        for steps_NL in _steps(pixels_BCHW.detach().double()):
            place = torch.arange(steps_NL.shape[1], device=steps_NL.device)
            is_across = place % BLOCK_PX == BLOCK_PX - 1
            across, inside = steps_NL[:, is_across], steps_NL[:, ~is_across]
            self.across += float(across.sum())
            self.across_count += across.numel()
            self.inside += float(inside.sum())
            self.inside_count += inside.numel()

    @property
    def value(self) -> float:
        """B / A; 1 of flat pictures, infinite where the grid is all that there is."""
        if not self.across_count or not self.across:
            return 1.0 if not self.inside else 0.0
        if not self.inside:
            return float("inf")
        return (self.across / self.across_count) / (self.inside / self.inside_count)


def _steps(pixels_BCHW: torch.Tensor) -> Iterator[torch.Tensor]:
    """Absolute differences of neighbours, [N, L]: N lines of pixels, first rows, then columns."""
    for lines_BCHW in (pixels_BCHW, pixels_BCHW.transpose(-1, -2)):
        yield lines_BCHW.diff(dim=-1).abs().flatten(0, -2)


def blockiness(pixels_BCHW: torch.Tensor) -> float:
    """Of pictures of one size, see the module."""
    found = Blockiness()
    found.add(pixels_BCHW)
    return found.value
