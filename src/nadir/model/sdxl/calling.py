"""The one call of an SDXL U-Net, and the order of its micro-conditioning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    UNet = Callable[
        [torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor
    ]
    """(noisy_BCHW, timesteps_B, hidden_BSD, pooled_BP, time_ids_B6) -> output_BCHW"""

TIME_IDS = (
    "original_height",
    "original_width",
    "crop_top",
    "crop_left",
    "bucket_height",
    "bucket_width",
)
"""Columns of the latents' index in the order in which SDXL takes them (2307.01952 §2.2)."""


def call_unet(
    unet: Any,
    noisy_BCHW: torch.Tensor,
    timesteps_B: torch.Tensor,
    hidden_BSD: torch.Tensor,
    pooled_BP: torch.Tensor,
    time_ids_B6: torch.Tensor,
) -> torch.Tensor:
    """The output [B, C, H, W] of a diffusers U-Net, or of one that is wrapped for training.

    Sizes stay in float32, whatever the network's precision: in bfloat16, 1023 would be 1024.
    """
    output_BCHW: torch.Tensor = unet(
        noisy_BCHW,
        timesteps_B,
        encoder_hidden_states=hidden_BSD,
        added_cond_kwargs={"text_embeds": pooled_BP, "time_ids": time_ids_B6.float()},
        return_dict=False,
    )[0]
    return output_BCHW
