"""Prompts to images: one loop for evaluation, the command line, previews and serving.

The first noise of an image is a pure function of its prompt and seed, made on the CPU in float32.
It does not depend on the CFG scale, the checkpoint, the device or the batch, so pictures can be
compared one by one.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from nadir.ground.chance import seed_of
from nadir.ground.pages.pictures import with_facts
from nadir.sampling.decode import decode, pixel_array, to_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from diffusers import StableDiffusionXLPipeline
    from numpy.typing import NDArray
    from PIL import Image

    from nadir.sampling.kept_latents import KeptLatents
    from nadir.sampling.prompt_encodings import PromptEncodings


@dataclass(frozen=True)
class Drawing:
    """One image and what is known about it before it is turned into bytes.

    Attributes:
        prompt: What was asked for.
        seed: Noise seed.
        cfg_scale: Guidance scale.
        pixels_CHW: float32 RGB in 0-1; non-finite values are replaced by 0.
        latents_finite: Whether the sampler's result held only finite numbers.
        pixels_finite: Whether the decoder's result did.
        sampling: Steps, guidance rescale and the sampler's own facts, its schedule among them; the
            negative prompt where there was one.
    """

    prompt: str
    seed: int
    cfg_scale: float
    pixels_CHW: NDArray[np.float32]
    latents_finite: bool
    pixels_finite: bool
    sampling: Mapping[str, Any]

    @property
    def image(self) -> Image.Image:
        """The picture in 8 bits, rounded to the nearest level; its PNG files say how it was drawn.

        `ground.pictures.read_facts` reads that back.
        """
        return with_facts(to_image(self.pixels_CHW), self.facts)

    @property
    def facts(self) -> dict[str, Any]:
        """How it was drawn."""
        asked = {"prompt": self.prompt, "seed": self.seed, "cfg_scale": self.cfg_scale}
        return asked | dict(self.sampling)


def noise_seed(prompt: str, seed: int, purpose: str = "start") -> int:
    """The number that seeds an image's noise: 63 bits of a hash of prompt, seed and purpose."""
    return seed_of(f"{purpose}\0{seed}\0{prompt}")


def start_noise(prompt: str, seed: int, shape: tuple[int, int, int]) -> torch.Tensor:
    """Standard normal float32 noise [C, h, w] on the CPU."""
    generator = torch.Generator("cpu").manual_seed(noise_seed(prompt, seed))
    return torch.randn(shape, generator=generator, dtype=torch.float32)


def generate(  # noqa: PLR0913 - each is a setting of its own
    pipeline: StableDiffusionXLPipeline,
    requests: Sequence[tuple[str, int]],
    *,
    encodings: PromptEncodings,
    cfg_scale: float,
    steps: int,
    size: tuple[int, int],
    negative: str = "",
    guidance_rescale: float = 0.0,
    batch_size: int = 8,
    kept: KeptLatents | None = None,
) -> Iterator[Drawing]:
    """Draw each (prompt, seed) at one CFG scale, in batches, in order.

    Draws from one pipeline may run at the same time: each takes its own steps.

    Args:
        pipeline: From `model.checkpoint.load_pipeline`; its scheduler is the sampler.
        requests: (prompt, seed) of each image.
        encodings: Shared between calls, so that a prompt is encoded once.
        cfg_scale: Guidance scale; at 1 and below `negative` is without effect.
        steps: Sampling steps.
        size: Width and height in pixels, multiples of the VAE's factor.
        negative: What guidance leads away from; the empty prompt is the unconditional side.
        guidance_rescale: phi of CFG rescale; 0 is off.
        batch_size: Images per call of the network.
        kept: Where latents are kept, and taken from when they were drawn before.

    Yields:
        One `Drawing` per request.
    """
    pipeline = _own(pipeline)
    claimed = encodings.original_size or size
    taken = {"steps": steps, "guidance_rescale": guidance_rescale, **pipeline.scheduler.facts}
    if negative:
        taken["negative_prompt"] = negative
    for start in range(0, len(requests), batch_size):
        batch = requests[start : start + batch_size]

        def draw(batch: Sequence[tuple[str, int]] = batch) -> torch.Tensor:
            return _latents(pipeline, batch, encodings, size, claimed, cfg_scale, taken)

        if kept is None:
            latents_BCHW = draw()
        else:
            asked = [*([text, seed] for text, seed in batch), cfg_scale, *size, *claimed, taken]
            latents_BCHW = kept.batch(asked, draw).to(pipeline.unet.device)
        yield from _decoded(pipeline, batch, cfg_scale, latents_BCHW, taken)


def _latents(
    pipeline: StableDiffusionXLPipeline,
    batch: Sequence[tuple[str, int]],
    encodings: PromptEncodings,
    size: tuple[int, int],
    claimed: tuple[int, int],
    cfg_scale: float,
    taken: Mapping[str, Any],
) -> torch.Tensor:
    """One batch through the sampler."""
    latents_BCHW: torch.Tensor = pipeline(
        **_conditioning(pipeline, batch, encodings, taken.get("negative_prompt", "")),
        latents=_start(pipeline, batch, size),
        generator=_step_generators(batch),
        width=size[0],
        height=size[1],
        original_size=claimed[::-1],
        target_size=size[::-1],
        num_inference_steps=taken["steps"],
        guidance_scale=cfg_scale,
        guidance_rescale=taken["guidance_rescale"],
        output_type="latent",
    ).images
    return latents_BCHW


def _own(pipeline: StableDiffusionXLPipeline) -> StableDiffusionXLPipeline:
    """The same networks with a sampler and settings of a call that no other call changes."""
    own = copy.copy(pipeline)
    # What a run makes of itself is made anew when it begins.
    own.scheduler = copy.copy(pipeline.scheduler)
    return own


def _conditioning(
    pipeline: StableDiffusionXLPipeline,
    batch: Sequence[tuple[str, int]],
    encodings: PromptEncodings,
    negative: str,
) -> dict[str, Any]:
    hidden_BSD, pooled_BP = encodings.get([prompt for prompt, _ in batch])
    away_BSD, away_BP = encodings.get([negative] * len(batch))
    tensors = {
        "prompt_embeds": hidden_BSD,
        "pooled_prompt_embeds": pooled_BP,
        "negative_prompt_embeds": away_BSD,
        "negative_pooled_prompt_embeds": away_BP,
    }
    unet = pipeline.unet
    return {name: tensor.to(unet.device, unet.dtype) for name, tensor in tensors.items()}


def _start(
    pipeline: StableDiffusionXLPipeline, batch: Sequence[tuple[str, int]], size: tuple[int, int]
) -> torch.Tensor:
    factor = pipeline.vae_scale_factor
    shape = (pipeline.unet.config.in_channels, size[1] // factor, size[0] // factor)
    noise_BCHW = torch.stack([start_noise(prompt, seed, shape) for prompt, seed in batch])
    return noise_BCHW.to(pipeline.unet.device, pipeline.unet.dtype)


def _step_generators(batch: Sequence[tuple[str, int]]) -> list[torch.Generator]:
    """One generator per image, for samplers that add noise at each step."""
    seeds = [noise_seed(prompt, seed, "steps") for prompt, seed in batch]
    return [torch.Generator("cpu").manual_seed(value) for value in seeds]


def _decoded(
    pipeline: StableDiffusionXLPipeline,
    batch: Sequence[tuple[str, int]],
    cfg_scale: float,
    latents_BCHW: torch.Tensor,
    sampling: Mapping[str, Any],
) -> Iterator[Drawing]:
    raw_BCHW = decode(pipeline, latents_BCHW)
    for index, (prompt, seed) in enumerate(batch):
        yield Drawing(
            prompt=prompt,
            seed=seed,
            cfg_scale=cfg_scale,
            pixels_CHW=pixel_array(raw_BCHW[index]),
            latents_finite=bool(latents_BCHW[index].isfinite().all()),
            pixels_finite=bool(raw_BCHW[index].isfinite().all()),
            sampling=sampling,
        )
