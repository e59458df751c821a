"""How the numbers of pictures lie in memory while a network is trained."""

from __future__ import annotations

from typing import Any

import torch


def run_convolutions_channels_last(network: torch.nn.Module) -> int:
    """Let every 2D convolution see its input with the channels of a pixel side by side.

    Weights stay as they lie: the convolution itself reorders them, which is little beside its work,
    and gradients, optimizer states, averages and files are what they are without. Torch's group
    norm on a GPU gives back the usual order, so each convolution asks for its own input.

    Args:
        network: Changed in place, after adapters are in it. While it is in `eval`, as for pictures,
            it computes as before.

    Returns:
        How many convolutions there are.
    """
    found = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    for module in found:
        module.register_forward_pre_hook(_reordered)
    return len(found)


def _reordered(module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    if not module.training:
        return None
    return (args[0].contiguous(memory_format=torch.channels_last), *args[1:])
