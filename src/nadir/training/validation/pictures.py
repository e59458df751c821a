"""Pixels that are exactly black or white: how many previews have, and real images like them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nadir.data.tags.written import prompt_tags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from numpy.typing import NDArray
    from PIL.Image import Image

    from nadir.data.latents.store import LatentReader
    from nadir.model.sdxl.scaling import LatentScaling
    from nadir.training.samples import Samples

_LIKE_A_PROMPT = 4


def extreme_share(image: Image) -> float:
    """Share of an RGB picture's pixels that are exactly black or exactly white, 0 to 1."""
    pixels_HWC = np.asarray(image)
    extreme_HW = (pixels_HWC == 0).all(axis=2) | (pixels_HWC == 255).all(axis=2)
    return float(extreme_HW.mean())


@dataclass(frozen=True)
class RealPictures:
    """Training images that have most tags in common with the preview prompts.

    Attributes:
        samples: The training images.
        reader: Their latents.
        scaling: Normalises latents.
        prompts: What previews ask for.
    """

    samples: Samples
    reader: LatentReader
    scaling: LatentScaling
    prompts: Sequence[str]

    def extreme_share(self, decode: Callable[[torch.Tensor], Image]) -> float:
        """Mean over prompts of the greatest share among the images like it.

        A prompt for a black background has many black pixels by right, so each is compared with
        its own.

        Args:
            decode: From a normalised latent [C, h, w] to a picture.
        """
        greatest = []
        for prompt in self.prompts:
            latents = (self.reader.rows([row])[0].float() for row in self._positions(prompt))
            pictures = (decode(self.scaling.normalise(one[None])[0]) for one in latents)
            greatest.append(max(extreme_share(picture) for picture in pictures))
        return sum(greatest) / len(greatest)

    def _positions(self, prompt: str) -> NDArray[np.int64]:
        """Rows in the latent index of the few images most like a prompt, the first among equals."""
        names = {tag for _, tag in prompt_tags(prompt, self.samples.aliases)}
        wanted = [row for row, (name, _) in enumerate(self.samples.tag_names) if name in names]
        uses = self.samples.tags
        asked = uses.images()[np.isin(uses.rows, wanted)]
        common = np.bincount(asked, minlength=len(uses))[self.samples.tag_images_N]
        # Each image once, at its largest.
        common = np.where(self.samples.is_largest, common, -1)
        chosen = np.argsort(-common, kind="stable")[:_LIKE_A_PROMPT]
        return self.samples.positions_N[chosen]
