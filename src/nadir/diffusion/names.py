"""The names by which parameters choose: predictions, loss weights, samplers, spacings, scalings.

Free of torch, so that reading `params.yaml` and the command line's help stay quick.
"""

from __future__ import annotations

from typing import Literal, get_args

Prediction = Literal["v", "epsilon", "x0"]
"""What the network predicts."""
BetaSchedule = Literal["scaled_linear", "linear"]
"""How beta runs from start to end."""
LossWeightName = Literal[
    "none", "min_snr", "min_snr_snr0_one", "snr_plus_one", "soft_min_snr", "debiased"
]
"""Loss weight by signal-to-noise ratio; formulas in `nadir.diffusion.loss_weight`."""
SamplerName = Literal["euler", "euler_ancestral", "ddim", "dpmpp_2m", "dpmpp_2m_sde", "heun"]
"""A sampler's `name`; the classes are in `nadir.diffusion.samplers`."""
Spacing = Literal["native", "trailing", "simple"]
"""Which timesteps a sampler visits."""
Scaling = Literal["sdxl", "per_channel"]
"""How latents are scaled for the network: the VAE's one factor, or mean and std per channel."""

PREDICTIONS: tuple[Prediction, ...] = get_args(Prediction)
LOSS_WEIGHTS: tuple[LossWeightName, ...] = get_args(LossWeightName)
SAMPLER_NAMES: tuple[SamplerName, ...] = get_args(SamplerName)
SPACINGS: tuple[Spacing, ...] = get_args(Spacing)
