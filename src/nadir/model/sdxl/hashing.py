"""Content hashes of weights: equal tensors give equal hashes, however they are stored."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

# What decides an image's latent; the decoder may be fine-tuned without making latents stale.
ENCODER_PREFIXES = ("encoder.", "quant_conv.")


def tensors_hash(tensors: Mapping[str, torch.Tensor]) -> str:
    """sha256 over names, dtypes, shapes and bytes, in the order of the names.

    Args:
        tensors: A state dict on any device.

    Returns:
        64 hex digits.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to("cpu").contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def unet_hash(unet: torch.nn.Module) -> str:
    """Hash of all weights of a U-Net."""
    return tensors_hash(unet.state_dict())


def encoder_hash(vae: torch.nn.Module) -> str:
    """Hash of the VAE weights that make latents: `encoder` and `quant_conv`."""
    state = vae.state_dict()
    return tensors_hash({k: v for k, v in state.items() if k.startswith(ENCODER_PREFIXES)})
