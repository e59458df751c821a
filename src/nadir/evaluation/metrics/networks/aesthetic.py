"""A score of beauty by a network with one output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metric import PromptMean
from nadir.evaluation.metrics.networks.base import not_given
from nadir.evaluation.networks.pictures import squared
from nadir.evaluation.report.sections import CONTENT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nadir.evaluation.networks.onnx_file import OnnxFile
    from nadir.evaluation.subject import Subject
    from nadir.evaluation.values import Drawn

_USUAL_SIDE = 768


class Aesthetic(PromptMean):
    """The network's number: RGB in 0 to 1, in the middle of a black square, channels first."""

    name = "aesthetic_score"
    title = "Aesthetic score"
    unit = "of the network that is given"
    direction = "higher"
    meaning = (
        "What a network trained on people's preferences says. It tends to rise with guidance "
        "though pictures are burnt, so compare checkpoints at one scale, beside the gaps."
    )
    section = CONTENT

    def prepare(self, subject: Subject) -> None:
        """Read the network, and try it."""
        self._network = subject.networks.aesthetic
        if self._network is not None:
            self._side = self._network.picture_side("NCHW", usual=_USUAL_SIDE)
            self._scores(self._network, np.ones((1, 3, 8, 8), dtype=np.float32))

    def not_run(self, subject: Subject) -> str | None:
        """Without weights."""
        return not_given(subject, "aesthetic")

    def see(self, drawn: Drawn) -> NDArray[np.float64] | None:
        """The score of each image; probes of brightness are no pictures to like."""
        if self._network is None or drawn.prompt.kind not in {"fixed", "holdout"}:
            return None
        return self._scores(self._network, drawn.images_NCHW)

    def _scores(self, network: OnnxFile, images_NCHW: NDArray[np.float32]) -> NDArray[np.float64]:
        pixels = squared(images_NCHW, self._side, fill=0.0).numpy()
        return network(pixels, wide=1)[:, 0].astype(np.float64)
