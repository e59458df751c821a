"""Memory of a process that holds its share of a model (`train.parallel: fsdp`)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nadir.training.sharding.network import blocks_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from nadir.planning.memory import Part

_SHARED = ("U-Net", "optimizer state", "average")
# At once there are, at the most, whole weights of the block that runs and of the one that is
# fetched for what comes next, and what was received for it; whole gradients of the block, and what
# is sent of them. The rest of the network stays from its forward to the end of its backward pass.
_BLOCKS, _REST = 5, 2


def shared_out(parts: Sequence[Part], processes: int) -> list[Part]:
    """Parts of one process, of those that all hold everything."""
    return [
        replace(
            part,
            device=-(-part.device // processes),
            host=-(-part.host // processes),
            note=f"{part.note}, a share of {processes}",
        )
        if part.name in _SHARED
        else part
        for part in parts
    ]


def whole_blocks(network: torch.nn.Module) -> int:
    """Bytes of what is whole for a moment in a step: an upper bound, from the order of events."""
    blocks = [_bytes(block) for block in blocks_of(network)]
    rest = _bytes(network) - sum(blocks)
    return _BLOCKS * max(blocks, default=0) + _REST * rest


def _bytes(module: torch.nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in module.parameters())
