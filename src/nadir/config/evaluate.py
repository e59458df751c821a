"""`evaluate`: which images are made and what is measured on them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nadir.config.base import Section
from nadir.config.networks import NetworksParams
from nadir.diffusion.names import SamplerName, Spacing
from nadir.diffusion.sdxl import VAE_FACTOR


class BrightnessProbe(Section):
    """A prompt whose brightness is known, for the zero-terminal-SNR check."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    """Name in tables and plots."""
    prompt: str
    """What is asked for."""
    target: Annotated[float, Field(ge=0, le=1)]
    """Luminance (0-1) that the measured region should have."""
    region: Literal["whole", "border"]
    """`whole` image, or its `border` where the background shows."""


class ColourBinding(Section):
    """Two groups of tags that are asked for together, each with each: are colours mixed up."""

    prompt: str
    """Tags that every prompt of the test begins with."""
    first: Annotated[tuple[str, ...], Field(min_length=2, max_length=3)]
    """Tags of one thing, such as colours of hair."""
    second: Annotated[tuple[str, ...], Field(min_length=2, max_length=3)]
    """Tags of another thing, such as colours of the background."""


Side = Annotated[int, Field(ge=2 * VAE_FACTOR, multiple_of=VAE_FACTOR)]


class EvaluateParams(Section):
    """The protocol; its hash is the `protocol_id` that makes two reports comparable."""

    cfg_scales: Annotated[tuple[float, ...], Field(min_length=1)]
    """Guidance scales; the paper's range is 3.5 to 5, SDXL's usual 7.5."""
    guidance_rescale: Annotated[float, Field(ge=0, le=1)]
    """phi of CFG rescale (Lin et al. §3.4); 0 is off."""
    sampler: SamplerName
    """Sampler; the first step from infinite sigma is exact in all of them."""
    spacing: Spacing
    """Timestep spacing; all of these start at the last timestep."""
    steps: Annotated[int, Field(ge=2)]
    """Sampling steps."""
    width_px: Annotated[int, Field(ge=2 * VAE_FACTOR, multiple_of=VAE_FACTOR)]
    """Width of the images."""
    height_px: Annotated[int, Field(ge=2 * VAE_FACTOR, multiple_of=VAE_FACTOR)]
    """Height of the images."""
    batch_size: Annotated[int, Field(ge=1)]
    """Images per network call."""
    prompts: Annotated[tuple[str, ...], Field(min_length=1)]
    """Prompts of the sample grid."""
    holdout_prompts: Annotated[int, Field(ge=0)]
    """Further prompts, taken from the captions of held-out images."""
    brightness: Annotated[tuple[BrightnessProbe, ...], Field(min_length=1)]
    """Prompts with a known brightness."""
    brightness_ladder: tuple[BrightnessProbe, ...]
    """Levels between those of `brightness`, for the slope from asked to drawn; may be empty."""
    colour_binding: ColourBinding | None
    """Colours of two things asked for together; null draws none."""
    canvases: tuple[tuple[Side, Side], ...]
    """Widths and heights of other canvases, wide and tall, on which `brightness` is asked again."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    """Noise seeds; every prompt is drawn once per seed and scale."""
    loss_images: Annotated[int, Field(ge=1)]
    """Held-out images for the loss by noise level."""
    decision_cfg: Annotated[float, Field(gt=0)]
    """The scale the promotion gate reads; one of `cfg_scales`."""
    max_brightness_error: Annotated[float, Field(gt=0)]
    """Gate: root-mean-square brightness error at `decision_cfg` above this is rejected."""
    networks: NetworksParams
    """Trained networks of others that look at pictures, each with its path and sha256."""

    @model_validator(mode="after")
    def _names_are_clear(self) -> EvaluateParams:
        faults = []
        if self.decision_cfg not in self.cfg_scales:
            faults.append("decision_cfg must be one of evaluate.cfg_scales")
        lists = {
            "cfg_scales": self.cfg_scales,
            "prompts": self.prompts,
            "seeds": self.seeds,
            "ids in brightness and brightness_ladder": tuple(
                probe.id for probe in (*self.brightness, *self.brightness_ladder)
            ),
            "canvases": self.canvases,
        }
        faults += [
            f"{name} must not repeat an entry"
            for name, entries in lists.items()
            if len(set(entries)) < len(entries)
        ]
        if faults:
            raise ValueError("; ".join(faults))
        return self
