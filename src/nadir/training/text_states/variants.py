"""The caption of an image at a step: drawn anew, or one of a fixed number of variants."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from nadir.data.tags.captions import render_caption
from nadir.ground.chance import seed_of
from nadir.training.randomness import caption_rng

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.config.train import TrainParams
    from nadir.data.tags.captions import AboutImage, Tag


class CaptionDraw:
    """Draws captions by `train.caption` and `train.text_cache`.

    Args:
        params: Captions, variants and seed.
    """

    def __init__(self, params: TrainParams) -> None:
        self._params = params
        self._never_empty = params.caption.model_copy(update={"drop_all": 0.0})

    def at(self, step: int, place: int, sha256: str, tags: Sequence[Tag], about: AboutImage) -> str:
        """What training asks for.

        Args:
            step: Optimizer step, from 0.
            place: In the global batch.
            sha256: Of the image.
            tags: (name, class) of each of its tags.
            about: What else is known about it.
        """
        if self._params.text_cache is None:
            rng = caption_rng(self._params.seed, step, place)
            return render_caption(tags, self._params.caption, rng, about)
        number = self.number(step, place)
        return "" if number is None else self.variant(number, sha256, tags, about)

    def number(self, step: int, place: int) -> int | None:
        """Which variant is shown, each as often as any other; None is the empty prompt."""
        rng = caption_rng(self._params.seed, step, place)
        # The draw by which `render_caption` leaves all out, so the same images have no caption.
        if rng.random() < self._params.caption.drop_all:
            return None
        return rng.randrange(self._params.text_cache or 1)

    def variant(self, number: int, sha256: str, tags: Sequence[Tag], about: AboutImage) -> str:
        """One of an image's captions: a function of seed, image and number."""
        rng = random.Random(seed_of(f"caption/{self._params.seed}/{sha256}/{number}"))
        return render_caption(tags, self._never_empty, rng, about)
