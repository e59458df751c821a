"""What a `.safetensors` file is, by the names and shapes in its header, when it is not an SDXL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.model.sdxl.ldm_layout import TEXT_2_PREFIX, TEXT_PREFIX, UNET_PREFIX, VAE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    Shapes = Mapping[str, Sequence[int]]

_NOT_BASES = [
    ("a LoRA", r"(^|[._])(proj_)?lora\d*([._]|_?[AB]\b)|(^|\.)(hada|lokr)_|\.oft_|\bdora_scale\b"),
    ("a ControlNet", r"^(control_model|controlnet|input_hint_block|lllite_)"),
    ("a ControlNet", r"controlnet_(cond_embedding|down_blocks|mid_block)|^zero_convs"),
    ("an IP-Adapter", r"^(ip_adapter|image_proj)\."),
    ("a T2I-Adapter", r"^(adapter\.)?body\.\d+\.(block1|in_conv)"),
    ("a textual inversion", r"^(emb_params|clip_[gl]|string_to_param)$"),
]
"""What is made to be used with a base, and names that it has."""
_OTHER_MODELS = [
    ("an SD3", r"\bjoint_blocks\."),
    ("a Flux", r"\bdouble_blocks\.|\bsingle_transformer_blocks\."),
    ("a diffusers folder's U-Net alone", r"^(unet\.)?(down_blocks|up_blocks|mid_block)\.\d*"),
    ("an LDM U-Net alone, without VAE and text encoders", r"^(diffusion_model\.)?input_blocks\."),
    ("a VAE alone", r"^(first_stage_model\.)?(encoder|decoder)\.(conv_in|down|up|mid)"),
    ("a text encoder alone", r"\btext_model\.|^(transformer\.)?resblocks\.|^encoder\.block\."),
]
"""What has no U-Net under SDXL's names, and names that it has."""
OTHER_TASKS = {9: "an inpainting model", 8: "a model that edits pictures (InstructPix2Pix)"}
_CONTEXTS = {
    768: "Stable Diffusion 1",
    1024: "Stable Diffusion 2",
    1280: "the SDXL refiner",
    4096: "a model of another text encoder, such as Kolors",
}
_SDXL_CONTEXT, _SDXL_CHANNELS = 2048, 4
_PARTS = {
    VAE_PREFIX: "VAE",
    TEXT_PREFIX: "first text encoder (CLIP ViT-L)",
    TEXT_2_PREFIX: "second text encoder (OpenCLIP ViT-bigG)",
}
_FIX = "name a whole text-to-image SDXL in one .safetensors file, or a diffusers folder"


def require_sdxl(file: Path, shapes: Shapes, *, context: int, channels: int) -> None:
    """Refuse a file that is something else, by its name.

    Args:
        file: What to name in errors.
        shapes: Shape of each tensor.
        context: Width of the text states that the U-Net must take.
        channels: Channels that the U-Net must take.

    Raises:
        NadirError: It is not a whole text-to-image SDXL.
    """
    what = _other_kind(shapes, context, channels)
    if what:
        raise NadirError(f"the file is {what}, not a whole SDXL", where=str(file), fix=_FIX)
    missing = [part for prefix, part in _PARTS.items() if not _has(shapes, prefix)]
    if missing:
        raise NadirError(
            f"the file has no {' and no '.join(missing)}, so it is not a whole SDXL",
            where=str(file),
            fix=_FIX,
        )


def kind_of(shapes: Shapes, unet: Mapping[str, int]) -> str | None:
    """What a file is; None of a text-to-image SDXL, whether or not all its parts are in it.

    Args:
        shapes: Shape of each tensor.
        unet: The U-Net's sizes by the file's own word, where it has one.
    """
    context = unet.get("cross_attention_dim", _SDXL_CONTEXT)
    return _other_kind(shapes, context, unet.get("in_channels", _SDXL_CHANNELS))


def _other_kind(shapes: Shapes, context: int, channels: int) -> str | None:
    kinds = _NOT_BASES if _has(shapes, UNET_PREFIX) else [*_NOT_BASES, *_OTHER_MODELS]
    for kind, pattern in kinds:
        name = next((name for name in shapes if re.search(pattern, name)), None)
        if name:
            return f"{kind} ({name})"
    if not _has(shapes, UNET_PREFIX):
        first = min(shapes, default=None)
        return f"of an unknown kind ({first} and others)" if first else "empty"
    return _other_unet(shapes, context, channels)


def _other_unet(shapes: Shapes, context: int, channels: int) -> str | None:
    first = shapes.get(f"{UNET_PREFIX}input_blocks.0.0.weight", ())
    if len(first) < 2:
        kind = next((k for k, p in _OTHER_MODELS[:2] if any(re.search(p, n) for n in shapes)), None)
        return kind or "a model without SDXL's U-Net"
    # Before the channels, for there are inpainting models of Stable Diffusion 1 too.
    reads = (s for n, s in shapes.items() if n.endswith(".attn2.to_k.weight") and len(s) > 1)
    width = next((shape[1] for shape in reads), context)
    if width != context:
        return _CONTEXTS.get(width, f"a model whose U-Net takes text states of width {width}")
    if first[1] != channels:
        kind = OTHER_TASKS.get(first[1], "a model of another task")
        return f"{kind} (its U-Net takes {first[1]} channels where {channels} are expected)"
    return None


def _has(shapes: Shapes, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in shapes)
