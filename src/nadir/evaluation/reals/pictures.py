"""The real images of the project in the form in which metrics compare drawn ones with them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.reals.features import features
from nadir.evaluation.reals.probe import MOST_IMAGES, TagProbe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from nadir.evaluation.reals.features import Features
    from nadir.heldout.thumbnails import Tag

MIN_HELD_OUT, MIN_TRAINING = 16, 48
MOST_HELD_OUT, MOST_TRAINING = 1_000, 10_000
TOO_FEW = (
    f"it needs {MIN_HELD_OUT} held-out and {MIN_TRAINING} training images with latents; add images "
    "or raise validate.holdout_share"
)


@dataclass(frozen=True)
class PictureSet:
    """Some real images.

    Attributes:
        ids: sha256 [N].
        tags: Tags of each [N].
        thumbs_N3SS: Their thumbnails.
    """

    ids: Sequence[str]
    tags: Sequence[Sequence[Tag]]
    thumbs_N3SS: NDArray[np.float32]

    @cached_property
    def features(self) -> Features:
        """Their features; computed when first asked for."""
        return features(self.thumbs_N3SS)

    def first(self, count: int) -> PictureSet:
        """The first of them; which come first is by chance, for they are in order of hashes."""
        return PictureSet(self.ids[:count], self.tags[:count], self.thumbs_N3SS[:count])


@dataclass(frozen=True)
class RealPictures:
    """Real images, held out and trained on.

    Attributes:
        held_out: Images that training never saw, at most `MOST_HELD_OUT`.
        training: Images it was shown, at most `MOST_TRAINING`.
        rarity: `head`, `mid` or `tail` of each tag.
    """

    held_out: PictureSet
    training: PictureSet
    rarity: Mapping[Tag, str]

    @cached_property
    def probe(self) -> TagProbe:
        """A probe of tags; trained when first asked for."""
        some = self.training.first(max(MOST_IMAGES - len(self.held_out.ids), 0))
        parts = [self.held_out, some]
        layout_NF = np.concatenate([part.features.layout_NF for part in parts])
        return TagProbe(layout_NF, [tags for part in parts for tags in part.tags])
