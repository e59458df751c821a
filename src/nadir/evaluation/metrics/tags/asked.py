"""Which of the tags that a prompt asks for the probe can judge, and what it sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nadir.data.tags.written import prompt_tags

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nadir.evaluation.reals.probe import TagProbe
    from nadir.evaluation.values import Drawn


@dataclass(frozen=True)
class Seen:
    """What the probe sees in the images of one prompt at one scale.

    Attributes:
        cfg_scale: Guidance scale.
        prompt_id: The prompt.
        seeds: Noise seed of each image [N].
        asked_T: Which judged tags the prompt asks for.
        margins_NT: Score above the threshold of each judged tag; it is seen above 0.
    """

    cfg_scale: float
    prompt_id: str
    seeds: tuple[int, ...]
    asked_T: NDArray[np.bool_]
    margins_NT: NDArray[np.float64]

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which judged tags are seen in each image [N, T]."""
        return self.margins_NT > 0


def look(probe: TagProbe, drawn: Drawn) -> Seen:
    """What the probe sees in the images of a prompt."""
    return Seen(
        drawn.cfg_scale,
        drawn.prompt.id,
        drawn.seeds,
        asked(probe, drawn.prompt.text),
        probe.margins(drawn.features.layout_NF),
    )


def asked(probe: TagProbe, text: str) -> NDArray[np.bool_]:
    """Which judged tags a prompt asks for [T], whatever form they are written in."""
    names = {tag for _, tag in prompt_tags(text)}
    return np.array([name in names for name, _ in probe.judged.tags], dtype=np.bool_)
