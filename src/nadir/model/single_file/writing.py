"""A checkpoint as one `.safetensors` file that ComfyUI, A1111 and reForge open rightly.

They know v-prediction and zero terminal SNR by the mere presence of top-level tensors named
`v_pred` and `ztsnr`, and multiply latents by SDXL's 0.13025 whatever the model was trained with.
So the markers are written, and any other latent scaling is folded into the VAE's two 1x1
convolutions, which makes the fixed factor exact.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from nadir.ground.errors import NadirError
from nadir.model.checkpoint.folder_checks import require_plain
from nadir.model.checkpoint.folding import fold_scaling
from nadir.model.checkpoint.info import folder_info
from nadir.model.checkpoint.scheduler import STOCK_NOISE
from nadir.model.sdxl import ldm_layout
from nadir.model.sdxl.autoencoder import DTYPES
from nadir.model.sdxl.hashing import unet_hash
from nadir.model.sdxl.networks import CLIP_VOCABULARY, load_text, load_unet, load_vae
from nadir.model.sdxl.scaling import LatentScaling
from nadir.model.sdxl.tokenizer_json import tokenizer_to_json
from nadir.model.single_file.marks import METADATA_KEY, noise_markers
from nadir.model.single_file.modelspec import Words, modelspec_entries, other_sizes
from nadir.model.single_file.safetensors_writer import write_safetensors
from nadir.model.single_file.scaled_fp8 import scaled_linear_layers

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import AutoencoderKL, UNet2DConditionModel

    from nadir.model.checkpoint.info import CheckpointInfo
    from nadir.model.sdxl.ldm_layout import Tensors
    from nadir.model.sdxl.text import TextEncoder

FP8 = "fp8"
"""The precision in which the U-Net's linear layers have 8 bits and a scale, the rest fp16."""


def export_single_file(
    folder: Path,
    file: Path,
    *,
    precision: str = "fp16",
    date: str | None = None,
    words: Words | None = None,
) -> str | None:
    """Write a checkpoint as a single file in the LDM layout.

    Besides the weights and the file's own bytes no more than the VAE is held in memory: each part
    is read in the precision that is written.

    Args:
        folder: A checkpoint, or any SDXL in diffusers' layout.
        file: The `.safetensors` file to write.
        precision: `fp32`, `fp16` or `bf16`, of all weights; or `fp8`: float8_e4m3fn with a scale
            for each of the U-Net's linear layers, which only ComfyUI and Nadir read, the rest fp16.
        date: ISO 8601, for the metadata; None leaves it out, so that equal models give equal
            bytes on any day.
        words: What its maker says of it, in the metadata.

    Returns:
        The first size that is not SDXL's, in words, for which other programs will not open the
        file; None when all are.

    Raises:
        NadirError: The noise process is not SDXL's own and has no marker that other programs
            know, or a weight is NaN or does not fit the precision.
    """
    info = folder_info(folder)
    _require_sayable(info.noise, str(folder))
    require_plain(folder)
    dtype = DTYPES["fp16" if precision == FP8 else precision]
    unet, vae = load_unet(folder, dtype=dtype), load_vae(folder)
    text = load_text(folder, dtype=dtype)
    # Not the training's: a published VAE has that folded in already.
    fold_scaling(vae, LatentScaling.from_vae_config(vae.config))
    tensors = _tensors(unet, vae, text)
    cast = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    _require_finite(cast, precision, str(folder))
    if precision == FP8:
        cast = scaled_linear_layers(cast)
    # Tensors of no elements: only their names are looked at.
    cast |= {name: torch.zeros(0) for name in noise_markers(info.noise)}
    configs = {"unet": unet.config, "vae": vae.config} | _text_configs(text)
    mark = str(info.training.get("fingerprint") or unet_hash(unet))
    said = words or Words()
    metadata = _metadata(info, configs, text, mark, replace(said, date=date or said.date))
    write_safetensors(file, cast, metadata, hash_key="modelspec.hash_sha256")
    return other_sizes({name: _plain(config) for name, config in configs.items()})


def _require_sayable(noise: dict[str, Any], where: str) -> None:
    what = _unsayable(noise)
    if what:
        raise NadirError(
            f"single files cannot say that a model uses {what}, so other programs would sample "
            "it wrongly",
            where=where,
            fix="use the checkpoint folder with diffusers, or train with noise.prediction: v, "
            "noise.sigma_shift: 1.0 and SDXL's betas",
        )


def _tensors(unet: UNet2DConditionModel, vae: AutoencoderKL, text: TextEncoder) -> Tensors:
    """All weights by their names in the LDM layout."""
    unet_state = unet.state_dict()
    names = ldm_layout.unet_names(unet_state, unet.config)
    tensors = {names[name]: tensor for name, tensor in unet_state.items()}
    tensors |= ldm_layout.vae_to_ldm(vae.state_dict(), vae.config)
    state = text.text_encoder.state_dict()
    tensors |= {ldm_layout.TEXT_PREFIX + name: tensor for name, tensor in state.items()}
    return tensors | ldm_layout.text_2_to_ldm(text.text_encoder_2.state_dict())


def _require_finite(tensors: Tensors, precision: str, where: str) -> None:
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise NadirError(
                f"the weight {name} holds NaN or infinity in {precision}",
                where=where,
                fix="export an earlier model"
                if precision == "fp32"
                else "use --precision fp32; if that says the same, export an earlier model",
            )


def _unsayable(noise: dict[str, Any]) -> str | None:
    """What no marker says, and other programs would take for SDXL's own."""
    if noise["prediction"] == "x0":
        return "x0-prediction"
    if noise["sigma_shift"] != 1.0:
        return "a shifted sigma schedule"
    for name in ("beta_schedule", "beta_start", "beta_end", "timesteps"):
        if noise[name] != STOCK_NOISE[name]:
            return f"{name} {noise[name]}, which is {STOCK_NOISE[name]} in SDXL"
    return None


def _text_configs(text: TextEncoder) -> dict[str, Any]:
    return {
        "text_encoder": text.text_encoder.config.to_dict(),
        "text_encoder_2": text.text_encoder_2.config.to_dict(),
    }


def _metadata(
    info: CheckpointInfo, configs: dict[str, Any], text: TextEncoder, mark: str, words: Words
) -> dict[str, str]:
    """Modelspec's entries, and what Nadir needs besides the tensors."""
    plain = {name: _plain(config) for name, config in configs.items()}
    own: dict[str, Any] = {
        "noise": info.noise,
        "schedule": info.schedule.fingerprint,
        # How the model was trained to be asked, which no tensor says.
        "training": info.training,
        "configs": plain,
    }
    if len(text.tokenizer) != CLIP_VOCABULARY:
        # Not CLIP's own vocabulary, so the file must bring it.
        own["tokenizers"] = [tokenizer_to_json(t) for t in (text.tokenizer, text.tokenizer_2)]
    entries = modelspec_entries(info, plain, mark=mark, words=words)
    return {"format": "pt", **entries, METADATA_KEY: json.dumps(own, sort_keys=True)}


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Configuration values that JSON can hold, without notes on where and how it was loaded."""
    return {
        k: v
        for k, v in config.items()
        if not k.startswith("_") and isinstance(v, str | int | float | bool | list | tuple | None)
    }
