"""A single-file SDXL checkpoint as a diffusers folder, without a network where that is possible.

Sizes come from the file's own `nadir` metadata, else they are SDXL base 1.0's. Prediction and
schedule come from the metadata, else from the `v_pred` and `ztsnr` markers. CLIP's vocabulary is in
no single file: it is taken from `tokenizer` and `tokenizer_2` folders beside the file, else from
the hub's cache, else from the hub.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors import SafetensorError, safe_open
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from nadir.ground.errors import NadirError
from nadir.model import ldm_layout
from nadir.model.folders import make_readable
from nadir.model.hub import snapshot
from nadir.model.info import CheckpointInfo, check_schedule
from nadir.model.portable import make_portable
from nadir.model.quiet import hide_progress_bars
from nadir.model.scaling import LatentScaling
from nadir.model.scheduler import stock_scheduler
from nadir.model.sdxl import SCALING_FACTOR, sdxl_configs
from nadir.model.single_file import METADATA_KEY, STOCK_NOISE, V_MARKER, ZERO_SNR_MARKER
from nadir.model.tokenizer import MAX_LENGTH, tokenizer_from_json

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

    from nadir.model.ldm_layout import Tensors

# SDXL base 1.0, of which only the tokenizers are fetched.
_TOKENIZER_SOURCE = "stabilityai/stable-diffusion-xl-base-1.0"
_TOKENIZER_COMMIT = "462165984030d82259a11f4367a4eed129e94a7b"
_TOKENIZERS = ("tokenizer", "tokenizer_2")


def import_single_file(file: Path, folder: Path) -> None:
    """Write a single-file SDXL as a diffusers folder.

    Args:
        file: A `.safetensors` file in the LDM layout.
        folder: Where to write; made if missing.

    Raises:
        NadirError: It is no safetensors file, no SDXL, or its tokenizers cannot be had.
    """
    hide_progress_bars()
    load_single_file(file).save_pretrained(folder, safe_serialization=True)
    make_portable(folder)
    make_readable(folder)


def load_single_file(file: Path) -> StableDiffusionXLPipeline:
    """A single-file SDXL as a pipeline whose scheduler says what the file's markers say.

    Raises:
        NadirError: It is no safetensors file, no SDXL, or its tokenizers cannot be had.
    """
    tensors, own = _read(file)
    configs = own.get("configs") or sdxl_configs()
    try:
        unet, vae = _unet(tensors, configs["unet"]), _vae(tensors, configs["vae"])
        first = _first_text(tensors, configs["text_encoder"])
        second = _second_text(tensors, configs["text_encoder_2"])
    except (KeyError, RuntimeError) as error:
        raise NadirError(
            f"the file is no SDXL checkpoint ({str(error).splitlines()[0][:200]})",
            where=str(file),
            fix="name a whole SDXL in one .safetensors file, not a LoRA, VAE or other model",
        ) from error
    tokenizers = _tokenizers(file, own)
    return StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=first,
        text_encoder_2=second,
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=unet,
        scheduler=stock_scheduler(_noise(file, own, tensors)),
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    )


def single_file_info(file: Path) -> CheckpointInfo:
    """What a single file says about how it must be sampled; reads its header only.

    Raises:
        NadirError: It is no safetensors file.
    """
    with _opened(file) as opened:
        own, names = _own(opened), set(opened.keys())
    return CheckpointInfo(
        noise=_noise(file, own, names),
        latent_scaling=LatentScaling(kind="sdxl", scaling_factor=SCALING_FACTOR),
        training={},
    )


def _read(file: Path) -> tuple[Tensors, dict[str, Any]]:
    with _opened(file) as opened:
        names = opened.keys()
        return {name: opened.get_tensor(name) for name in names}, _own(opened)


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise NadirError(
            f"not a readable safetensors file ({error})",
            where=str(file),
            fix="download it again; pickles (.ckpt) are never read",
        ) from error


def _own(opened: Any) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((opened.metadata() or {}).get(METADATA_KEY, "{}"))
    return value


def _noise(file: Path, own: dict[str, Any], names: Container[str]) -> dict[str, Any]:
    """The file's own noise settings, whose schedule is checked; else what its markers say."""
    if "noise" not in own:
        return _marked_noise(names)
    noise: dict[str, Any] = own["noise"]
    check_schedule(noise, own.get("schedule"), where=str(file))
    return noise


def _marked_noise(names: Container[str]) -> dict[str, Any]:
    if V_MARKER not in names:
        return STOCK_NOISE
    return STOCK_NOISE | {"prediction": "v", "zero_terminal_snr": ZERO_SNR_MARKER in names}


def _fill(model: torch.nn.Module, state: Tensors) -> Any:
    """Put tensors into a model made on the meta device, keeping their precision."""
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval().requires_grad_(requires_grad=False)


def _unet(tensors: Tensors, config: dict[str, Any]) -> UNet2DConditionModel:
    with torch.device("meta"):
        model = UNet2DConditionModel.from_config(config)
    names = ldm_layout.unet_names(model.state_dict(), model.config)
    return _fill(model, {name: tensors[theirs] for name, theirs in names.items()})


def _vae(tensors: Tensors, config: dict[str, Any]) -> AutoencoderKL:
    # Whatever the model was trained with is folded into the VAE; 0.13025 is the layout's rule.
    plain = {"scaling_factor": SCALING_FACTOR, "latents_mean": None, "latents_std": None}
    with torch.device("meta"):
        model = AutoencoderKL.from_config(config | plain)
    wanted = model.state_dict()
    names = ldm_layout.vae_names(wanted, model.config)
    state = {name: tensors[names[name]].reshape(wanted[name].shape) for name in wanted}
    return _fill(model, state)


def _first_text(tensors: Tensors, config: dict[str, Any]) -> CLIPTextModel:
    with torch.device("meta"):
        model = CLIPTextModel(CLIPTextConfig(**config))
    names = model.state_dict()
    model = _fill(model, {name: tensors[ldm_layout.TEXT_PREFIX + name] for name in names})
    return _with_positions(model, model)


def _second_text(tensors: Tensors, config: dict[str, Any]) -> CLIPTextModelWithProjection:
    with torch.device("meta"):
        model = CLIPTextModelWithProjection(CLIPTextConfig(**config))
    model = _fill(model, ldm_layout.text_2_from_ldm(tensors, model.state_dict()))
    return _with_positions(model, model.text_model)


def _with_positions(model: Any, body: Any) -> Any:
    """Make the position counter, which is no weight and so was left on the meta device."""
    count = body.config.max_position_embeddings
    body.embeddings.position_ids = torch.arange(count).expand((1, -1))
    return model


def _tokenizers(file: Path, own: dict[str, Any]) -> list[CLIPTokenizer]:
    if "tokenizers" in own:
        return [tokenizer_from_json(value) for value in own["tokenizers"]]
    folder = file.parent
    if not all((folder / name).is_dir() for name in _TOKENIZERS):
        patterns = [f"{name}/*" for name in _TOKENIZERS]
        try:
            folder = snapshot(_TOKENIZER_SOURCE, _TOKENIZER_COMMIT, patterns)
        except NadirError as error:
            raise NadirError(
                "a single file holds no tokenizers, and SDXL's cannot be downloaded",
                where=str(file),
                fix=f"put the folders tokenizer and tokenizer_2 of {_TOKENIZER_SOURCE} beside "
                "the file, or use a diffusers folder",
            ) from error
    return [
        CLIPTokenizer.from_pretrained(folder / name, model_max_length=MAX_LENGTH)
        for name in _TOKENIZERS
    ]
