"""The U-Net's linear layers in 8 bits with a scale each, as ComfyUI reads them.

Its form: `<layer>.weight` in float8_e4m3fn, `<layer>.scale_weight` beside it, and one tensor
`model.diffusion_model.scaled_fp8`, whose type is the weights' and whose two elements say that
inputs are not rounded to 8 bits. The weight is the stored one times its scale. Up to version 0.3
ComfyUI makes every linear layer of such a U-Net one of 8 bits, so all of them are scaled; it rounds
their biases to 8 bits, too, without a scale. Convolutions, norms, text encoders and VAE stay as
they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nadir.model.sdxl.ldm_layout import UNET_PREFIX

if TYPE_CHECKING:
    from nadir.model.sdxl.ldm_layout import Tensors

SCALED_MARK = f"{UNET_PREFIX}scaled_fp8"
_SCALE = ".scale_weight"
_TYPE = torch.float8_e4m3fn
_LARGEST = torch.finfo(_TYPE).max


def scaled_linear_layers(tensors: Tensors) -> Tensors:
    """The same model with the U-Net's linear weights in 8 bits, and the marks that say so.

    Args:
        tensors: By their names in the LDM layout.

    Returns:
        Of each linear weight W of the U-Net, W / s rounded to the nearest float8_e4m3fn and s, with
        s = max|W| / 448, so that the largest weight is the largest number of the type; the rest is
        the same tensors.
    """
    scaled = dict(tensors)
    for name, tensor in tensors.items():
        if not (name.startswith(UNET_PREFIX) and name.endswith(".weight") and tensor.ndim == 2):
            continue
        weight = tensor.float()
        largest = weight.abs().max()
        scale = largest / _LARGEST if largest > 0 else torch.ones(())
        scaled[name] = (weight / scale).clamp(-_LARGEST, _LARGEST).to(_TYPE)
        scaled[name.removesuffix(".weight") + _SCALE] = scale.reshape(())
    scaled[SCALED_MARK] = torch.zeros(2, dtype=_TYPE)
    return scaled
