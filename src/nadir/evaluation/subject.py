"""The checkpoint under evaluation, with what is known about its data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from nadir.heldout.images import loss_batches, unet_function
from nadir.heldout.losses import loss_values
from nadir.sampling.decode import decode, pixel_array

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy as np
    from diffusers import StableDiffusionXLPipeline
    from numpy.typing import NDArray

    from nadir.config.evaluate import EvaluateParams
    from nadir.diffusion.schedule import NoiseSchedule
    from nadir.evaluation.protocol import EvalPlan
    from nadir.heldout.images import HeldOutImage
    from nadir.heldout.losses import LossValue
    from nadir.model.sdxl.scaling import LatentScaling
    from nadir.sampling.generate import PromptEncodings


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
    """

    pipeline: StableDiffusionXLPipeline
    plan: EvalPlan
    params: EvaluateParams
    scaling: LatentScaling
    encodings: PromptEncodings
    holdout: Sequence[HeldOutImage]
    known: Collection[str]

    @property
    def schedule(self) -> NoiseSchedule:
        """The checkpoint's own schedule, which the sampler and the losses are on."""
        schedule: NoiseSchedule = self.pipeline.scheduler.schedule
        return schedule

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
                unet, batch, sampler.schedule, sampler.prediction, noise=noise, unit_C=unit_C
            )
        ]

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
        latents_NCHW = self.scaling.normalise(image.latents_CHW[None])
        return pixel_array(decode(self.pipeline, latents_NCHW.to(self.pipeline.unet.device))[0])
