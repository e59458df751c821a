"""CLIP score: how close picture and prompt are, whole prompts however long they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metric import PromptMean
from nadir.evaluation.metrics.networks.base import not_given
from nadir.evaluation.report.sections import CONTENT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nadir.evaluation.subject import Subject
    from nadir.evaluation.values import Drawn


class ClipScore(PromptMean):
    """100 × cosine of a picture and its prompt, not below 0 (Hessel et al., 2104.08718).

    CLIP reads 77 tokens. A longer prompt is parted at commas, each part is read, and the mean of
    their vectors stands for it; underscores are written as spaces.
    """

    name = "clip_score"
    title = "CLIP score"
    unit = "100 x cosine; prompts in parts of 75 tokens, never cut"
    direction = "higher"
    meaning = (
        "How close pictures are to their prompts by CLIP. It rises with guidance and was not made "
        "for tags: read it as a trend, at one scale."
    )
    section = CONTENT

    def prepare(self, subject: Subject) -> None:
        """Read CLIP."""
        self._clip = subject.networks.clip
        self._texts: dict[str, NDArray[np.float64]] = {}
        if self._clip is not None:
            self._clip.text("a test")

    def not_run(self, subject: Subject) -> str | None:
        """Without weights."""
        return not_given(subject, "clip")

    def see(self, drawn: Drawn) -> NDArray[np.float64] | None:
        """The score of each image; a probe of brightness asks for too little to count."""
        if self._clip is None or drawn.prompt.kind not in {"fixed", "holdout"}:
            return None
        text = drawn.prompt.text.replace("_", " ")
        if text not in self._texts:
            self._texts[text] = self._clip.text(text)
        cosines_N = self._clip.pictures(drawn.images_NCHW) @ self._texts[text]
        score: NDArray[np.float64] = 100 * np.clip(cosines_N, 0, None)
        return score
