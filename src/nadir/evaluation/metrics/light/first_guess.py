"""What a model guesses of the clean image from pure noise, in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nadir.diffusion.prediction import to_x0
from nadir.heldout.images import unet_function
from nadir.sampling.generate import start_noise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.evaluation.protocol import EvalPrompt
    from nadir.evaluation.subject import Subject

Request = tuple["EvalPrompt", int]
"""A prompt and a seed."""


@torch.no_grad()
def first_guess(
    subject: Subject, requests: Sequence[Request], *, offset: float = 0.0
) -> torch.Tensor | None:
    """The clean latents [N, C, h, w], float32, that are guessed from pure noise without guidance.

    Args:
        subject: The checkpoint.
        requests: What is asked for.
        offset: Added to the unit noise.

    Returns:
        None for a model of epsilon at zero SNR, from which no guess follows.
    """
    pipeline, plan = subject.pipeline, subject.plan
    last = subject.schedule.num_timesteps - 1
    alpha = subject.schedule.alphas_cumprod[last]
    prediction = pipeline.scheduler.prediction
    if prediction == "epsilon" and not alpha > 0:
        return None
    unet, device = unet_function(pipeline.unet), pipeline.unet.device
    factor = pipeline.vae_scale_factor
    shape = (pipeline.unet.config.in_channels, plan.height_px // factor, plan.width_px // factor)
    width, height = plan.original_size
    sizes = (height, width, 0, 0, plan.height_px, plan.width_px)
    guesses = []
    for start in range(0, len(requests), subject.params.batch_size):
        part = requests[start : start + subject.params.batch_size]
        hidden_BSD, pooled_BP = subject.encodings.get([prompt.text for prompt, _ in part])
        noise_BCHW = torch.stack([start_noise(p.text, seed, shape) for p, seed in part]) + offset
        noisy_BCHW = (noise_BCHW * float((1 - alpha) ** 0.5)).to(device)
        output_BCHW = unet(
            noisy_BCHW,
            torch.full((len(part),), last, device=device),
            hidden_BSD.to(device),
            pooled_BP.to(device),
            torch.tensor([sizes] * len(part), device=device),
        )
        alphas_B = alpha.expand(len(part)).to(device)
        guesses.append(to_x0(prediction, output_BCHW.float(), noisy_BCHW, alphas_B).cpu())
    return torch.cat(guesses)
