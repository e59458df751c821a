"""Classifier-free guidance and its rescale (Lin et al. 2305.08891 §3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def classifier_free_guidance(uncond_BCHW: Tensor, cond_BCHW: Tensor, cfg_scale: float) -> Tensor:
    """The sum uncond + cfg_scale (cond - uncond): 1 gives `cond`, 0 gives `uncond`.

    Acts on the network's output. v, epsilon and x0 of one noisy input are affine in each other,
    so guiding any of them is guiding all of them.
    """
    return uncond_BCHW + cfg_scale * (cond_BCHW - uncond_BCHW)


def rescale_guidance(guided_BCHW: Tensor, cond_BCHW: Tensor, phi: float) -> Tensor:
    """Pull the standard deviation of the guided output back towards the conditional one's.

    Acts on the network's output, as diffusers' `guidance_rescale` does, so images agree with
    the stock pipeline. A rescaled v is not the v of a rescaled x0 except at SNR 0, where
    x0 = -v; there, in the step that sets the mean colour, the two are the same.

    Args:
        guided_BCHW: Output after guidance.
        cond_BCHW: Conditional output.
        phi: 0 changes nothing, 1 matches the deviation per sample over C, H and W; Lin et al.
            use 0.7.

    Returns:
        phi * guided * std(cond) / std(guided) + (1 - phi) * guided; a constant sample, whose
        deviation is 0, stays as it is.
    """
    axes = tuple(range(1, guided_BCHW.ndim))
    dtype = torch.promote_types(guided_BCHW.dtype, torch.float32)
    guided = guided_BCHW.to(dtype)
    std_guided = guided.std(dim=axes, keepdim=True)
    ratio = cond_BCHW.to(dtype).std(dim=axes, keepdim=True) / std_guided
    ratio = torch.where(std_guided > 0, ratio, 1.0)
    return (guided * (phi * ratio + (1 - phi))).to(guided_BCHW.dtype)
