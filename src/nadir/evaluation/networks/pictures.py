"""Pictures in the sizes and forms that networks were trained with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


def resized(images_NCHW: NDArray[np.float32], side: int) -> torch.Tensor:
    """Whole pictures as squares [N, 3, side, side] in 0-1: bicubic with antialiasing.

    Sides are scaled each by itself and nothing is cropped.
    """
    import torch
    from torch.nn.functional import interpolate

    pixels = torch.from_numpy(np.ascontiguousarray(images_NCHW))
    return interpolate(pixels, size=(side, side), mode="bicubic", antialias=True).clamp(0, 1)


def squared(images_NCHW: NDArray[np.float32], side: int, *, fill: float) -> torch.Tensor:
    """Pictures in the middle of squares of one colour, then resized [N, 3, side, side].

    Args:
        images_NCHW: RGB in 0-1.
        side: Of the squares, in pixels.
        fill: Of the bars (0 black, 1 white).
    """
    import torch
    from torch.nn.functional import pad

    height, width = images_NCHW.shape[2:]
    more = max(height, width) - np.array([height, width])
    top, left = (more // 2).tolist()
    bars = (left, int(more[1]) - left, top, int(more[0]) - top)
    whole = pad(torch.from_numpy(np.ascontiguousarray(images_NCHW)), bars, value=fill)
    return resized(whole.numpy(), side)


def normalised(
    pixels_NCHW: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]
) -> torch.Tensor:
    """Pixels in the units of a network: (value - mean) / std of each channel."""
    import torch

    shape = (1, 3, 1, 1)
    return (pixels_NCHW - torch.tensor(mean).reshape(shape)) / torch.tensor(std).reshape(shape)


CLIP_MEAN, CLIP_STD = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
"""Of the pictures that CLIP was trained with; CCIP has the same."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, which DINOv2 uses."""
DINOV2_SIDE = 224
"""Side in pixels of what DINOv2 is shown."""
