"""Tag precision: what is in the picture though nobody asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.evaluation.metric import PromptMean
from nadir.evaluation.metrics.tags.asked import Look
from nadir.evaluation.reals.probe import image_precision
from nadir.evaluation.report.sections import CONTENT
from nadir.ground.pages.charts import Level

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nadir.evaluation.subject import Subject
    from nadir.evaluation.values import Drawn


class TagPrecision(PromptMean):
    """Share of the tags seen in a picture that were asked for, over that in real images.

    Only captions of held-out images say all that should be there. 64 images are enough for ±0.05.
    """

    name = "tag_precision"
    title = "Tag precision"
    unit = "share of seen tags, over that in real images"
    direction = "higher"
    meaning = (
        "How many of the tags that the probe sees were asked for, over the same in real images. "
        "Below 1 there are things in the pictures that no one asked for."
    )
    needs = frozenset({"references", "reals"})
    section = CONTENT
    level = Level(1.0, "as in real images")

    def prepare(self, subject: Subject) -> None:
        """Train the probe, if no other metric did."""
        self._look = Look(subject.reals.probe, subject) if subject.reals else None

    def see(self, drawn: Drawn) -> NDArray[np.float64] | None:
        """Relative precision of each image."""
        if self._look is None or not self._look.probe.judged.precision > 0:
            return None
        seen = self._look(drawn)
        asked_NT = seen.asked_T[None].repeat(len(seen.margins_NT), axis=0)
        return image_precision(seen.seen, asked_NT) / self._look.probe.judged.precision
