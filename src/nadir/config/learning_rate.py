"""`train.learning_rate_schedule`: the course of the learning rate after warm-up."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nadir.config.base import Section

Final = Annotated[float, Field(ge=0, le=1)]


class ConstantRate(Section):
    """The peak to the end."""

    name: Literal["constant"]
    """Constant."""


class CosineRate(Section):
    """Half a cosine from the peak down."""

    name: Literal["cosine"]
    """Cosine."""
    final: Final
    """Share of the peak that it falls to."""


class CosineRestartsRate(Section):
    """Several half cosines, each from the peak down (Loshchilov and Hutter 1608.03983)."""

    name: Literal["cosine_restarts"]
    """Cosine with restarts."""
    cycles: Annotated[int, Field(ge=1)]
    """How often it falls."""
    final: Final
    """Share of the peak that it falls to."""


class PolynomialRate(Section):
    """(1 - z)^power of the peak, z from 0 to 1 over the steps after warm-up."""

    name: Literal["polynomial"]
    """Polynomial; power 1 is linear."""
    power: Annotated[float, Field(gt=0)]
    """Above 1 falls early, below 1 late."""
    final: Final
    """Share of the peak that it falls to."""


class RexRate(Section):
    """(1 - z) / (1 - z / 2) of the peak (Chen et al. 2107.04197)."""

    name: Literal["rex"]
    """REX: stays high for long, and falls fast at the end."""
    final: Final
    """Share of the peak that it falls to."""


class PointsRate(Section):
    """Straight lines between points."""

    name: Literal["points"]
    """A list of points."""
    points: Annotated[tuple[tuple[float, float], ...], Field(min_length=1)]
    """[share of the steps after warm-up, share of the peak], the first shares rising."""

    @model_validator(mode="after")
    def _are_a_curve(self) -> PointsRate:
        shares = [share for share, _ in self.points]
        if sorted(set(shares)) != shares or shares[0] < 0 or shares[-1] > 1:
            raise ValueError("the first numbers of points must rise, within 0 to 1")
        if min(factor for _, factor in self.points) < 0:
            raise ValueError("the second numbers of points must not be negative")
        return self


LearningRateParams = Annotated[
    ConstantRate | CosineRate | CosineRestartsRate | PolynomialRate | RexRate | PointsRate,
    Field(discriminator="name"),
]
