"""Images to rows: each image is measured when it is drawn, so few are held at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.values import Drawn, Row
from nadir.sampling.decode import to_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL import Image

    from nadir.evaluation.metric import Metric
    from nadir.evaluation.protocol import EvalPrompt
    from nadir.sampling.generate import Drawing

# Pictures are kept for sheets and the report; larger ones are shrunk to this side.
KEPT_SIDE_PX = 384


class Measurements:
    """What was measured on the drawings so far.

    Args:
        metrics: What is shown every image; each sees the references first.

    Attributes:
        rows: One per image and metric.
        pictures: By (scale, prompt id, seed).
        references: Held-out images behind prompts, by prompt id.
        flags: (latents_finite, pixels_finite) of each image.
    """

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self.rows: list[Row] = []
        self.pictures: dict[tuple[float, str, int], Image.Image] = {}
        self.references: dict[str, Image.Image] = {}
        self.flags: list[tuple[bool, bool]] = []
        self._metrics = metrics

    def add_reference(self, prompt_id: str, pixels_CHW: NDArray[np.float32]) -> None:
        """Show the metrics the held-out image behind a prompt: RGB in 0-1 through the VAE."""
        self.references[prompt_id] = _kept(to_image(pixels_CHW))
        for metric in self._metrics:
            metric.see_reference(prompt_id, pixels_CHW)

    def add(self, prompt: EvalPrompt, drawings: Sequence[Drawing]) -> None:
        """Measure the drawings of one prompt at one scale, one per seed.

        Images with a non-finite value are counted and shown, but not measured.
        """
        for drawing in drawings:
            self.flags.append((drawing.latents_finite, drawing.pixels_finite))
            self.pictures[drawing.cfg_scale, prompt.id, drawing.seed] = _kept(drawing.image)
        sound = [d for d in drawings if d.latents_finite and d.pixels_finite]
        if not sound:
            return
        images_NCHW = np.stack([drawing.pixels_CHW for drawing in sound])
        drawn = Drawn(
            prompt, sound[0].cfg_scale, images_NCHW, tuple(drawing.seed for drawing in sound)
        )
        for metric in self._metrics:
            found = metric.see(drawn) if self._concerns(metric, prompt) else None
            if found is None:
                continue
            parts = found if isinstance(found, Mapping) else {metric.name: found}
            for name, values_N in parts.items():
                self.rows += _rows(name, prompt, sound, values_N)

    def _concerns(self, metric: Metric, prompt: EvalPrompt) -> bool:
        """Whether the prompt has what the metric needs of one."""
        has = {"references": prompt.id in self.references, "targets": prompt.target is not None}
        return all(has.get(need, True) for need in metric.needs)


def _rows(
    metric: str, prompt: EvalPrompt, drawings: Sequence[Drawing], values_N: NDArray[np.float64]
) -> list[Row]:
    return [
        Row(drawing.cfg_scale, prompt.id, drawing.seed, metric, float(value))
        for drawing, value in zip(drawings, values_N, strict=True)
        if np.isfinite(value)
    ]


def _kept(picture: Image.Image) -> Image.Image:
    picture.thumbnail((KEPT_SIDE_PX, KEPT_SIDE_PX))
    return picture
