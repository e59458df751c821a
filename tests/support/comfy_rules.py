"""How ComfyUI applies an adapter's file to a model, written from its documented behaviour.

Its map of names: every U-Net weight of two or more dimensions in the single-file layout, under
`lora_unet_` and the name with underscores for dots; the text encoders' attention and feed-forward
layers under `lora_te1_` (CLIP-L) and `lora_te2_` (CLIP-G). Weights are taken by suffix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nadir.model.sdxl.ldm_layout import UNET_PREFIX, unet_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    Tensors = Mapping[str, torch.Tensor]

_TEXT_LAYERS = (
    "mlp.fc1",
    "mlp.fc2",
    "self_attn.k_proj",
    "self_attn.q_proj",
    "self_attn.v_proj",
    "self_attn.out_proj",
)


def key_map(weights: Mapping[str, Tensors], config: Mapping[str, object]) -> dict[str, tuple]:
    """ComfyUI's name of each adapted layer, to (part, name of the weight in diffusers)."""
    unet = [name for name in weights["unet"] if name.endswith(".weight")]
    found = {}
    for name, single in unet_names(unet, config).items():
        layer = single.removeprefix(UNET_PREFIX).removesuffix(".weight")
        found["lora_unet_" + layer.replace(".", "_")] = ("unet", name)
    for number, part in (("1", "text_encoder"), ("2", "text_encoder_2")):
        for name in weights[part]:
            index, _, module = name.rpartition(".layers.")[2].partition(".")
            if name.endswith(".weight") and module.removesuffix(".weight") in _TEXT_LAYERS:
                own = f"text_model_encoder_layers_{index}_{module.removesuffix('.weight')}"
                found[f"lora_te{number}_" + own.replace(".", "_")] = (part, name)
    return found


def apply(adapter: Tensors, weights: Mapping[str, Tensors], config: Mapping[str, object]) -> dict:
    """The model's weights with an adapter at strength 1.

    Returns:
        The changed weights by (part, name), and under `unused` the file's keys that no rule reads.
    """
    used: set[str] = set()
    changed = {}
    for name, place in key_map(weights, config).items():
        own = {k.removeprefix(f"{name}."): k for k in adapter if k.startswith(f"{name}.")}
        if own:
            used |= set(own.values())
            layer = {part: adapter[key].double() for part, key in own.items()}
            weight = weights[place[0]][place[1]].double()
            changed[place] = _patched(layer, weight)
    return changed | {"unused": set(adapter) - used}


def _patched(layer: dict[str, torch.Tensor], weight: torch.Tensor) -> torch.Tensor:
    alpha = float(layer["alpha"]) if "alpha" in layer else None
    if "lora_up.weight" in layer:
        up, down = layer["lora_up.weight"], layer["lora_down.weight"]
        change = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
        scale = 1.0 if alpha is None else alpha / down.shape[0]
    elif "hada_w1_a" in layer:
        one = layer["hada_w1_a"] @ layer["hada_w1_b"]
        two = layer["hada_w2_a"] @ layer["hada_w2_b"]
        change = (one * two).reshape(weight.shape)
        scale = 1.0 if alpha is None else alpha / layer["hada_w1_b"].shape[0]
    elif any(key.startswith("lokr") for key in layer):
        change, rank = _kronecker(layer, weight)
        scale = 1.0 if alpha is None or rank is None else alpha / rank
    else:
        return _rotated(layer["oft_blocks"], weight, alpha or 0.0)
    total = weight + change * scale
    return _decomposed(layer["dora_scale"], weight, total) if "dora_scale" in layer else total


def _kronecker(
    layer: dict[str, torch.Tensor], weight: torch.Tensor
) -> tuple[torch.Tensor, int | None]:
    rank, factors = None, []
    for name in ("lokr_w1", "lokr_w2"):
        if name in layer:
            factors.append(layer[name])
        else:
            rank = layer[f"{name}_b"].shape[0]
            factors.append(layer[f"{name}_a"] @ layer[f"{name}_b"])
    first, second = factors
    if second.ndim == 4:
        first = first[:, :, None, None]
    return torch.kron(first, second.contiguous()).reshape(weight.shape), rank


def _rotated(blocks: torch.Tensor, weight: torch.Tensor, limit: float) -> torch.Tensor:
    count, side, _ = blocks.shape
    skew = blocks - blocks.transpose(1, 2)
    norm = torch.norm(skew) + 1e-8
    if 0 < limit < norm:
        skew = skew * limit / norm
    eye = torch.eye(side, dtype=skew.dtype)
    turn = (eye + skew) @ (eye - skew).inverse()
    rows = weight.view(count, side, *weight.shape[1:])
    return torch.einsum("k n m, k n ... -> k m ...", turn, rows).reshape(weight.shape)


def _decomposed(scale: torch.Tensor, weight: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    if scale.shape[0] == total.shape[0]:
        # By the norm of the base alone: not what DoRA's paper says, but what ComfyUI does.
        norm = weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.ndim - 1))
    else:
        norm = total.transpose(0, 1).flatten(1).norm(dim=1).view(1, -1, *[1] * (total.ndim - 2))
    return total * (scale / (norm + torch.finfo(torch.float32).eps))
