"""Stochastic rounding to bfloat16: right on average, so small updates are not lost.

bfloat16 keeps 8 bits: a weight of 1 changes by 1/128 or not at all, and an update of 1e-5 rounded
to the nearest never arrives. Rounded up with the probability of its remainder it does, on average.
"""

from __future__ import annotations

import torch

from nadir.ground.chance import Stream, generator

_LOW_BITS = 16  # that float32 has more than bfloat16


def rounded(
    value: torch.Tensor, *, seed: int, stream: Stream, step: int, place: int
) -> torch.Tensor:
    """`value` in bfloat16, each number rounded up or down by chance, on average exact.

    The chance is a pure function of (seed, stream, step, place), so that a resumed training rounds
    as an uninterrupted one does. It differs between the CPU and a GPU, whose generators differ.

    Args:
        value: float32, finite or not, of any shape.
        seed: The run's.
        stream: What is rounded.
        step: Of training, from 0.
        place: Index of the parameter.
    """
    chance = torch.Generator(device=value.device)
    chance.manual_seed(int(generator(seed, stream, step, place).integers(1 << 62)))
    bits = value.contiguous().view(torch.int32)
    # The bits that bfloat16 has no place for carry over with a chance equal to their share of 2^16.
    raised = torch.randint(
        1 << _LOW_BITS, bits.shape, dtype=torch.int32, device=value.device, generator=chance
    ).add_(bits)
    raised.bitwise_and_(-(1 << _LOW_BITS))
    return raised.view(torch.float32).to(torch.bfloat16)
