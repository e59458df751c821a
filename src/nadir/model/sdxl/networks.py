"""SDXL's parts: the real model's sizes, and loading from a diffusers folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from nadir.diffusion.sdxl import MAX_TOKENS, SCALING_FACTOR, SIDE_PX
from nadir.ground.errors import NadirError
from nadir.model.sdxl.progress_bars import hide_progress_bars
from nadir.model.sdxl.text import TextEncoder

if TYPE_CHECKING:
    from pathlib import Path

UNET_PARAMETERS = 2_567_463_684
LATENT_CHANNELS = 4
CLIP_VOCABULARY = 49_408


def sdxl_configs() -> dict[str, dict[str, Any]]:
    """Configurations of SDXL base 1.0: `unet`, `vae`, `text_encoder`, `text_encoder_2`.

    Keywords of UNet2DConditionModel, AutoencoderKL and CLIPTextConfig; what is not named has the
    classes' default.
    """
    return {
        "unet": _unet_config(),
        "vae": _vae_config(),
        "text_encoder": _text_config(
            hidden_size=768, layers=12, heads=12, projection=768, act="quick_gelu", pad=1
        ),
        "text_encoder_2": _text_config(
            hidden_size=1280, layers=32, heads=20, projection=1280, act="gelu", pad=1
        ),
    }


def _unet_config() -> dict[str, Any]:
    return {
        "sample_size": 128,
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "block_out_channels": [320, 640, 1280],
        "layers_per_block": 2,
        "transformer_layers_per_block": [1, 2, 10],
        # Despite its name, the number of heads: 64 channels each.
        "attention_head_dim": [5, 10, 20],
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        # Six time ids of 256 and the pooled vector of 1280.
        "projection_class_embeddings_input_dim": 2816,
    }


def _vae_config() -> dict[str, Any]:
    return {
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
        "latent_channels": LATENT_CHANNELS,
        "sample_size": SIDE_PX,
        "scaling_factor": SCALING_FACTOR,
        "force_upcast": True,
    }


def _text_config(
    *, hidden_size: int, layers: int, heads: int, projection: int, act: str, pad: int
) -> dict[str, Any]:
    return {
        "vocab_size": CLIP_VOCABULARY,
        "hidden_size": hidden_size,
        "intermediate_size": 4 * hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": MAX_TOKENS,
        "projection_dim": projection,
        "hidden_act": act,
        "bos_token_id": 0,
        # 2 is CLIP's historical value; it makes transformers pool at the highest token id.
        "eos_token_id": 2,
        "pad_token_id": pad,
    }


def load_unet(folder: Path, *, dtype: torch.dtype = torch.float32) -> UNet2DConditionModel:
    """The U-Net of a diffusers folder, on the CPU.

    Raises:
        NadirError: No U-Net there, or not a whole one.
    """
    return _whole(UNet2DConditionModel, folder, "unet", dtype)


def load_vae(folder: Path, *, dtype: torch.dtype = torch.float32) -> AutoencoderKL:
    """The VAE of a diffusers folder, on the CPU, ready to use and frozen.

    Raises:
        NadirError: No VAE there, or not a whole one.
    """
    vae = _whole(AutoencoderKL, folder, "vae", dtype)
    return vae.eval().requires_grad_(requires_grad=False)


def load_text(folder: Path, *, dtype: torch.dtype = torch.float32) -> TextEncoder:
    """Both tokenizers and text encoders of a diffusers folder, on the CPU, frozen.

    Raises:
        NadirError: A part, or a weight of one, is missing.
    """
    hide_progress_bars()
    for part in ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2"):
        _check(folder, part)
    first = _whole(CLIPTextModel, folder, "text_encoder", dtype)
    second = _whole(CLIPTextModelWithProjection, folder, "text_encoder_2", dtype)
    return TextEncoder(
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        tokenizer_2=CLIPTokenizer.from_pretrained(folder / "tokenizer_2"),
        text_encoder=first.eval().requires_grad_(requires_grad=False),
        text_encoder_2=second.eval().requires_grad_(requires_grad=False),
    )


def _whole(kind: Any, folder: Path, part: str, dtype: torch.dtype) -> Any:
    """A part with all its weights; the libraries would make up what is missing."""
    _check(folder, part)
    model, info = kind.from_pretrained(
        folder / part,
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
    )
    missing = sorted(info["missing_keys"])
    if missing:
        raise NadirError(
            f"the model's {part} lacks {missing[0]} ({len(missing)} weights in all)",
            where=str(folder),
            fix="rebuild it (`dvc repro base_model` for the base), or get the whole model",
        )
    return model


def _check(folder: Path, part: str) -> None:
    if not (folder / part).is_dir():
        raise NadirError(
            f"the model has no `{part}` folder",
            where=str(folder),
            fix="rebuild it (`dvc repro base_model` for the base), or name a whole SDXL folder",
        )
