"""Images to rows: each image is measured when it is drawn, so few are held at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metrics.brightness import region_luminance
from nadir.evaluation.metrics.burn import chroma, clip_fraction, contrast
from nadir.evaluation.metrics.diversity import low_pass, seed_distance
from nadir.evaluation.metrics.spectrum import log_power
from nadir.evaluation.pixels import to_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL import Image

    from nadir.evaluation.generate import Drawing
    from nadir.evaluation.protocol import EvalPrompt

# Pictures are kept for sheets and the report; larger ones are shrunk to this side.
KEPT_SIDE_PX = 384


@dataclass(frozen=True)
class Row:
    """One value: of an image (its prompt and seed at a scale), or of a held-out image's loss.

    Attributes:
        cfg_scale: None for losses, which need no guidance.
        prompt_id: From the plan; `image_…` for losses.
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
class Reference:
    """The held-out image behind a prompt, seen through the VAE, as numbers."""

    chroma: float
    clip_fraction: float
    contrast: float
    log_power_B: NDArray[np.float64]
    picture: Image.Image


@dataclass
class Measurements:
    """What a run of drawings left behind.

    Attributes:
        rows: One per image and metric.
        spectra: By scale, log power of images that have a reference.
        pictures: By (scale, prompt id, seed).
        flags: (latents_finite, pixels_finite) of each image.
    """

    rows: list[Row] = field(default_factory=list)
    spectra: dict[float, list[NDArray[np.float64]]] = field(default_factory=dict)
    pictures: dict[tuple[float, str, int], Image.Image] = field(default_factory=dict)
    flags: list[tuple[bool, bool]] = field(default_factory=list)

    def add(
        self, prompt: EvalPrompt, drawings: Sequence[Drawing], reference: Reference | None
    ) -> None:
        """Measure the drawings of one prompt at one scale, one per seed.

        Images with a non-finite value are counted and shown, but not measured.
        """
        for drawing in drawings:
            scale = drawing.cfg_scale
            self.flags.append((drawing.latents_finite, drawing.pixels_finite))
            self.pictures[scale, prompt.id, drawing.seed] = _kept(drawing.image)
        sound = [d for d in drawings if d.latents_finite and d.pixels_finite]
        if not sound:
            return
        images_NCHW = np.stack([drawing.pixels_CHW for drawing in sound])
        values = _values(prompt, images_NCHW, reference)
        for metric, values_N in values.items():
            for drawing, value in zip(sound, values_N, strict=True):
                if np.isfinite(value):
                    row = Row(drawing.cfg_scale, prompt.id, drawing.seed, metric, float(value))
                    self.rows.append(row)
        if reference is not None:
            spectrum_NB = log_power(images_NCHW)
            self.spectra.setdefault(sound[0].cfg_scale, []).extend(spectrum_NB)


def reference_of(pixels_CHW: NDArray[np.float32]) -> Reference:
    """Measure a held-out image: float32 RGB in 0-1, decoded from its latents."""
    images_NCHW = pixels_CHW[None]
    return Reference(
        chroma=float(chroma(images_NCHW)[0]),
        clip_fraction=float(clip_fraction(images_NCHW)[0]),
        contrast=float(contrast(images_NCHW)[0]),
        log_power_B=log_power(images_NCHW)[0],
        picture=_kept(to_image(pixels_CHW)),
    )


def _values(
    prompt: EvalPrompt, images_NCHW: NDArray[np.float32], reference: Reference | None
) -> dict[str, NDArray[np.float64]]:
    values = {
        "luminance": region_luminance(images_NCHW, prompt.region or "whole"),
        "chroma": chroma(images_NCHW),
        "clip_fraction": clip_fraction(images_NCHW),
        "contrast": contrast(images_NCHW),
    }
    if reference is not None:
        values["chroma_gap"] = values["chroma"] - reference.chroma
        values["clip_gap"] = values["clip_fraction"] - reference.clip_fraction
        values["contrast_gap"] = values["contrast"] - reference.contrast
    if prompt.target is not None:
        values["brightness_error"] = np.abs(values["luminance"] - prompt.target)
    else:
        values["diversity"] = seed_distance(low_pass(images_NCHW))
    return values


def _kept(picture: Image.Image) -> Image.Image:
    picture.thumbnail((KEPT_SIDE_PX, KEPT_SIDE_PX))
    return picture
