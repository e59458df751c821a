"""presets/sdxl.yaml on the real U-Net, on torch's meta device: shapes without numbers."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel
from tests.conftest import ROOT

from nadir.config.edit import read_params
from nadir.config.params import Params
from nadir.data.buckets.assignment import bucket_sizes
from nadir.diffusion.schedule import NoiseSchedule
from nadir.model.sdxl.networks import UNET_PARAMETERS, sdxl_configs
from nadir.training.losses.objective import Batch, Objective
from nadir.training.optim.optimizers import make_optimizer


@pytest.fixture(scope="module")
def preset() -> Params:
    return read_params(ROOT / "presets/sdxl.yaml")


def meta_batch(preset: Params, size: tuple[int, int]) -> Batch:
    """One part of a batch as the loader makes it, of (width, height) in pixels."""
    config = sdxl_configs()
    count = preset.train.batch_size // preset.train.gradient_accumulation
    latents_BCHW = torch.empty(count, 4, size[1] // 8, size[0] // 8, device="meta")
    tokens = 77 * preset.train.caption.token_chunks
    return Batch(
        latents_BCHW=latents_BCHW,
        noise_BCHW=torch.empty_like(latents_BCHW),
        timesteps_B=torch.arange(count),
        hidden_BSD=torch.empty(count, tokens, config["unet"]["cross_attention_dim"], device="meta"),
        pooled_BP=torch.empty(count, config["text_encoder_2"]["projection_dim"], device="meta"),
        time_ids_B6=torch.empty(count, 6, device="meta"),
        weights_B=torch.empty(count, device="meta"),
    )


def test_the_preset_makes_a_training_step_of_the_real_unet(preset: Params) -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(sdxl_configs()["unet"])
    if preset.train.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    unet.train()
    optimizer = make_optimizer(dict(unet.named_parameters()), preset.train)
    assert sum(p.numel() for g in optimizer.param_groups for p in g["params"]) == UNET_PARAMETERS
    schedule = NoiseSchedule.from_settings(**preset.noise.model_dump())
    objective = Objective(schedule, preset.noise, preset.train.loss_weight)

    def predict(noisy, timesteps, hidden, pooled, time_ids):
        added = {"text_embeds": pooled, "time_ids": time_ids}
        return unet(
            noisy, timesteps, encoder_hidden_states=hidden, added_cond_kwargs=added,
            return_dict=False,
        )[0]  # fmt: skip

    sizes = bucket_sizes(preset.bucket)
    with torch.no_grad():
        for size in (max(sizes), min(sizes)):
            assert objective(predict, meta_batch(preset, size)).loss.shape == ()
    objective(predict, meta_batch(preset, (1024, 1024))).loss.backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in unet.parameters())
