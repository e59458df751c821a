"""The learned loss weight: its formula, its gradient, what it converges to, and its resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.training.test_objective import make_batch, noise_params, off_by_one
from tests.training.test_trainer import assert_equal_weights, train

from nadir.config.objective import LearnedWeightParams, LossWeightParams
from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.errors import NadirError
from nadir.training.losses.learned_weight import LearnedWeight, fourier_features
from nadir.training.losses.objective import Objective

SCHEDULE = NoiseSchedule.scaled_linear().zero_terminal()
PARAMS = LearnedWeightParams(channels=128, learning_rate=0.01)


def learned(rate: float = 0.01) -> LearnedWeight:
    params = PARAMS.model_copy(update={"learning_rate": rate})
    return LearnedWeight(params, SCHEDULE, torch.device("cpu"))


def objective(*, is_learned: bool) -> Objective:
    weight = LossWeightParams(name="min_snr", gamma=5.0, learned=PARAMS if is_learned else None)
    return Objective(SCHEDULE, noise_params(), weight)


def test_features_are_finite_at_every_sigma_and_of_unit_length_on_average() -> None:
    features = fourier_features(SCHEDULE.sigmas, 128)
    assert features.isfinite().all()
    assert features.square().sum(1).mean() == pytest.approx(1, abs=0.1)
    assert not torch.equal(features[-1], features[-2])


def test_it_begins_as_the_analytic_weight_alone_and_then_departs() -> None:
    batch = make_batch([10, 300, 700, 900])
    network = off_by_one(noise_params(), batch)
    plain, weighted = objective(is_learned=False), objective(is_learned=True)
    assert torch.equal(plain(network, batch).loss, weighted(network, batch).loss)
    weighted.finish_step(lambda part: part)
    assert plain(network, batch).loss != weighted(network, batch).loss


def test_the_loss_is_exp_minus_u_times_the_weighted_error_plus_u() -> None:
    weights = [2.0, 0.5, 1.0, 1.5]
    batch = make_batch([10, 300, 700, 900], weights)
    weighted = objective(is_learned=True)
    torch.manual_seed(1)
    vector = torch.randn(128)
    weighted.load({"loss_weight.weight": vector})
    with torch.no_grad():
        loss = weighted(off_by_one(noise_params(), batch), batch).loss
    u = fourier_features(SCHEDULE.sigmas, 128)[batch.timesteps_B] @ vector.double()
    snr = SCHEDULE.snr[batch.timesteps_B]
    analytic = snr.clamp(max=5) / (snr + 1)
    expected = (torch.tensor(weights) * (analytic * torch.exp(-u) + u)).mean()
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)


def test_its_gradient_is_autograds_and_parts_add_up_to_the_batch() -> None:
    timesteps = torch.tensor([5, 200, 640, 999])
    error, weights = torch.tensor([0.3, 2.0, 0.7, 1.1]), torch.tensor([1.0, 0.2, 2.0, 1.0])
    features = fourier_features(SCHEDULE.sigmas, 128).float()[timesteps]
    start = torch.linspace(-1, 1, 128)
    vector = torch.nn.Parameter(start.clone())
    u = features @ vector
    (weights * ((-u).exp() * error + u)).mean().backward()
    seen = []
    whole, parts = learned(), learned()
    for weight in (whole, parts):
        weight.load({"weight": start})
    whole.observe(timesteps, error, weights)
    for half in (slice(0, 2), slice(2, 4)):
        parts.observe(timesteps[half], error[half], weights[half])
    for weight in (whole, parts):
        weight.step(lambda gradient: seen.append(gradient) or gradient)
    for gradient in seen:
        torch.testing.assert_close(gradient, vector.grad)


def test_it_learns_the_logarithm_of_the_error_at_every_noise_level() -> None:
    weight = learned()
    log_error_T = torch.tanh(SCHEDULE.sigmas.clamp(max=1e4).log().float())
    torch.manual_seed(0)
    for _ in range(1500):
        timesteps = torch.randint(0, 1000, (64,))
        weight.observe(timesteps, log_error_T[timesteps].exp(), torch.ones(64))
        weight.step(lambda gradient: gradient)
    u_T = weight.uncertainty(torch.arange(1000))
    assert (u_T - log_error_T)[20:].abs().max() < 0.15


def test_without_gradients_nothing_is_learned() -> None:
    batch = make_batch([10, 300])
    weighted = objective(is_learned=True)
    with torch.no_grad():
        weighted(off_by_one(noise_params(), batch), batch)
    assert weighted._learned is not None
    assert weighted._learned._parts == 0


def test_a_resumed_training_ends_with_the_same_bits(project: Path, tmp_path: Path) -> None:
    learned = {"channels": 32, "learning_rate": 0.05}
    changes = {
        "loss_weight": {"name": "snr_plus_one", "gamma": 5.0, "learned": learned},
        "gradient_accumulation": 2,
        "preview_every": 0,
    }
    train(tmp_path / "whole", **changes)
    with pytest.raises(NadirError, match="stopped on request"):
        train(tmp_path / "parts", stop_at=5, **changes)
    saved = next((tmp_path / "parts/checkpoints").glob("*/extra.safetensors"))
    assert saved.stat().st_size > 32 * 4 * 3
    train(tmp_path / "parts", **changes)
    assert_equal_weights(tmp_path / "whole", tmp_path / "parts")
    loss = [(tmp_path / name / "output/loss.csv").read_text() for name in ("whole", "parts")]
    assert loss[0] == loss[1]
