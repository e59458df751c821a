"""A single-file SDXL checkpoint as a diffusers folder, without a network where that is possible.

Sizes come from the file's own `nadir` metadata, else they are SDXL base 1.0's. What is said of the
noise process is read by `single_file_noise`. CLIP's vocabulary is in no single file: it is taken
from `tokenizer` and `tokenizer_2` folders beside the file, else from the hub's cache, else from the
hub.
"""

from __future__ import annotations

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

from nadir.diffusion.sdxl import MAX_TOKENS, SCALING_FACTOR
from nadir.ground.errors import NadirError
from nadir.model.base.hub import snapshot
from nadir.model.checkpoint.folder_files import TOKENIZERS, make_readable
from nadir.model.checkpoint.info import CheckpointInfo
from nadir.model.checkpoint.portable import make_portable
from nadir.model.checkpoint.scheduler import stock_scheduler
from nadir.model.recognition.kind import require_sdxl
from nadir.model.recognition.weights import Weights
from nadir.model.sdxl import ldm_layout
from nadir.model.sdxl.networks import sdxl_configs
from nadir.model.sdxl.progress_bars import hide_progress_bars
from nadir.model.sdxl.scaling import LatentScaling
from nadir.model.sdxl.tokenizer_json import tokenizer_from_json
from nadir.model.single_file.noise import own_metadata, single_file_noise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nadir.model.sdxl.ldm_layout import Tensors

# SDXL base 1.0, of which only the tokenizers are fetched.
_TOKENIZER_SOURCE = "stabilityai/stable-diffusion-xl-base-1.0"
_TOKENIZER_COMMIT = "462165984030d82259a11f4367a4eed129e94a7b"
_DISGUISES = {
    b"GGUF": "it is GGUF, whose weights are quantised",
    b"PK": "it is a pickle of torch, or another zip archive",
    b"\x80": "it is a pickle",
    b"version https": "it is the pointer of Git LFS, not the file itself",
    b"<": "it is a web page, such as an error or a login",
}


def import_single_file(file: Path, folder: Path) -> None:
    """Write a single-file SDXL as a diffusers folder.

    Args:
        file: A `.safetensors` file in the LDM layout.
        folder: Where to write; made if missing.

    Raises:
        NadirError: It is not a safetensors file, no SDXL, or its tokenizers cannot be had.
    """
    hide_progress_bars()
    load_single_file(file).save_pretrained(folder, safe_serialization=True)
    make_portable(folder)
    make_readable(folder)


def load_single_file(file: Path) -> StableDiffusionXLPipeline:
    """A single-file SDXL as a pipeline whose scheduler says what the file's markers say.

    Raises:
        NadirError: It is not a safetensors file, no SDXL, one whose weights are broken or quantised
            in a way that is not read, of a foreign noise process, or its tokenizers cannot be had.
    """
    with _opened(file) as opened:
        own, weights = own_metadata(file, opened.metadata() or {}), Weights(file, opened)
        configs = _configs(file, own, weights.shapes)
        noise = single_file_noise(file, opened)
        parts = _parts(file, weights, configs)
    tokenizers = _tokenizers(file, own)
    return StableDiffusionXLPipeline(
        **parts,
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        scheduler=stock_scheduler(noise),
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    )


def single_file_info(file: Path) -> CheckpointInfo:
    """What a single file says about how it must be sampled and asked; reads little but its header.

    Raises:
        NadirError: It is not a safetensors file, not SDXL, or of a foreign noise process.
    """
    with _opened(file) as opened:
        own = own_metadata(file, opened.metadata() or {})
        shapes = {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118
        _configs(file, own, shapes)
        noise = single_file_noise(file, opened)
    return CheckpointInfo(
        noise=noise,
        latent_scaling=LatentScaling(kind="sdxl", scaling_factor=SCALING_FACTOR),
        training=own.get("training") or {},
    )


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise NadirError(
            f"not a readable safetensors file ({_disguise(file) or error})",
            where=str(file),
            fix="download it again as .safetensors; pickles (.ckpt) are never read",
        ) from error


def _disguise(file: Path) -> str | None:
    """What a file is that only bears the name, by its first bytes."""
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        start = opened.read(16)
    return next((kind for magic, kind in _DISGUISES.items() if start.startswith(magic)), None)


def _configs(
    file: Path, own: dict[str, Any], shapes: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """Sizes of the networks. What is not an SDXL is refused first: its noise process is its own."""
    configs: dict[str, Any] = own.get("configs") or sdxl_configs()
    stock, unet = sdxl_configs()["unet"], configs["unet"]
    context, channels = (
        unet.get(name, stock[name]) for name in ("cross_attention_dim", "in_channels")
    )
    require_sdxl(file, shapes, context=context, channels=channels)
    return configs


def _parts(file: Path, weights: Weights, configs: dict[str, Any]) -> dict[str, Any]:
    """The four networks, by their names in diffusers' pipeline."""
    makers = {
        "unet": ("U-Net", _unet),
        "vae": ("VAE", _vae),
        "text_encoder": ("first text encoder", _first_text),
        "text_encoder_2": ("second text encoder", _second_text),
    }
    parts = {}
    for name, (shown, make) in makers.items():
        try:
            parts[name] = make(weights, configs[name])
        except KeyError as error:
            raise _not_whole(file, f"its {shown} lacks {error.args[0]}") from error
        except (TypeError, ValueError) as error:
            said = " ".join(str(error).split())[:200]
            raise _not_whole(file, f"its {shown} cannot be made: {said}") from error
        except RuntimeError as error:
            lines = [line.strip() for line in str(error).splitlines()]
            raise _not_whole(file, f"its {shown} has other sizes: {lines[-1][:200]}") from error
    weights.require_all_taken(ldm_layout.UNET_PREFIX)
    return parts


def _not_whole(file: Path, what: str) -> NadirError:
    return NadirError(
        f"the file is not a whole SDXL ({what})",
        where=str(file),
        fix="name a whole SDXL in one .safetensors file; smaller relatives, such as SSD-1B, are "
        "not supported",
    )


def _fill(model: torch.nn.Module, state: Tensors) -> Any:
    """Put tensors into a model made on the meta device, keeping their precision."""
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval().requires_grad_(requires_grad=False)


def _unet(tensors: Mapping[str, torch.Tensor], config: dict[str, Any]) -> UNet2DConditionModel:
    with torch.device("meta"):
        model = UNet2DConditionModel.from_config(config)
    names = ldm_layout.unet_names(model.state_dict(), model.config)
    return _fill(model, {name: tensors[theirs] for name, theirs in names.items()})


def _vae(tensors: Mapping[str, torch.Tensor], config: dict[str, Any]) -> AutoencoderKL:
    # Whatever the model was trained with is folded into the VAE; 0.13025 is the layout's rule.
    plain = LatentScaling(kind="sdxl", scaling_factor=SCALING_FACTOR).vae_config()
    with torch.device("meta"):
        model = AutoencoderKL.from_config(config | plain)
    wanted = model.state_dict()
    names = ldm_layout.vae_names(wanted, model.config)
    state = {name: tensors[names[name]].reshape(wanted[name].shape) for name in wanted}
    return _fill(model, state)


def _first_text(tensors: Mapping[str, torch.Tensor], config: dict[str, Any]) -> CLIPTextModel:
    with torch.device("meta"):
        model = CLIPTextModel(CLIPTextConfig(**config))
    names = model.state_dict()
    model = _fill(model, {name: tensors[ldm_layout.TEXT_PREFIX + name] for name in names})
    return _with_positions(model, model)


def _second_text(
    tensors: Mapping[str, torch.Tensor], config: dict[str, Any]
) -> CLIPTextModelWithProjection:
    with torch.device("meta"):
        model = CLIPTextModelWithProjection(CLIPTextConfig(**config))
    model = _fill(model, ldm_layout.text_2_from_ldm(tensors, model.state_dict()))
    return _with_positions(model, model.text_model)


def _with_positions(model: Any, body: Any) -> Any:
    """Make the position counter, which is not a weight and so was left on the meta device."""
    count = body.config.max_position_embeddings
    body.embeddings.position_ids = torch.arange(count).expand((1, -1))
    return model


def _tokenizers(file: Path, own: dict[str, Any]) -> list[CLIPTokenizer]:
    if own.get("tokenizers"):
        return [tokenizer_from_json(value) for value in own["tokenizers"]]
    folder = file.parent
    if not all((folder / name).is_dir() for name in TOKENIZERS):
        patterns = [f"{name}/*" for name in TOKENIZERS]
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
        CLIPTokenizer.from_pretrained(folder / name, model_max_length=MAX_TOKENS)
        for name in TOKENIZERS
    ]
