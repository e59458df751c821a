"""The VAE's decoder alone: a file of weights, and a VAE that gets them.

The stage `decoder` writes it. Latents are the encoder's, so they stay what they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from nadir.ground.errors import NadirError
from nadir.model.checkpoint.decoder_file import WEIGHTS
from nadir.model.sdxl.hashing import ENCODER_PREFIXES

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import AutoencoderKL


def decoder_parameters(vae: AutoencoderKL) -> dict[str, torch.nn.Parameter]:
    """All weights of a VAE that make no latent: `decoder` and `post_quant_conv`, by name."""
    return {n: w for n, w in vae.named_parameters() if not n.startswith(ENCODER_PREFIXES)}


def write_decoder(vae: AutoencoderKL, folder: Path, dtype: torch.dtype) -> None:
    """Write a VAE's decoder into a folder that exists."""
    state = {
        name: weight.detach().to("cpu", dtype).contiguous()
        for name, weight in decoder_parameters(vae).items()
    }
    save_file(state, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)


@torch.no_grad()
def put_decoder(vae: AutoencoderKL, file: Path | None) -> None:
    """Give a VAE another decoder, before any scaling is folded into it.

    Args:
        vae: The base's.
        file: From `decoder_file.tuned_decoder`; None leaves the VAE as it is.

    Raises:
        NadirError: It is the decoder of another VAE.
    """
    if file is None:
        return
    own, new = decoder_parameters(vae), load_file(file)
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in (own, new)]
    if shapes[0] != shapes[1]:
        raise NadirError(
            "the decoder is not one of the base model's VAE",
            where=str(file),
            fix="`dvc repro decoder` trains it anew",
        )
    for name, weight in own.items():
        weight.copy_(new[name])
