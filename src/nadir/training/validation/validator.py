"""Held-out error of the weights that would be published, by band of sigma and rarity of tags."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nadir.data.tables import TAGS, read_table
from nadir.heldout.images import load_heldout, loss_batches, unet_function
from nadir.heldout.losses import loss_values
from nadir.sampling.prompt_encodings import PromptEncodings
from nadir.training.validation.levels import band_timesteps
from nadir.training.validation.rarity import rarity_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from diffusers import UNet2DConditionModel

    from nadir.config.noise import NoiseParams
    from nadir.config.train import TrainParams
    from nadir.diffusion.schedule import NoiseSchedule
    from nadir.heldout.images import HeldOutImage
    from nadir.model.sdxl.scaling import LatentScaling
    from nadir.model.sdxl.text import TextEncoder

NO_HOLDOUT = (
    "no held-out image has latents, so the held-out error is not measured; "
    "set validate.holdout_share above 0 or add images"
)
_MOST_AT_ONCE = 16


@dataclass(frozen=True)
class Validator:
    """Measures always the same images with the same noise, which depends on the image alone.

    Attributes:
        images: Held-out images.
        encodings: Makes their captions' text states, which for frozen text encoders are kept.
        scaling: Normalises latents.
        schedule: The training schedule.
        prediction: What the network predicts.
        timesteps: Of each band.
        groups: sha256 of the images by rarity of their tags.
        batch_size: Images at once.
        mean_error: What always guessing the mean of each latent channel gets at any level.
    """

    images: Sequence[HeldOutImage]
    encodings: Callable[[], PromptEncodings]
    scaling: LatentScaling
    schedule: NoiseSchedule
    prediction: str
    timesteps: Mapping[str, list[float]]
    groups: Mapping[str, list[str]]
    batch_size: int
    mean_error: float

    @torch.no_grad()
    def measure(self, unet: UNet2DConditionModel) -> dict[str, float]:
        """Mean squared error of x0 with the network's present weights, on its device.

        Returns:
            By band of sigma (`high_sigma` ...) and, over all levels, by rarity of tags
            (`tail_tags` ...), where it is finite. It means the same for every prediction.
        """
        was_training = unet.training
        unet.eval()
        errors = self._errors(unet)
        unet.train(was_training)
        values = {
            band: _mean(errors[image.sha256, t] for image in self.images for t in timesteps)
            for band, timesteps in self.timesteps.items()
        }
        levels = [t for timesteps in self.timesteps.values() for t in timesteps]
        values |= {
            group: _mean(errors[name, t] for name in names for t in levels)
            for group, names in self.groups.items()
        }
        return {name: value for name, value in values.items() if math.isfinite(value)}

    def _errors(self, unet: UNet2DConditionModel) -> dict[tuple[str, float], float]:
        """x0 error by image and timestep."""
        network = unet_function(unet)
        batches = loss_batches(
            self.images,
            scaling=self.scaling,
            encodings=self.encodings(),
            batch_size=self.batch_size,
            device=unet.device,
        )
        levels = [t for timesteps in self.timesteps.values() for t in timesteps]
        return {
            (value.image, value.timestep): value.x0_mse
            for batch in batches
            for value in loss_values(network, batch, self.schedule, self.prediction, levels)
        }


def load_validator(
    data: Path,
    params: TrainParams,
    *,
    noise: NoiseParams,
    schedule: NoiseSchedule,
    scaling: LatentScaling,
    text: TextEncoder,
) -> Validator | None:
    """What measures the held-out images of a project.

    Args:
        data: Folder of manifest, tag table and latents.
        params: `params.yaml` train; `validation.every` above 0.
        noise: What the network predicts.
        schedule: Made from `noise`.
        scaling: Normalises latents.
        text: Text encoders; frozen ones are asked once, here.

    Returns:
        None where no held-out image has a latent.
    """
    images = load_heldout(
        manifest=data / "manifest.parquet",
        tags=data / "tags.parquet",
        latents=data / "latents",
        captions=params.caption,
        limit=params.validation.images,
    )
    if not images:
        return None
    return Validator(
        images=images,
        encodings=_encodings(text, params, [image.caption for image in images]),
        scaling=scaling,
        schedule=schedule,
        prediction=noise.prediction,
        timesteps=band_timesteps(schedule, params.validation.levels),
        groups=rarity_groups(images, _document_frequency(data / "tags.parquet")),
        batch_size=min(params.batch_size // params.gradient_accumulation, _MOST_AT_ONCE),
        mean_error=_error_of_the_mean(images, scaling),
    )


def _encodings(
    text: TextEncoder, params: TrainParams, captions: Sequence[str]
) -> Callable[[], PromptEncodings]:
    """Where text encoders are trained, their states are made anew for each measurement."""
    if params.text_encoders:
        return lambda: PromptEncodings(text, params.caption, as_written=captions)
    known = PromptEncodings(text, params.caption, as_written=captions)
    for caption in captions:
        known.get([caption])
    return lambda: known


def _document_frequency(tags: Path) -> dict[tuple[str, str], float]:
    table = read_table(tags, TAGS, ["tag", "class", "document_frequency"])
    columns = (table[name].to_pylist() for name in ("tag", "class", "document_frequency"))
    return {(tag, kind): frequency for tag, kind, frequency in zip(*columns, strict=True)}


def _error_of_the_mean(images: Sequence[HeldOutImage], scaling: LatentScaling) -> float:
    """Mean squared distance of each image to the channels' mean over the other images."""
    latents = [scaling.normalise(image.latents_CHW[None])[0].double() for image in images]
    means_NC = torch.stack([one.mean(dim=(1, 2)) for one in latents])
    others = max(len(latents) - 1, 1)
    guesses_NC = (means_NC.sum(dim=0) - means_NC) / others
    return _mean(
        float((one - guess_C[:, None, None]).square().mean())
        for one, guess_C in zip(latents, guesses_NC, strict=True)
    )


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
