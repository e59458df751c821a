"""Small images drawn while training goes on, from the weights that would be published now."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch
from diffusers import StableDiffusionXLPipeline

from nadir.diffusion.samplers import make_sampler
from nadir.model.checkpoint.folding import STOCK_SCALING, fold_scaling
from nadir.sampling.decode import decode_by, pixel_array, to_image
from nadir.sampling.generate import generate
from nadir.sampling.prompt_encodings import PromptEncodings
from nadir.training.validation.pictures import RealPictures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffusers import AutoencoderKL, UNet2DConditionModel
    from PIL.Image import Image

    from nadir.config.train import TrainParams
    from nadir.data.latents.store import LatentReader
    from nadir.diffusion.schedule import NoiseSchedule
    from nadir.model.sdxl.scaling import LatentScaling
    from nadir.model.sdxl.text import TextEncoder
    from nadir.training.samples import Samples

CFG_SCALE = 4.5
STEPS = 20


class Previews:
    """Draws the preview prompts; each keeps its own noise, so images of a run compare.

    They are drawn as a checkpoint is later: by the same loop, on the training schedule, through the
    VAE as it is published. The last ones equal what `nadir generate` makes of the same prompt and
    settings.

    Args:
        params: Prompts, captions and seed.
        samples: The training images, for a canvas and an original size that the network knows.
        reader: Latents of the training images, for comparison.
        text: The text encoders, which may change between two drawings.
        vae: The base model's VAE, which is changed in place.
        scaling: From the U-Net's latents to the VAE's.
        schedule: The training schedule.
        prediction: What the network predicts.
    """

    def __init__(
        self,
        params: TrainParams,
        samples: Samples,
        *,
        reader: LatentReader,
        text: TextEncoder,
        vae: AutoencoderKL,
        scaling: LatentScaling,
        schedule: NoiseSchedule,
        prediction: str,
    ) -> None:
        self._requests = [(prompt, params.seed) for prompt in params.preview_prompts]
        self._size = (samples.canvas[1], samples.canvas[0])
        height, width = samples.typical_original
        self._original_size, self._captions = (width, height), params.caption
        self._text = text
        self._aliases = samples.aliases
        self._real = RealPictures(samples, reader, scaling, params.preview_prompts)
        fold_scaling(vae, scaling)
        vae.register_to_config(**STOCK_SCALING.vae_config())
        self._vae = vae
        self._decodes_on_host = params.frozen_models == "host"
        self._sampler = make_sampler(schedule, prediction=prediction)

    @torch.no_grad()
    def draw(self, unet: UNet2DConditionModel) -> Iterator[tuple[str, Image]]:
        """Draw every prompt with `unet`'s present weights, on its device.

        Yields:
            Prompt and image; PNG files of the image say how it was drawn.
        """
        was_training = unet.training
        unet.eval()
        drawings = generate(
            self._pipeline(unet),
            self._requests,
            encodings=PromptEncodings(
                self._text, self._captions, self._original_size, aliases=self._aliases
            ),
            cfg_scale=CFG_SCALE,
            steps=STEPS,
            size=self._size,
            batch_size=1,  # so that a picture never depends on the other prompts
        )
        for drawing in drawings:
            yield drawing.prompt, drawing.image
        unet.train(was_training)

    @cached_property
    def real_extreme_share(self) -> float:
        """Share of exactly black or white pixels in real images like the prompts."""
        return self._real.extreme_share(self._decoded)

    def _decoded(self, latents_CHW: torch.Tensor) -> Image:
        """A real image's normalised latent as the published VAE shows it."""
        return to_image(pixel_array(decode_by(self._vae, latents_CHW[None])[0]))

    def _pipeline(self, unet: UNet2DConditionModel) -> StableDiffusionXLPipeline:
        pipeline = _Pipeline(
            vae=self._vae if self._decodes_on_host else self._vae.to(unet.device),
            text_encoder=self._text.text_encoder,
            text_encoder_2=self._text.text_encoder_2,
            tokenizer=self._text.tokenizer,
            tokenizer_2=self._text.tokenizer_2,
            unet=unet,
            scheduler=self._sampler,
            force_zeros_for_empty_prompt=False,
            add_watermarker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


class _Pipeline(StableDiffusionXLPipeline):  # type: ignore[misc]
    """Draws where the U-Net is; diffusers goes by the first network, which is the VAE."""

    @property
    def _execution_device(self) -> torch.device:
        device: torch.device = self.unet.device
        return device
