"""Names of adapted layers in kohya's files, the form that ComfyUI, Forge and A1111 read.

A name is the layer's in Stability's layout with underscores for dots, behind `lora_unet_`, or the
text encoder's own behind `lora_te1_` or `lora_te2_`; the weight's name follows after a dot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nadir.model.sdxl.ldm_layout import UNET_PREFIX, unet_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TEXT = {"text_encoder.": "lora_te1_", "text_encoder_2.": "lora_te2_"}
_UNET = "lora_unet_"
KOHYA_PARTS = {"lora_down": "lora_down.weight", "lora_up": "lora_up.weight"}
"""Weights of a layer whose name is longer in files."""

PREFIXES = (_UNET, *_TEXT.values())


def kohya_names(paths: Iterable[str], config: Mapping[str, Any]) -> dict[str, str]:
    """Kohya's name of each layer.

    Args:
        paths: `mid_block.attentions.0.proj_in` or `text_encoder.text_model.encoder. …`.
        config: The U-Net's diffusers configuration.
    """
    layers = list(paths)
    unet = [path for path in layers if not path.startswith(tuple(_TEXT))]
    stability = unet_names([f"{path}.weight" for path in unet], config)
    names = {}
    for path in layers:
        if path in unet:
            own = stability[f"{path}.weight"].removeprefix(UNET_PREFIX).removesuffix(".weight")
            names[path] = _UNET + own.replace(".", "_")
        else:
            start = next(prefix for prefix in _TEXT if path.startswith(prefix))
            names[path] = _TEXT[start] + path.removeprefix(start).replace(".", "_")
    return names


def alternative_names(paths: Iterable[str]) -> dict[str, str]:
    """Names that some trainers give the U-Net's layers instead: diffusers' with underscores."""
    return {
        path: _UNET + path.replace(".", "_") for path in paths if not path.startswith(tuple(_TEXT))
    }
