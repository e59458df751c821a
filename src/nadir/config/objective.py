"""`train`: what is minimised. Settings that a choice does not use do not exist beside it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nadir.config.base import Section
from nadir.diffusion.names import LossWeightName

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(gt=0, le=1000)]


class LearnedWeightParams(Section):
    """A learned uncertainty u(sigma) over the weight by SNR (Karras et al. 2312.02696)."""

    channels: Annotated[int, Field(ge=8, le=4096)]
    """Fourier features of ln(sigma); EDM2 has 128."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Constant rate of its own AdamW."""


class LossWeightParams(Section):
    """Weight of the loss by signal-to-noise ratio (paper §2.4)."""

    name: LossWeightName
    """`snr_plus_one` trains the terminal step; the literal `min_snr` gives it weight 0."""
    gamma: Annotated[float, Field(gt=0)]
    """Clamp of the SNR; the paper uses 5."""
    learned: LearnedWeightParams | None
    """null, or a learned weighting on top: exp(-u) times the weighted loss, plus u."""


class SquaredLoss(Section):
    """The mean squared error."""

    kind: Literal["mse"]
    """Squared error."""


class PseudoHuberLoss(Section):
    """Squared for small errors, absolute for large ones (Khrapov et al. 2403.16728)."""

    kind: Literal["huber", "smooth_l1"]
    """`huber`: 2d(sqrt(e^2 + d^2) - d), which is e^2 for small errors; `smooth_l1`: the same
    without the factor d, which is 2|e| for large ones."""
    delta: Annotated[float, Field(gt=0, le=1)]
    """Where the error turns from squared to absolute, at the noisy end of a schedule."""
    schedule: Literal["constant", "exponential", "snr"]
    """d at timestep t of T: delta; delta^(t/T); delta + (1 - delta) / (1 + sigma)^2."""


LossParams = Annotated[SquaredLoss | PseudoHuberLoss, Field(discriminator="kind")]


class _Timesteps(Section):
    """What every distribution of timesteps has."""

    min: Share
    """First timestep that is drawn, as a share of all; 0 is the first there is."""
    max: Share
    """Where the drawn timesteps end, as a share of all; 1 includes the terminal step."""
    shift: Annotated[int, Field(ge=1)] | None
    """null, or an area in pixels: sigmas are drawn sqrt(area of the bucket / this) times higher."""

    @model_validator(mode="after")
    def _is_a_range(self) -> _Timesteps:
        if self.min >= self.max:
            raise ValueError("min must be less than max")
        return self


class UniformTimesteps(_Timesteps):
    """Every timestep is drawn equally often."""

    distribution: Literal["uniform"]
    """Uniform."""


class LogitNormalTimesteps(_Timesteps):
    """ln(x / (1 - x)) is normal, x from 0 to 1 over the timesteps (Esser et al. 2403.03206)."""

    distribution: Literal["logit_normal"]
    """Logit-normal."""
    mean: float
    """Of the normal; above 0 draws more noise."""
    std: Annotated[float, Field(gt=0)]
    """Of the normal."""


class BetaTimesteps(_Timesteps):
    """x, from 0 to 1 over the timesteps, is Beta(alpha, beta)."""

    distribution: Literal["beta"]
    """Beta."""
    alpha: Annotated[float, Field(gt=0)]
    """Above beta draws more noise."""
    beta: Annotated[float, Field(gt=0)]
    """Above alpha draws less noise."""


TimestepParams = Annotated[
    UniformTimesteps | LogitNormalTimesteps | BetaTimesteps, Field(discriminator="distribution")
]


class MaskedLossParams(Section):
    """The error counts by the masks that `encode.masks` stores."""

    unmasked: Annotated[float, Field(ge=0, lt=1)]
    """Weight of what a mask leaves out (black, transparent); what it shows has weight 1."""


class RegularisationParams(Section):
    """Images that count with a loss weight of their own; of several for one image, the lowest."""

    tags: dict[str, Weight]
    """Tag and weight of the images that have it."""
    folders: dict[str, Weight]
    """Folder of the source (`*` matches any name) and weight of all images below it."""
