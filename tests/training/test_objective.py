from __future__ import annotations

import pytest
import torch

from nadir.config.noise import NoiseParams
from nadir.config.objective import LossWeightParams
from nadir.diffusion.prediction import target, to_x0
from nadir.diffusion.schedule import NoiseSchedule
from nadir.training.losses.objective import Batch, Objective


def noise_params(prediction: str = "v", *, zero_terminal: bool = True) -> NoiseParams:
    return NoiseParams.model_validate(
        {
            "prediction": prediction,
            "zero_terminal_snr": zero_terminal,
            "beta_schedule": "scaled_linear",
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "timesteps": 1000,
            "sigma_shift": 1.0,
        }
    )


def make_objective(noise: NoiseParams, weight: str = "none") -> Objective:
    schedule = NoiseSchedule.from_settings(**noise.model_dump())
    settings = {"name": weight, "gamma": 5, "learned": None}
    return Objective(schedule, noise, LossWeightParams.model_validate(settings))


def make_batch(timesteps: list[int], weights: list[float] | None = None) -> Batch:
    torch.manual_seed(0)
    count = len(timesteps)
    return Batch(
        latents_BCHW=torch.randn(count, 4, 6, 8),
        noise_BCHW=torch.randn(count, 4, 6, 8),
        timesteps_B=torch.tensor(timesteps),
        hidden_BSD=torch.zeros(count, 77, 8),
        pooled_BP=torch.zeros(count, 8),
        time_ids_B6=torch.zeros(count, 6),
        weights_B=torch.tensor(weights or [1.0] * count),
    )


def off_by_one(objective_noise: NoiseParams, batch: Batch) -> object:
    """A network that is wrong by exactly 1 everywhere."""
    schedule = NoiseSchedule.from_settings(**objective_noise.model_dump())
    alphas_B = schedule.alphas_cumprod[batch.timesteps_B]
    wanted = target(objective_noise.prediction, batch.latents_BCHW, batch.noise_BCHW, alphas_B)
    return lambda *_: wanted + 1


@pytest.mark.parametrize("prediction", ["v", "x0", "epsilon"])
def test_a_perfect_network_has_no_loss_and_one_off_by_one_has_loss_one(prediction: str) -> None:
    noise = noise_params(prediction, zero_terminal=prediction != "epsilon")
    batch = make_batch([0, 138, 500, 999])
    result = make_objective(noise)(off_by_one(noise, batch), batch)
    assert result.loss == pytest.approx(1.0, abs=1e-5)
    assert result.unweighted == pytest.approx(1.0, abs=1e-5)


def test_errors_are_told_apart_by_band_of_sigma() -> None:
    """Sigma 0.04, 1.6 and infinity: one sample of low noise, one of middle, two of high."""
    noise = noise_params()
    batch = make_batch([0, 500, 998, 999])
    wanted = off_by_one(noise, batch)()
    error_B = torch.tensor([1.0, 2.0, 3.0, 5.0])[:, None, None, None]
    result = make_objective(noise)(lambda *_: wanted - 1 + error_B, batch)
    sums, counts = result.bands_23.tolist()
    assert sums == pytest.approx([1, 4, 9 + 25], rel=1e-4)
    assert counts == [1, 1, 2]
    assert sum(sums) / sum(counts) == pytest.approx(float(result.unweighted))


def test_at_the_terminal_step_the_network_sees_pure_noise_and_learns_minus_the_image() -> None:
    batch = make_batch([999])
    seen: dict[str, torch.Tensor] = {}

    def network(noisy: torch.Tensor, timesteps: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        seen.update(noisy=noisy, timesteps=timesteps)
        return -batch.latents_BCHW

    result = make_objective(noise_params(), "snr_plus_one")(network, batch)
    assert torch.equal(seen["noisy"], batch.noise_BCHW)
    assert seen["timesteps"].tolist() == [999]
    assert result.loss == 0


def test_the_loss_is_the_batch_mean_of_error_times_snr_weight_times_tag_weight() -> None:
    noise = noise_params()
    batch = make_batch([0, 50, 100, 999], [2.0, 0.5, 1.0, 3.0])
    result = make_objective(noise, "snr_plus_one")(off_by_one(noise, batch), batch)
    expected = (0.00425 * 2 + 0.259323 * 0.5 + 0.566194 * 1 + 1 * 3) / 4
    assert result.loss == pytest.approx(expected, rel=1e-5)
    assert result.unweighted == pytest.approx(1.0, abs=1e-5)


def test_the_literal_min_snr_form_gives_the_terminal_step_no_gradient() -> None:
    noise = noise_params()
    batch = make_batch([999])
    assert make_objective(noise, "min_snr")(off_by_one(noise, batch), batch).loss == 0
    assert make_objective(noise, "snr_plus_one")(off_by_one(noise, batch), batch).loss > 0.99


def test_the_v_loss_is_the_x0_loss_times_snr_plus_one() -> None:
    noise = noise_params()
    objective = make_objective(noise)
    schedule = NoiseSchedule.from_settings(**noise.model_dump())
    batch = make_batch([300])
    alphas_B = schedule.alphas_cumprod[batch.timesteps_B]
    output = torch.randn_like(batch.latents_BCHW)
    loss = objective(lambda *_: output, batch).loss
    noisy = alphas_B.sqrt().float() * batch.latents_BCHW
    noisy = noisy + (1 - alphas_B).sqrt().float() * batch.noise_BCHW
    x0 = to_x0("v", output, noisy, alphas_B)
    x0_loss = (x0 - batch.latents_BCHW).square().mean()
    assert loss == pytest.approx(float(x0_loss * (1 + schedule.snr[300])), rel=1e-4)


def test_gradients_reach_the_network_in_proportion_to_the_weight() -> None:
    noise = noise_params()
    objective = make_objective(noise, "snr_plus_one")
    gradients = []
    for weight in (1.0, 2.0):
        shift = torch.zeros((), requires_grad=True)
        batch = make_batch([999], [weight])
        objective(lambda noisy, *_, shift=shift: noisy * 0 + shift + 1, batch).loss.backward()
        gradients.append(float(shift.grad))
    assert gradients[1] == pytest.approx(2 * gradients[0])


def test_parts_of_a_batch_average_to_the_batch() -> None:
    noise = noise_params()
    objective = make_objective(noise, "snr_plus_one")
    batch = make_batch([10, 200, 700, 999], [1.0, 2.0, 0.5, 1.5])
    parts = batch.parts(2)
    assert [len(part.timesteps_B) for part in parts] == [2, 2]
    losses = [objective(lambda noisy, *_: noisy, part).loss for part in parts]
    assert sum(losses) / 2 == pytest.approx(float(objective(lambda noisy, *_: noisy, batch).loss))
