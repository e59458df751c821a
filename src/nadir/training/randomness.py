"""Random numbers that belong to a place in training, not to a process.

Every draw is a pure function of (seed, stream, step, position in the global batch). So results do
not depend on the number of processes, and a resumed run continues exactly without replaying
anything. The generators are those of `nadir.ground.chance`.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import torch

from nadir.ground.chance import Stream, generator, seed_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def noise(
    seed: int, step: int, positions: Sequence[int], shape: tuple[int, int, int]
) -> torch.Tensor:
    """Standard normal noise for some positions of the batch at `step`.

    Args:
        seed: The run's seed.
        step: Optimizer step, from 0.
        positions: Places in the global batch.
        shape: (C, H, W) of one latent.

    Returns:
        noise_BCHW in float32 on the CPU, B = len(positions).
    """
    rows = [
        generator(seed, Stream.NOISE, step, position).standard_normal(shape, dtype=np.float32)
        for position in positions
    ]
    return torch.from_numpy(np.stack(rows))


def stratified_timesteps(seed: int, step: int, batch_size: int, timesteps: int) -> torch.Tensor:
    """Timesteps of the whole batch at `step`: one from each of `batch_size` equal strata.

    A random permutation deals the strata out, so that each position alone is exactly uniform over
    0 .. timesteps - 1, the terminal one included, while the batch covers the range evenly, which
    takes most of the variance out of the loss.

    Returns:
        timesteps_B, int64.
    """
    place = stratified_uniforms(seed, step, batch_size) * timesteps
    return torch.from_numpy(np.minimum(place.astype(np.int64), timesteps - 1))


def stratified_uniforms(seed: int, step: int, batch_size: int) -> np.ndarray:
    """One number from each of `batch_size` equal strata of 0 to 1, in random order; float64."""
    rng = generator(seed, Stream.TIMESTEPS, step)
    strata = rng.permutation(batch_size)
    return np.asarray((strata + rng.random(batch_size)) / batch_size)


def flips(seed: int, step: int, positions: Sequence[int]) -> np.ndarray:
    """A fair coin for some positions of the batch at `step`: whether the image is mirrored.

    Returns:
        flips_B, bool, B = len(positions).
    """
    coins = [generator(seed, Stream.FLIP, step, place).random() < 0.5 for place in positions]
    return np.array(coins, dtype=bool)


def caption_rng(seed: int, step: int, position: int) -> random.Random:
    """The generator that drops and shuffles the tags of one sample."""
    return random.Random(seed_of(f"caption/{seed}/{step}/{position}"))
