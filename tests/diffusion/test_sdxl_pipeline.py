"""Samplers inside diffusers' own SDXL pipelines, around a tiny network with random weights."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

from nadir.diffusion.samplers import SAMPLERS, make_sampler
from nadir.diffusion.samplers.config import diffusers_scheduler_config
from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path

ALL = pytest.mark.parametrize("name", list(SAMPLERS))
NOISE = {
    "prediction": "v",
    "zero_terminal_snr": True,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "timesteps": 1000,
    "sigma_shift": 1.0,
}
HIDDEN = 16


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    """Everything of an SDXL pipeline but its scheduler; prompts come as embeddings."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        norm_num_groups=8,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        cross_attention_dim=HIDDEN,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 * 6 + HIDDEN,
    )
    vae = AutoencoderKL(
        block_out_channels=(8,), norm_num_groups=4, latent_channels=4, sample_size=16
    )
    names = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
    return {"unet": unet.eval(), "vae": vae.eval(), **dict.fromkeys(names)}


@pytest.fixture(scope="module")
def prompt() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "prompt_embeds": torch.randn(1, 7, HIDDEN, generator=generator),
        "negative_prompt_embeds": torch.randn(1, 7, HIDDEN, generator=generator),
        "pooled_prompt_embeds": torch.randn(1, HIDDEN, generator=generator),
        "negative_pooled_prompt_embeds": torch.randn(1, HIDDEN, generator=generator),
    }


def draw(
    parts: dict[str, Any], prompt: dict[str, torch.Tensor], scheduler: Any, **extra: Any
) -> Any:
    """Latents from the stock text-to-image pipeline."""
    pipeline = StableDiffusionXLPipeline(**parts, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    settings = {"num_inference_steps": 5, "height": 8, "width": 8, "guidance_scale": 4.0}
    generator = torch.Generator().manual_seed(3)
    return pipeline(**prompt, **settings | extra, generator=generator, output_type="latent").images


@ALL
@pytest.mark.parametrize("spacing", ["native", "trailing", "simple"])
def test_text_to_image(
    name: str,
    spacing: str,
    parts: dict[str, Any],
    prompt: dict[str, torch.Tensor],
    zero_terminal: NoiseSchedule,
) -> None:
    told: list[float] = []
    hook = parts["unet"].register_forward_pre_hook(lambda _m, args: told.append(float(args[1])))
    sampler = make_sampler(zero_terminal, prediction="v", name=name, spacing=spacing)
    latents = draw(parts, prompt, sampler, guidance_rescale=0.7)
    hook.remove()
    assert latents.shape == (1, 4, 8, 8)
    assert bool(latents.isfinite().all())
    assert told[0] == 999.0
    assert len(told) == (9 if name == "heun" else 5)
    again = draw(parts, prompt, sampler, guidance_rescale=0.7)
    assert torch.equal(latents, again)


def test_ddim_draws_what_diffusers_ddim_draws(
    parts: dict[str, Any], prompt: dict[str, torch.Tensor], zero_terminal: NoiseSchedule
) -> None:
    stock = DDIMScheduler.from_config(diffusers_scheduler_config(NOISE))
    ours = make_sampler(zero_terminal, prediction="v", name="ddim", spacing="trailing")
    expected = draw(parts, prompt, stock)
    torch.testing.assert_close(draw(parts, prompt, ours), expected, rtol=2e-4, atol=2e-4)


def test_epsilon_prediction_draws_what_diffusers_draws(
    parts: dict[str, Any], prompt: dict[str, torch.Tensor], sdxl: NoiseSchedule
) -> None:
    noise = NOISE | {"prediction": "epsilon", "zero_terminal_snr": False}
    stock = DDIMScheduler.from_config(diffusers_scheduler_config(noise))
    for name in ("ddim", "euler"):
        ours = make_sampler(sdxl, prediction="epsilon", name=name, spacing="trailing")
        torch.testing.assert_close(
            draw(parts, prompt, ours), draw(parts, prompt, stock), rtol=1e-3, atol=1e-3
        )


def test_dpmpp_2m_draws_what_diffusers_draws_from_a_finite_start(
    parts: dict[str, Any], prompt: dict[str, torch.Tensor], sdxl: NoiseSchedule
) -> None:
    noise = NOISE | {"zero_terminal_snr": False}
    stock = DPMSolverMultistepScheduler.from_config(
        diffusers_scheduler_config(noise), euler_at_final=True
    )
    ours = make_sampler(sdxl, prediction="v", name="dpmpp_2m", spacing="trailing")
    found = draw(parts, prompt, ours, num_inference_steps=20)
    expected = draw(parts, prompt, stock, num_inference_steps=20)
    # one float32 beta table against one in float64
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)


@ALL
def test_image_to_image(
    name: str, parts: dict[str, Any], prompt: dict[str, torch.Tensor], zero_terminal: NoiseSchedule
) -> None:
    told: list[float] = []
    hook = parts["unet"].register_forward_pre_hook(lambda _m, args: told.append(float(args[1])))
    sampler = make_sampler(zero_terminal, prediction="v", name=name, spacing="trailing")
    pipeline = StableDiffusionXLImg2ImgPipeline(**parts, scheduler=sampler)
    pipeline.set_progress_bar_config(disable=True)
    found = pipeline(
        **prompt,
        image=torch.rand(1, 3, 8, 8),
        strength=0.5,
        num_inference_steps=10,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
    ).images
    hook.remove()
    assert bool(found.isfinite().all())
    expected = [499, 399, 299, 199, 99]
    if name == "heun":
        expected = [499, 399, 399, 299, 299, 199, 199, 99, 99]
    assert told == expected


def test_a_perfect_network_gives_the_image_back_from_image_to_image(
    zero_terminal: NoiseSchedule,
) -> None:
    """From any start, with the true v, every sampler returns x0 itself."""
    x0, noise = torch.randn(2, 1, 4, 8, 8, dtype=torch.float64).unbind(0)
    for name in SAMPLERS:
        sampler = make_sampler(zero_terminal, prediction="x0", name=name)
        sampler.set_timesteps(10)
        begin = 5 * sampler.order
        sampler.set_begin_index(begin)
        z = sampler.add_noise(x0, noise, sampler.timesteps[begin : begin + 1])
        for t in sampler.timesteps[begin:]:
            z = sampler.step(x0, t, z, return_dict=False)[0]
        torch.testing.assert_close(z, x0, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("strength", [0.6, 1.0])
def test_inpainting_keeps_the_known_part(
    strength: float,
    parts: dict[str, Any],
    prompt: dict[str, torch.Tensor],
    zero_terminal: NoiseSchedule,
) -> None:
    sampler = make_sampler(zero_terminal, prediction="v")
    pipeline = StableDiffusionXLInpaintPipeline(**parts, scheduler=sampler)
    pipeline.set_progress_bar_config(disable=True)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 4:] = 1
    image = torch.rand(1, 3, 8, 8)

    def paint(known: torch.Tensor) -> torch.Tensor:
        return pipeline(
            **prompt,
            image=known,
            mask_image=mask,
            strength=strength,
            height=8,
            width=8,
            num_inference_steps=6,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
        ).images

    found = paint(image)
    with torch.no_grad():
        wanted = parts["vae"].encode(image * 2 - 1).latent_dist.mean
    wanted = wanted * parts["vae"].config.scaling_factor
    assert bool(found.isfinite().all())
    # the pipeline encodes with a draw from the posterior, so "near" is all there is
    known = (found - wanted)[..., :4].abs().mean()
    assert float(known) < 3 * parts["vae"].config.scaling_factor


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prediction": "x0"},
        {"prediction": "epsilon", "zero_terminal_snr": False},
        {"sigma_shift": 2.0},
        {"sigma_shift": 0.5, "zero_terminal_snr": False},
        {"beta_schedule": "linear", "timesteps": 500},
    ],
)
@pytest.mark.parametrize("kind", [DDIMScheduler, EulerDiscreteScheduler])
def test_exported_configuration_gives_diffusers_the_same_schedule(
    changes: dict[str, Any], kind: Any, tmp_path: Path
) -> None:
    noise = NOISE | changes
    config = diffusers_scheduler_config(noise)
    (tmp_path / "scheduler_config.json").write_text(json.dumps(config), encoding="utf-8")
    stock = kind.from_pretrained(tmp_path)
    schedule = NoiseSchedule.from_settings(**noise)
    # float32 products there; the last entry is a clamp in Euler
    torch.testing.assert_close(
        stock.alphas_cumprod[:-1].double(), schedule.alphas_cumprod[:-1], rtol=5e-4, atol=0
    )
    stock.set_timesteps(28)
    ours = schedule.sampling_timesteps(28, "trailing")
    assert [float(t) for t in stock.timesteps] == ours.tolist()
    assert stock.config.prediction_type == config["prediction_type"]
    if kind is DDIMScheduler and noise["zero_terminal_snr"]:
        assert float(stock.alphas_cumprod[-1]) == 0


def test_diffusers_schedulers_can_be_made_from_a_samplers_config(
    parts: dict[str, Any], prompt: dict[str, torch.Tensor], zero_terminal: NoiseSchedule
) -> None:
    ours = make_sampler(zero_terminal, prediction="v", name="ddim", spacing="trailing")
    stock = DDIMScheduler.from_config(ours.config)
    assert float(stock.alphas_cumprod[-1]) == 0
    expected = draw(parts, prompt, stock)
    torch.testing.assert_close(draw(parts, prompt, ours), expected, rtol=1e-3, atol=1e-3)


def test_exported_configuration_refuses_what_training_refuses() -> None:
    with pytest.raises(NadirError, match="teaches nothing where the SNR is zero"):
        diffusers_scheduler_config(NOISE | {"prediction": "epsilon"})


def test_pipeline_moves_and_shows_the_sampler(
    parts: dict[str, Any], zero_terminal: NoiseSchedule
) -> None:
    sampler = make_sampler(zero_terminal, prediction="v")
    pipeline = StableDiffusionXLPipeline(**parts, scheduler=sampler).to("cpu")
    assert pipeline.components["scheduler"] is sampler
    assert math.isinf(max(zero_terminal.sigmas.tolist()))
    other = StableDiffusionXLImg2ImgPipeline(**pipeline.components)
    assert other.scheduler is sampler
