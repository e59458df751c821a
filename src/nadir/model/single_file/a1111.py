"""The `.yaml` by which releases of A1111 know that a single file of SDXL predicts v.

A1111 takes a file of the checkpoint's own name that ends in `.yaml` for the model's configuration
before it looks at any tensor, and samples v-prediction when the denoiser's scaling is `VScaling`
(modules/sd_models_config.py, sd_models_xl.py). Forge reads the same entry. Zero terminal SNR is a
setting of theirs, the noise schedule for sampling, which no such file can say.
"""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML

from nadir.diffusion.sdxl import SCALING_FACTOR
from nadir.model.sdxl.networks import sdxl_configs

V_SCALING = "sgm.modules.diffusionmodules.denoiser_scaling.VScaling"
_DENOISER = "sgm.modules.diffusionmodules"
_ENCODERS = "sgm.modules.encoders.modules"
_SIZES = ("original_size_as_tuple", "crop_coords_top_left", "target_size_as_tuple")


def a1111_yaml() -> str:
    """Configuration of an SDXL with v-prediction in the terms of Stability's generative-models."""
    engine = {
        "scale_factor": SCALING_FACTOR,
        "disable_first_stage_autocast": True,
        "denoiser_config": _made(f"{_DENOISER}.denoiser.DiscreteDenoiser", **_denoiser()),
        "network_config": _made(f"{_DENOISER}.openaimodel.UNetModel", **_unet()),
        "conditioner_config": _made("sgm.modules.GeneralConditioner", emb_models=_embedders()),
        "first_stage_config": _made(
            "sgm.models.autoencoder.AutoencoderKLInferenceWrapper", **_autoencoder()
        ),
    }
    text = io.StringIO()
    writer = YAML()
    writer.default_flow_style = False
    writer.dump({"model": _made("sgm.models.diffusion.DiffusionEngine", **engine)}, text)
    return text.getvalue()


def _made(target: str, **params: Any) -> dict[str, Any]:
    """A class and what it is made with."""
    return {"target": target, **({"params": params} if params else {})}


def _denoiser() -> dict[str, Any]:
    return {
        "num_idx": 1000,
        "weighting_config": _made(f"{_DENOISER}.denoiser_weighting.VWeighting"),
        "scaling_config": _made(V_SCALING),
        "discretization_config": _made(f"{_DENOISER}.discretizer.LegacyDDPMDiscretization"),
    }


def _unet() -> dict[str, Any]:
    unet = sdxl_configs()["unet"]
    channels = unet["block_out_channels"]
    attended = [
        2**level for level, kind in enumerate(unet["down_block_types"]) if "CrossAttn" in kind
    ]
    return {
        "adm_in_channels": unet["projection_class_embeddings_input_dim"],
        "num_classes": "sequential",
        "use_checkpoint": False,
        "in_channels": unet["in_channels"],
        "out_channels": unet["out_channels"],
        "model_channels": channels[0],
        "attention_resolutions": attended[::-1],
        "num_res_blocks": unet["layers_per_block"],
        "channel_mult": [width // channels[0] for width in channels],
        "num_head_channels": channels[0] // unet["attention_head_dim"][0],
        "use_spatial_transformer": True,
        "use_linear_in_transformer": True,
        "transformer_depth": unet["transformer_layers_per_block"],
        "context_dim": unet["cross_attention_dim"],
        "spatial_transformer_attn_type": "softmax-xformers",
        "legacy": False,
    }


def _embedders() -> list[dict[str, Any]]:
    first = _made(f"{_ENCODERS}.FrozenCLIPEmbedder", layer="hidden", layer_idx=11)
    second = _made(
        f"{_ENCODERS}.FrozenOpenCLIPEmbedder2",
        arch="ViT-bigG-14",
        version="laion2b_s39b_b160k",
        freeze=True,
        layer="penultimate",
        always_return_pooled=True,
        legacy=False,
    )
    width = sdxl_configs()["unet"]["addition_time_embed_dim"]
    number = _made(f"{_ENCODERS}.ConcatTimestepEmbedderND", outdim=width)
    texts = [{"is_trainable": False, "input_key": "txt", **made} for made in (first, second)]
    sizes = [{"is_trainable": False, "input_key": key, **number} for key in _SIZES]
    return texts + sizes


def _autoencoder() -> dict[str, Any]:
    vae = sdxl_configs()["vae"]
    channels = vae["block_out_channels"]
    return {
        "embed_dim": vae["latent_channels"],
        "monitor": "val/rec_loss",
        "ddconfig": {
            "attn_type": "vanilla-xformers",
            "double_z": True,
            "z_channels": vae["latent_channels"],
            "resolution": 256,
            "in_channels": 3,
            "out_ch": 3,
            "ch": channels[0],
            "ch_mult": [width // channels[0] for width in channels],
            "num_res_blocks": vae["layers_per_block"],
            "attn_resolutions": [],
            "dropout": 0.0,
        },
        "lossconfig": _made("torch.nn.Identity"),
    }
