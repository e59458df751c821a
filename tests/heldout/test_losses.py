"""The held-out loss is exact where the answer is known, and catches a wrong parameterisation."""

from __future__ import annotations

import pytest
import torch

from nadir.diffusion.schedule import NoiseSchedule
from nadir.evaluation.metrics.parameterisation import parameterisation_ratio
from nadir.heldout.losses import LEVELS, HeldOut, loss_timesteps, loss_values
from nadir.sampling.generate import start_noise

ZERO_TERMINAL = NoiseSchedule.scaled_linear().zero_terminal()
STOCK = NoiseSchedule.scaled_linear()


def samples(count=6):
    generator = torch.Generator().manual_seed(0)
    return HeldOut(
        ids=[f"image {i}" for i in range(count)],
        latents_BCHW=torch.randn(count, 4, 8, 8, generator=generator),
        hidden_BSD=torch.zeros(count, 77, 8),
        pooled_BP=torch.zeros(count, 8),
        time_ids_B6=torch.zeros(count, 6),
    )


def oracle(held, schedule, prediction, *, error=0.0):
    """A network that knows the images and misses each target value by `error`."""
    noise = torch.stack([start_noise(name, 0, (4, 8, 8)) for name in held.ids])
    signs = torch.randn(held.latents_BCHW.shape, generator=torch.Generator().manual_seed(9)).sign()

    def call(noisy, timesteps, hidden, pooled, time_ids):
        a = schedule.alphas_cumprod[timesteps].float()[:, None, None, None]
        target = {
            "v": a.sqrt() * noise - (1 - a).sqrt() * held.latents_BCHW,
            "epsilon": noise,
            "x0": held.latents_BCHW,
        }[prediction]
        return target + error * signs

    return call


def test_levels_run_from_pure_noise_downwards_and_never_reach_the_clean_end():
    steps = loss_timesteps(ZERO_TERMINAL)
    assert steps[0] == 999
    assert len(steps) == LEVELS
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] > 50


@pytest.mark.parametrize("prediction", ["v", "x0"])
def test_a_network_that_knows_the_answer_has_no_loss(prediction):
    held = samples()
    values = list(
        loss_values(oracle(held, ZERO_TERMINAL, prediction), held, ZERO_TERMINAL, prediction)
    )
    assert len(values) == 6 * LEVELS
    assert max(value.x0_mse for value in values) < 1e-6


def test_the_error_of_v_weighs_as_the_noise_does():
    held = samples()
    unet = oracle(held, ZERO_TERMINAL, "v", error=0.3)
    for value in loss_values(unet, held, ZERO_TERMINAL, "v"):
        noise_share = 1 - float(ZERO_TERMINAL.alphas_cumprod[value.timestep])
        assert value.x0_mse == pytest.approx(0.09 * noise_share, rel=1e-3)


def test_knowing_nothing_costs_one_at_the_terminal_step():
    held = samples(32)

    def silent(noisy, *_):
        return torch.zeros_like(noisy)

    terminal = [
        v.x0_mse for v in loss_values(silent, held, ZERO_TERMINAL, "v") if v.timestep == 999
    ]
    assert sum(terminal) / 32 == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("prediction", "schedule"), [("v", ZERO_TERMINAL), ("epsilon", STOCK), ("x0", ZERO_TERMINAL)]
)
def test_an_honest_checkpoint_of_every_kind_has_a_ratio_below_one(prediction, schedule):
    held = samples()
    unet = oracle(held, schedule, prediction, error=0.5)
    values = list(loss_values(unet, held, schedule, prediction))
    assert parameterisation_ratio(values, schedule) < 1


@pytest.mark.parametrize(("said", "trained"), [("v", "epsilon"), ("epsilon", "v")])
def test_a_checkpoint_that_says_the_wrong_parameterisation_is_caught(said, trained):
    held = samples()
    unet = oracle(held, STOCK, trained, error=0.5)
    values = list(loss_values(unet, held, STOCK, said))
    assert parameterisation_ratio(values, STOCK) > 1


def test_noise_belongs_to_the_image_whatever_stands_beside_it():
    held = samples()
    some = HeldOut(*(part[2:4] for part in vars(held).values()))

    def silent(noisy, *_):
        return noisy

    every = {(v.image, v.timestep): v.x0_mse for v in loss_values(silent, held, STOCK, "v")}
    for value in loss_values(silent, some, STOCK, "v"):
        assert value.x0_mse == pytest.approx(every[value.image, value.timestep])


def test_levels_together_are_levels_one_by_one_in_fewer_calls():
    held, calls = samples(3), []

    def network(noisy, timesteps, hidden, pooled, time_ids):
        calls.append(len(noisy))
        assert len(noisy) == len(timesteps) == len(hidden) == len(pooled) == len(time_ids)
        return noisy * torch.sin(timesteps.float())[:, None, None, None]

    alone = list(loss_values(network, held, STOCK, "epsilon"))
    assert calls == [3] * LEVELS
    calls.clear()
    together = list(loss_values(network, held, STOCK, "epsilon", at_once=7))
    assert max(calls) == 6
    assert sum(calls) == 3 * LEVELS
    for one, other in zip(alone, together, strict=True):
        assert (one.image, one.timestep) == (other.image, other.timestep)
        assert one.x0_mse == pytest.approx(other.x0_mse, rel=1e-6)
        assert one.misread_x0_mse == pytest.approx(other.misread_x0_mse, rel=1e-6)
