"""The checkpoint under evaluation, with what is known about its data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from nadir.evaluation.networks.loaded import Networks
from nadir.evaluation.reals.colours import ColourMap, thumbnails
from nadir.evaluation.reals.pictures import (
    MIN_HELD_OUT,
    MIN_TRAINING,
    MOST_HELD_OUT,
    MOST_TRAINING,
    PictureSet,
    RealPictures,
)
from nadir.heldout.images import latents_of, loss_batches, unet_function
from nadir.heldout.losses import loss_values
from nadir.heldout.thumbnails import load_thumbnails, tag_rarity
from nadir.sampling.decode import decode, pixel_array

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from diffusers import StableDiffusionXLPipeline
    from numpy.typing import NDArray

    from nadir.config.evaluate import EvaluateParams
    from nadir.diffusion.schedule import NoiseSchedule
    from nadir.evaluation.protocol import EvalPlan
    from nadir.heldout.images import HeldOutImage
    from nadir.heldout.losses import LossValue
    from nadir.heldout.thumbnails import LatentThumbnails, Tag
    from nadir.model.sdxl.scaling import LatentScaling
    from nadir.sampling.prompt_encodings import PromptEncodings


# Enough for a map of four numbers to three, at 256 cells an image.
_MAP_IMAGES = 8


@dataclass(frozen=True)
class RealLatents:
    """Latents of the project's images, from which metrics learn what real pictures look like.

    Attributes:
        held_out: Of images that training never saw, in the order of `Subject.holdout`.
        training: Of images it was shown.
        rarity: `head`, `mid` or `tail` of each tag.
        folder: `data/latents`, where they lie whole; None where they cannot be looked up.
    """

    held_out: LatentThumbnails
    training: LatentThumbnails
    rarity: Mapping[Tag, str]
    folder: Path | None = None

    @classmethod
    def load(cls, *, manifest: Path, tags: Path, latents: Path) -> RealLatents:
        """As many of a dataset's images as metrics learn from; possibly none.

        Args:
            manifest: `data/manifest.parquet`.
            tags: `data/tags.parquet`.
            latents: Folder `data/latents`.
        """
        files = {"manifest": manifest, "tags": tags, "latents": latents}
        return cls(
            held_out=load_thumbnails(**files, split="holdout", limit=MOST_HELD_OUT),
            training=load_thumbnails(**files, split="train", limit=MOST_TRAINING),
            rarity=tag_rarity(tags),
            folder=latents,
        )


@dataclass(frozen=True)
class Subject:
    """What is evaluated, and by which plan.

    Attributes:
        pipeline: The checkpoint with the plan's sampler, from `model.checkpoint.load_pipeline`.
        plan: What to draw.
        params: Section `evaluate`, for batch size and limits.
        scaling: The checkpoint's latent scaling.
        encodings: Its text conditioning.
        holdout: Held-out images; may be empty.
        known: Tags of the training images, from `known_tags`.
        real_latents: More real images than `holdout`, shrunk; None where there are none.
    """

    pipeline: StableDiffusionXLPipeline
    plan: EvalPlan
    params: EvaluateParams
    scaling: LatentScaling
    encodings: PromptEncodings
    holdout: Sequence[HeldOutImage]
    known: Collection[str]
    real_latents: RealLatents | None = None

    @property
    def schedule(self) -> NoiseSchedule:
        """The checkpoint's own schedule, which the sampler and the losses are on."""
        schedule: NoiseSchedule = self.pipeline.scheduler.schedule
        return schedule

    @cached_property
    def networks(self) -> Networks:
        """Networks of others that look at pictures; each is read when first asked for."""
        return Networks(self.params.networks, device=self.pipeline.unet.device)

    @cached_property
    def losses(self) -> list[LossValue]:
        """Errors of the held-out images at each noise level; measured when first asked for."""
        return self._losses(self.holdout, noise=0)

    @cached_property
    def losses_again(self) -> list[LossValue]:
        """Those of the first images once more, with other noise: what is only chance.

        A few suffice to know how much that is, and cost little beside the rest.
        """
        return self._losses(self.holdout[: math.ceil(len(self.holdout) / 4)], noise=1)

    def _losses(self, images: Sequence[HeldOutImage], *, noise: int) -> list[LossValue]:
        unet, sampler = unet_function(self.pipeline.unet), self.pipeline.scheduler
        batches = loss_batches(
            images,
            scaling=self.scaling,
            encodings=self.encodings,
            batch_size=self.params.batch_size,
            device=self.pipeline.unet.device,
        )
        unit_C = self._unit()
        return [
            value
            for batch in batches
            for value in loss_values(
                unet,
                batch,
                sampler.schedule,
                sampler.prediction,
                noise=noise,
                unit_C=unit_C,
                at_once=self.params.batch_size,
            )
        ]

    @cached_property
    def reals(self) -> RealPictures | None:
        """The project's images as pictures of this VAE; None when there are too few."""
        found = self.real_latents
        if found is None or not self.holdout:
            return None
        if len(found.held_out.ids) < MIN_HELD_OUT or len(found.training.ids) < MIN_TRAINING:
            return None
        some = {image.sha256: self.pixels(image) for image in self.holdout[:_MAP_IMAGES]}
        places = [place for place, name in enumerate(found.held_out.ids) if name in some]
        decoded = [thumbnails(some[found.held_out.ids[place]][None]) for place in places]
        colours = ColourMap(found.held_out.cells_NCSS[places], np.concatenate(decoded))
        held_out, training = (
            PictureSet(part.ids, part.tags, colours(part.cells_NCSS))
            for part in (found.held_out, found.training)
        )
        return RealPictures(held_out, training, found.rarity)

    def _unit(self) -> torch.Tensor | None:
        """From the checkpoint's normalised latents to those of the plan; None where one is both."""
        units = self.plan.latent_std
        own = self.scaling.channel_stds(len(units))
        if not units or own == units:
            return None
        factors = [mine / unit for mine, unit in zip(own, units, strict=True)]
        return torch.tensor(factors, device=self.pipeline.unet.device)

    def pixels(self, image: HeldOutImage) -> NDArray[np.float32]:
        """A held-out image [3, H, W] in 0-1 through the VAE, which bounds what can be drawn."""
        return self._rendered(image.latents_CHW)

    def real_pixels(self, hashes: Collection[str]) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Real images by sha256 as `pixels` has them, one after the other: they are large."""
        if self.real_latents is None or self.real_latents.folder is None:
            return
        for sha256, latents_CHW in latents_of(self.real_latents.folder, hashes).items():
            yield sha256, self._rendered(latents_CHW)

    def _rendered(self, latents_CHW: torch.Tensor) -> NDArray[np.float32]:
        latents_NCHW = self.scaling.normalise(latents_CHW[None])
        return pixel_array(decode(self.pipeline, latents_NCHW.to(self.pipeline.unet.device))[0])
