"""Which of the tags that a prompt asks for the probe can judge, and what it sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nadir.data.tags.written import prompt_tags

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from nadir.evaluation.reals.probe import TagProbe
    from nadir.evaluation.subject import Subject
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


class Look:
    """Looks at drawn images through the probe.

    A held-out caption asks for the tags of its image, in whatever form or sentence it is written;
    another prompt for those that it names.
    """

    def __init__(self, probe: TagProbe, subject: Subject) -> None:
        self.probe = probe
        self._of_captions = {
            f"holdout_{image.id}": {name for name, _ in image.tags} for image in subject.holdout
        }

    def __call__(self, drawn: Drawn) -> Seen:
        """What the probe sees in the images of a prompt."""
        prompt = drawn.prompt
        names = self._of_captions.get(prompt.id) or {tag for _, tag in prompt_tags(prompt.text)}
        return Seen(
            drawn.cfg_scale,
            prompt.id,
            drawn.seeds,
            asked(self.probe, names),
            self.probe.margins(drawn.features.layout_NF),
        )


def asked(probe: TagProbe, names: Collection[str]) -> NDArray[np.bool_]:
    """Which judged tags are among some names [T]."""
    return np.array([name in names for name, _ in probe.judged.tags], dtype=np.bool_)
