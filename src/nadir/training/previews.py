"""Small images drawn while training goes on, from the weights that would be published now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers import StableDiffusionXLPipeline

from nadir.data.tags.captions import write_prompt
from nadir.diffusion.samplers import make_sampler
from nadir.ground.chance import Stream, generator
from nadir.ground.pictures import with_facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffusers import AutoencoderKL, UNet2DConditionModel
    from PIL.Image import Image

    from nadir.config.train import TrainParams
    from nadir.diffusion.schedule import NoiseSchedule
    from nadir.model.sdxl.scaling import LatentScaling
    from nadir.model.sdxl.text import TextEncoder
    from nadir.training.loader import Samples

CFG_SCALE = 4.5
STEPS = 20


class Previews:
    """Draws the preview prompts; each keeps its own noise, so images of a run compare.

    The images come from the stock SDXL pipeline with the project's sampler on the training
    schedule, exactly as a checkpoint is sampled later.

    Args:
        params: Prompts, token chunks and seed.
        samples: The training images, for a canvas and an original size that the network knows.
        text: The frozen text encoders.
        vae: The base model's VAE.
        scaling: From the U-Net's latents to the VAE's.
        schedule: The training schedule.
        prediction: What the network predicts.
    """

    def __init__(
        self,
        params: TrainParams,
        samples: Samples,
        *,
        text: TextEncoder,
        vae: AutoencoderKL,
        scaling: LatentScaling,
        schedule: NoiseSchedule,
        prediction: str,
    ) -> None:
        self._prompts = params.preview_prompts
        self._captions = params.caption
        self._seed = params.seed
        self._canvas = samples.canvas
        self._original_size = samples.typical_original
        self._text = text
        self._vae = vae
        vae.register_to_config(**scaling.vae_config())
        self._sampler = make_sampler(schedule, prediction=prediction)

    @torch.no_grad()
    def draw(self, unet: UNet2DConditionModel) -> Iterator[tuple[str, Image]]:
        """Draw every prompt with `unet`'s present weights, on its device.

        Yields:
            Prompt and image; PNG files of the image say how it was drawn.
        """
        pipeline = self._pipeline(unet)
        written = [write_prompt(prompt, self._captions) for prompt in self._prompts]
        chunks = self._captions.token_chunks
        hidden_PSD, pooled_PP = self._text.encode(written, chunks)
        empty_1SD, empty_1P = self._text.encode([""], chunks)
        height, width = self._canvas
        was_training = unet.training
        unet.eval()
        for number, prompt in enumerate(self._prompts):
            images = pipeline(
                prompt_embeds=hidden_PSD[number : number + 1],
                pooled_prompt_embeds=pooled_PP[number : number + 1],
                negative_prompt_embeds=empty_1SD,
                negative_pooled_prompt_embeds=empty_1P,
                latents=self._noise(number, unet),
                height=height,
                width=width,
                original_size=self._original_size,
                target_size=self._canvas,
                guidance_scale=CFG_SCALE,
                num_inference_steps=STEPS,
            ).images
            yield prompt, with_facts(images[0], self._facts(prompt))
        unet.train(was_training)

    def _facts(self, prompt: str) -> dict[str, Any]:
        drawn = {"prompt": prompt, "cfg_scale": CFG_SCALE, "steps": STEPS}
        return drawn | self._sampler.facts

    def _pipeline(self, unet: UNet2DConditionModel) -> StableDiffusionXLPipeline:
        pipeline = StableDiffusionXLPipeline(
            vae=self._vae.to(unet.device),
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

    def _noise(self, number: int, unet: UNet2DConditionModel) -> torch.Tensor:
        """Noise of the prompt with this number, [1, C, h, w], the same at every step."""
        factor = 2 ** (len(self._vae.config.block_out_channels) - 1)
        height, width = (side // factor for side in self._canvas)
        rng = generator(self._seed, Stream.PREVIEW, 0, number)
        values = rng.standard_normal((1, unet.config.in_channels, height, width), dtype="float32")
        return torch.from_numpy(values).to(unet.device)
