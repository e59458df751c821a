"""What a metric is shown, and what it leaves in the evaluation table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from nadir.evaluation.protocol import EvalPrompt
    from nadir.evaluation.reals.features import Features

CheckpointNumber = float | dict[str, float]
"""One number, or several by name."""


@dataclass(frozen=True)
class Row:
    """One value: of an image (its prompt and seed at a scale), or of the checkpoint itself.

    Attributes:
        cfg_scale: None for what needs no guidance, such as held-out losses.
        prompt_id: From the plan; `image_…` for the loss of a held-out image.
        seed: Noise seed; 0 for losses.
        metric: Name.
        value: Finite.
    """

    cfg_scale: float | None
    prompt_id: str
    seed: int
    metric: str
    value: float


@dataclass(frozen=True)
class Drawn:
    """Images of one prompt at one scale, one per seed; those with NaN or infinity are left out."""

    prompt: EvalPrompt
    cfg_scale: float
    images_NCHW: NDArray[np.float32]
    """RGB in 0-1."""
    seeds: tuple[int, ...] = ()
    """Noise seed of each."""

    @cached_property
    def thumbs(self) -> NDArray[np.float32]:
        """Thumbnails [N, 3, SIDE, SIDE] of the images; made once for all metrics."""
        from nadir.evaluation.reals.colours import thumbnails

        return thumbnails(self.images_NCHW)

    @cached_property
    def features(self) -> Features:
        """Features of the images; computed once for all metrics."""
        from nadir.evaluation.reals.features import features

        return features(self.thumbs)


@dataclass(frozen=True)
class ScaleValues:
    """The rows that one metric has at one scale: prompt_id, seed, value."""

    cfg_scale: float
    rows: pd.DataFrame


@dataclass(frozen=True)
class CheckpointValue:
    """What a metric says of the checkpoint as a whole, whatever the scale.

    Attributes:
        number: What `reports/evaluation.json` has under the metric's name; None when it could not
            be measured.
        rows: Values behind it for the evaluation table.
    """

    number: CheckpointNumber | None = None
    rows: tuple[Row, ...] = ()


def prompt_means(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Mean over seeds of each prompt; empty without rows. The prompt is the unit of statistics."""
    return rows.groupby("prompt_id")["value"].mean().to_numpy(dtype=np.float64)
