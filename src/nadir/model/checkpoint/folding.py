"""Latent scaling that is part of the VAE, so that SDXL's own 0.13025 is right for every program.

diffusers knows a mean and a std for each latent channel (`latents_mean`, `latents_std`), but not
everywhere: its text-to-image pipeline decodes with them, its inpainting pipelines encode without
them, and programs that read single files know neither them nor another factor. Folded into the two
1x1 convolutions beside the latents, the scaling is done by the code that encodes or decodes.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open

from nadir.diffusion.sdxl import SCALING_FACTOR
from nadir.ground.files import file_hash, link_tree, read_json, write_json
from nadir.model.checkpoint.decoder_weights import put_decoder
from nadir.model.checkpoint.folder_files import ONE_FILE, edit_json, make_readable
from nadir.model.checkpoint.info import NADIR_FILE
from nadir.model.sdxl.networks import load_vae
from nadir.model.sdxl.scaling import LatentScaling

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import AutoencoderKL

STOCK_SCALING = LatentScaling(kind="sdxl", scaling_factor=SCALING_FACTOR)
_CONV = "quant_conv.bias"


def write_vae(
    source: Path, target: Path, scaling: LatentScaling, decoder: Path | None = None
) -> None:
    """Write the VAE that turns the U-Net's latents into pictures by SDXL's own factor.

    Args:
        source: The `vae` folder of the base, whose latents the U-Net was trained on.
        target: A folder that does not exist yet; hard links where nothing has to be folded.
        scaling: What turned those latents into the U-Net's input.
        decoder: Weights of a fine-tuned decoder, see `decoder_weights`; None keeps the base's.

    Raises:
        NadirError: The decoder is another VAE's.
    """
    if scaling == STOCK_SCALING and decoder is None:
        link_tree(source, target)
    else:
        vae = load_vae(source.parent, dtype=stored_precision(source))
        put_decoder(vae, decoder)
        fold_scaling(vae, scaling)
        vae.save_pretrained(target, safe_serialization=True, max_shard_size=ONE_FILE)
        make_readable(target)
    edit_json(target / "config.json", STOCK_SCALING.vae_config())


def publish_decoder(checkpoint: Path, base: Path, decoder: Path | None) -> None:
    """Give a checkpoint that was just written a fine-tuned decoder.

    Args:
        checkpoint: Its folder; files in it may be hard links, which are replaced.
        base: The base model's folder, whose VAE it has.
        decoder: From `decoder_file.tuned_decoder`; None leaves the checkpoint as it is.

    Raises:
        NadirError: The decoder is another VAE's.
    """
    if decoder is None:
        return
    facts = read_json(checkpoint / NADIR_FILE)
    shutil.rmtree(checkpoint / "vae")
    scaling = LatentScaling.from_dict(facts["latent_scaling"])
    write_vae(base / "vae", checkpoint / "vae", scaling, decoder)
    write_json(checkpoint / NADIR_FILE, facts | {"decoder": file_hash(decoder)})


def stored_precision(folder: Path) -> torch.dtype:
    """What the convolutions in a folder `vae` are stored in."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as opened:
            if _CONV in set(opened.keys()):
                dtype: torch.dtype = opened.get_tensor(_CONV).dtype
                return dtype
    return torch.float32


def fold_scaling(vae: AutoencoderKL, scaling: LatentScaling) -> None:
    """Change a VAE in place so that the fixed factor 0.13025 does what `scaling` does.

    With z = (x - mean) / std the U-Net's latents of raw ones x, a program that decodes
    u = z / 0.13025 needs x = (0.13025 std) u + mean inside `post_quant_conv`; one that encodes
    expects z = 0.13025 u back. The log variances move with the scale. Done in float64.

    Args:
        vae: A diffusers AutoencoderKL.
        scaling: What the U-Net was trained with.
    """
    if scaling == STOCK_SCALING:
        return
    channels = vae.post_quant_conv.weight.shape[0]
    if scaling.kind == "sdxl":
        mean = torch.zeros(channels, dtype=torch.float64)
        std = torch.full((channels,), 1.0 / scaling.scaling_factor, dtype=torch.float64)
    else:
        mean = torch.tensor(scaling.mean, dtype=torch.float64)
        std = torch.tensor(scaling.std, dtype=torch.float64)
    unit = SCALING_FACTOR * std
    with torch.no_grad():
        _fold_decoder(vae.post_quant_conv, mean, unit)
        _fold_encoder(vae.quant_conv, mean, unit)


def _fold_decoder(conv: Any, mean: torch.Tensor, unit: torch.Tensor) -> None:
    weight = conv.weight.double()[:, :, 0, 0]
    conv.bias.copy_(conv.bias.double() + weight @ mean)
    conv.weight.copy_((weight * unit)[:, :, None, None])


def _fold_encoder(conv: Any, mean: torch.Tensor, unit: torch.Tensor) -> None:
    channels = len(mean)
    weight, bias = conv.weight.double(), conv.bias.double()
    weight[:channels] /= unit[:, None, None, None]
    bias[:channels] = (bias[:channels] - mean) / unit
    bias[channels:] -= 2.0 * unit.log()
    conv.weight.copy_(weight)
    conv.bias.copy_(bias)
