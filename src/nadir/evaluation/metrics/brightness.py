"""Brightness against what the prompt asks for: the test of zero terminal SNR (paper §2.2).

A model that never saw pure noise cannot leave middle grey: asked for "completely black" it draws a
dark grey picture with something bright in it. The mean luminance shows it from a few images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Region = Literal["whole", "border"]

# Rec. 709 weights on gamma-encoded values, as in the manifest.
_REC709 = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
_BORDER_SHARE = 8


def luminance(images_NCHW: NDArray[np.float32]) -> NDArray[np.float32]:
    """Luminance [N, H, W] (0-1) of RGB images in 0-1."""
    weighted: NDArray[np.float32] = np.einsum("nchw,c->nhw", images_NCHW, _REC709)
    return weighted


def border_mask(height: int, width: int) -> NDArray[np.bool_]:
    """Where the background shows: an eighth of the shorter side along the top and upper sides.

    The lower half is left out, because a figure that is cut by the frame is cut there.
    """
    thickness = max(1, round(min(height, width) / _BORDER_SHARE))
    mask = np.zeros((height, width), dtype=np.bool_)
    mask[:thickness] = True
    mask[: height // 2, :thickness] = True
    mask[: height // 2, -thickness:] = True
    return mask


def region_luminance(images_NCHW: NDArray[np.float32], region: Region) -> NDArray[np.float64]:
    """Mean luminance [N] (0-1) of the whole image or of its border."""
    values_NHW = luminance(images_NCHW).astype(np.float64)
    mask = np.ones(values_NHW.shape[1:], dtype=np.bool_)
    if region == "border":
        mask = border_mask(*values_NHW.shape[1:])
    means: NDArray[np.float64] = values_NHW[:, mask].mean(axis=1)
    return means


def brightness_error(measured: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """Root mean square of measured minus target luminance."""
    return float(np.sqrt(np.mean((measured - target) ** 2)))
