"""Which layers of SDXL get adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nadir.training.trainable.layers import matches, require_matches
from nadir.training.trainable.text import FIRST, is_unused

if TYPE_CHECKING:
    from collections.abc import Sequence

_CONVOLUTIONS = (".resnets.", ".downsamplers.", ".upsamplers.")


def unet_layers(
    network: torch.nn.Module, *, convolutions: bool, patterns: Sequence[str] | None
) -> list[str]:
    """The layers of a U-Net that an adapter changes, as kohya's trainer chooses them.

    They are all linear layers of the transformer blocks, and with `convolutions` those of the
    residual, down and up blocks.

    Args:
        network: The U-Net, without adapters.
        convolutions: Whether convolutions are among them.
        patterns: `train.layers`: these alone; None for all.

    Raises:
        NadirError: A pattern names none of them.
    """
    names = []
    for name, module in network.named_modules():
        inside = ".attentions." in name and isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
        place = convolutions and any(part in name for part in _CONVOLUTIONS)
        if inside or (place and isinstance(module, torch.nn.Conv2d)):
            names.append(name)
    if patterns is None:
        return names
    require_matches(patterns, names, key="train.layers")
    return [name for name in names if any(matches(name, pattern) for pattern in patterns)]


def text_layers(part: str, encoder: torch.nn.Module) -> list[str]:
    """The linear layers of a text encoder's attention and feed-forward blocks that have an effect.

    Args:
        part: `text_encoder` or `text_encoder_2`.
        encoder: Without adapters.
    """
    layers: int = encoder.config.num_hidden_layers  # type: ignore[union-attr,assignment]
    return [
        name
        for name, module in encoder.named_modules()
        if ".layers." in name
        and isinstance(module, torch.nn.Linear)
        and not (part == FIRST and is_unused(name, layers))
    ]
