"""`gate`: what a challenger must show beside the champion; no stage depends on it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nadir.config.base import Section

MetricName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
GuardName = Annotated[str, Field(pattern=r"^[a-z0-9_]+(_\*)?$")]


class PrimaryParams(Section):
    """The one metric that decides."""

    metric: MetricName
    """Its name; `loss` is the held-out error of x0."""
    margin: Annotated[float, Field(ge=0)]
    """0: the challenger must be better. Above: not worse by that much is enough."""


class GateParams(Section):
    """The comparison that a promotion needs once there is a champion."""

    primary: PrimaryParams
    """The metric that decides, and how much worse is not yet worse."""
    guards: dict[GuardName, Annotated[float, Field(gt=0)]]
    """Metrics that must not get worse by as much as this, in each one's own unit. A name that ends
    in `_*` stands for every part of a metric that enough prompts ask for, such as each class."""
    cfg_scale: Annotated[float, Field(gt=0)] | None
    """Where guards are judged. null: chosen by half of the prompts, judged by the other half."""
    policy: Literal["auto", "approve"]
    """Who promotes a version that won: auto: the command or flow itself; approve: a person. The
    first version of a registry has nothing beside it and is live by the absolute checks alone."""
    answer_within_h: Annotated[float, Field(gt=0)]
    """Hours that a person has to approve; a version that nobody approved is not promoted."""
    smoke_pictures: Annotated[int, Field(ge=0, le=16)]
    """Drawn by a version once it is live; if one fails, the champion before returns. 0: none."""
