"""Names of SDXL's weights in single files (Stability's LDM layout) and in diffusers.

Only names differ, but for two things: the VAE's attention is four 1x1 convolutions there, and the
second text encoder is OpenCLIP's, with query, key and value in one matrix and its projection
transposed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Tensors = dict[str, torch.Tensor]

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIX = "conditioner.embedders.0.transformer.text_model."
TEXT_2_PREFIX = "conditioner.embedders.1.model."

_UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE_RESNET = {"conv_shortcut": "nin_shortcut"}
_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
_OPENCLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_OPENCLIP_TOP = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
}
_OPENCLIP_LAYERS = "text_model.encoder.layers."
_QKV = ("q_proj", "k_proj", "v_proj")
_VAE_ATTENTION_PLACE = "mid.attn_1."


def unet_names(names: Iterable[str], config: Mapping[str, Any]) -> dict[str, str]:
    """Single-file name of each diffusers name of a U-Net.

    Args:
        names: The U-Net's state dict's names.
        config: Its diffusers configuration.
    """
    modules, resnets = _unet_modules(config)
    return {
        name: UNET_PREFIX + _rename(name, modules, _UNET_RESNET if _under(name, resnets) else {})
        for name in names
    }


def _unet_modules(config: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Modules with their single-file names, and which of them are ResNet blocks."""
    modules = {
        "conv_in": "input_blocks.0.0",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0",
        "add_embedding.linear_2": "label_emb.0.2",
        "mid_block.resnets.0": "middle_block.0",
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
    layers, levels = config["layers_per_block"], len(config["block_out_channels"])
    place = 1
    for level in range(levels):
        for layer in range(layers):
            modules[f"down_blocks.{level}.resnets.{layer}"] = f"input_blocks.{place}.0"
            modules[f"down_blocks.{level}.attentions.{layer}"] = f"input_blocks.{place}.1"
            place += 1
        if level < levels - 1:
            modules[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{place}.0.op"
            place += 1
    place = 0
    for level, kind in enumerate(config["up_block_types"]):
        for layer in range(layers + 1):
            modules[f"up_blocks.{level}.resnets.{layer}"] = f"output_blocks.{place}.0"
            modules[f"up_blocks.{level}.attentions.{layer}"] = f"output_blocks.{place}.1"
            place += 1
        after = 2 if "CrossAttn" in kind else 1
        upsampler = f"output_blocks.{place - 1}.{after}.conv"
        modules[f"up_blocks.{level}.upsamplers.0.conv"] = upsampler
    return modules, [module for module in modules if ".resnets." in module]


def vae_names(names: Iterable[str], config: Mapping[str, Any]) -> dict[str, str]:
    """Single-file name of each diffusers name of a VAE."""
    levels = len(config["block_out_channels"])
    modules = {"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}
    for half in ("encoder", "decoder"):
        for name in ("conv_in", "conv_out"):
            modules[f"{half}.{name}"] = f"{half}.{name}"
        modules[f"{half}.conv_norm_out"] = f"{half}.norm_out"
        modules[f"{half}.mid_block.resnets.0"] = f"{half}.mid.block_1"
        modules[f"{half}.mid_block.attentions.0"] = f"{half}.{_VAE_ATTENTION_PLACE}"[:-1]
        modules[f"{half}.mid_block.resnets.1"] = f"{half}.mid.block_2"
    for level in range(levels):
        down, up = f"encoder.down.{level}", f"decoder.up.{levels - 1 - level}"
        for layer in range(config["layers_per_block"] + 1):
            modules[f"encoder.down_blocks.{level}.resnets.{layer}"] = f"{down}.block.{layer}"
            modules[f"decoder.up_blocks.{level}.resnets.{layer}"] = f"{up}.block.{layer}"
        modules[f"encoder.down_blocks.{level}.downsamplers.0.conv"] = f"{down}.downsample.conv"
        modules[f"decoder.up_blocks.{level}.upsamplers.0.conv"] = f"{up}.upsample.conv"
    inner = _VAE_RESNET | _VAE_ATTENTION
    return {name: VAE_PREFIX + _rename(name, modules, inner) for name in names}


def vae_to_ldm(state: Tensors, config: Mapping[str, Any]) -> Tensors:
    """A VAE's state dict in the single-file layout."""
    names = vae_names(state, config)
    return {
        names[name]: tensor[:, :, None, None]
        if _VAE_ATTENTION_PLACE in names[name] and tensor.ndim == 2
        else tensor
        for name, tensor in state.items()
    }


def text_2_to_ldm(state: Tensors) -> Tensors:
    """The second text encoder's state dict in OpenCLIP's layout."""
    out = {_OPENCLIP_TOP[name]: state[name] for name in _OPENCLIP_TOP}
    out["text_projection"] = state["text_projection.weight"].T.contiguous()
    for name, tensor in state.items():
        if not name.startswith(_OPENCLIP_LAYERS):
            continue
        layer, _, rest = name.removeprefix(_OPENCLIP_LAYERS).partition(".")
        place = f"transformer.resblocks.{layer}."
        module, _, kind = rest.rpartition(".")
        if module in _OPENCLIP_LAYER:
            out[f"{place}{_OPENCLIP_LAYER[module]}.{kind}"] = tensor
        elif module == "self_attn.q_proj":
            parts = [name.replace("q_proj", part) for part in _QKV]
            out[f"{place}attn.in_proj_{kind}"] = torch.cat([state[part] for part in parts])
    return {TEXT_2_PREFIX + name: tensor for name, tensor in out.items()}


def text_2_from_ldm(tensors: Mapping[str, torch.Tensor], names: Iterable[str]) -> Tensors:
    """The second text encoder's state dict out of a single file's tensors.

    Args:
        tensors: The file's tensors.
        names: Names of the state dict that is wanted.

    Raises:
        KeyError: A tensor is missing.
    """
    out = {}
    for name in names:
        if name == "text_projection.weight":
            out[name] = _projection(tensors)
        elif name in _OPENCLIP_TOP:
            out[name] = tensors[TEXT_2_PREFIX + _OPENCLIP_TOP[name]]
        else:
            out[name] = _openclip_layer(tensors, name)
    return out


def _projection(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The projection, which OpenCLIP keeps transposed.

    As a linear layer's `weight`, which diffusers' own converter writes, it is as diffusers has it.
    """
    plain = f"{TEXT_2_PREFIX}text_projection"
    if plain not in tensors and f"{plain}.weight" in tensors:
        return tensors[f"{plain}.weight"]
    return tensors[plain].T.contiguous()


def _openclip_layer(tensors: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    layer, _, rest = name.removeprefix(_OPENCLIP_LAYERS).partition(".")
    place = f"{TEXT_2_PREFIX}transformer.resblocks.{layer}."
    module, _, kind = rest.rpartition(".")
    part = module.rpartition(".")[2]
    if part in _QKV:
        return tensors[f"{place}attn.in_proj_{kind}"].chunk(3)[_QKV.index(part)].clone()
    return tensors[f"{place}{_OPENCLIP_LAYER[module]}.{kind}"]


def _under(name: str, modules: Iterable[str]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)


def _rename(name: str, modules: Mapping[str, str], inner: Mapping[str, str]) -> str:
    """Replace the module that a name lies in, then the first part of what is left."""
    module = next(module for module in modules if name.startswith(f"{module}."))
    rest = name.removeprefix(f"{module}.")
    for theirs, ours in inner.items():
        if rest.startswith(f"{theirs}."):
            rest = ours + rest.removeprefix(theirs)
            break
    return f"{modules[module]}.{rest}"
