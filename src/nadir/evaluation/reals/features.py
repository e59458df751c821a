"""Pinned features: two layers of random filters, the same numbers on every machine and day.

Random filters are an honest alarm bell and no judge of quality: they see that two sets of pictures
differ in colour, contrast and layout, as features of a trained network do, and need no download.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d, conv2d, interpolate, relu

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 1
"""Raise when a feature changes."""
_SEED = 20240915
_INPUT_SIDE = 2
"""Thumbnails are enlarged by this, so that strides do not skip cells."""
_FIRST, _SECOND = 48, 64
_COLOUR_GRID = 8
_POOLED = 4


@dataclass(frozen=True)
class Features:
    """Features of N pictures.

    Attributes:
        spread_NF: Mean and standard deviation of each filter over the picture: what there is.
        layout_NF: Colours and filters by place: what is where.
    """

    spread_NF: NDArray[np.float64]
    layout_NF: NDArray[np.float64]


@torch.no_grad()
def features(thumbs_N3SS: NDArray[np.float32]) -> Features:
    """Features of thumbnails, which `colours.thumbnails` makes."""
    first, second = _filters()
    small = torch.from_numpy(thumbs_N3SS)
    large = interpolate(small, scale_factor=_INPUT_SIDE, mode="bilinear")
    low = relu(conv2d(large - 0.5, first, stride=2, padding=2))
    high = relu(conv2d(low, second, stride=2, padding=1))
    layout = [
        adaptive_avg_pool2d(small, _COLOUR_GRID),
        adaptive_avg_pool2d(low, _POOLED),
        adaptive_avg_pool2d(high, _POOLED),
    ]
    spread = [high.mean((2, 3)), high.std((2, 3))]
    return Features(
        torch.cat(spread, 1).numpy().astype(np.float64),
        torch.cat([part.flatten(1) for part in layout], 1).numpy().astype(np.float64),
    )


@cache
def _filters() -> tuple[torch.Tensor, torch.Tensor]:
    """Filters of unit norm; a third of the first layer also sees the level, not only edges."""
    # Philox and its normal numbers are pinned by NumPy's promise for bit generators.
    chance = np.random.Generator(np.random.Philox(key=_SEED))
    first = chance.standard_normal((_FIRST, 3, 5, 5))
    second = chance.standard_normal((_SECOND, _FIRST, 3, 3))
    edges = np.arange(_FIRST) % 3 != 0
    first[edges] -= first[edges].mean(axis=(2, 3), keepdims=True)
    second -= second.mean(axis=(1, 2, 3), keepdims=True)
    return _unit(first), _unit(second)


def _unit(filters: NDArray[np.float64]) -> torch.Tensor:
    norms = np.sqrt((filters**2).sum(axis=(1, 2, 3), keepdims=True))
    return torch.from_numpy((filters / norms).astype(np.float32))
