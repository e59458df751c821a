"""Samplers as diffusers' pipelines use them: state, signatures, dtypes, noise, errors."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from tests.diffusion.driver import sample

from nadir.diffusion.names import SAMPLER_NAMES
from nadir.diffusion.samplers import SAMPLERS, StepOutput, make_sampler
from nadir.diffusion.samplers.dpmpp import DPMpp2MSDESampler
from nadir.diffusion.samplers.euler import EulerAncestralSampler
from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.errors import NadirError

ALL = pytest.mark.parametrize("name", list(SAMPLERS))


@ALL
def test_protocol_attributes(name: str, zero_terminal: NoiseSchedule) -> None:
    sampler = make_sampler(zero_terminal, prediction="v", name=name)
    assert sampler.init_noise_sigma == 1
    assert sampler.order == (2 if name == "heun" else 1)
    assert len(sampler) == 1000
    assert sampler.config.num_train_timesteps == 1000
    assert sampler.config.get("prediction_type") == "v_prediction"
    assert sampler.config.rescale_betas_zero_snr
    with pytest.raises(AttributeError, match="no_such_setting"):
        _ = sampler.config.no_such_setting
    parameters = inspect.signature(sampler.step).parameters
    assert "generator" in parameters
    assert ("eta" in parameters) == (name == "ddim")
    assert {"timesteps", "sigmas"} <= set(inspect.signature(sampler.set_timesteps).parameters)


@ALL
@pytest.mark.parametrize("spacing", ["native", "trailing", "simple"])
def test_network_is_told_999_at_the_terminal_step(
    name: str, spacing: str, zero_terminal: NoiseSchedule
) -> None:
    sampler = make_sampler(zero_terminal, prediction="v", name=name, spacing=spacing)
    sampler.set_timesteps(28, device="cpu")
    assert sampler.timesteps.dtype == torch.float32
    assert float(sampler.timesteps[0]) == 999.0
    assert float(sampler.sigmas[0]) == math.inf
    assert float(sampler.sigmas[-1]) == 0
    assert len(sampler.sigmas) == 29
    assert len(sampler.timesteps) == (55 if name == "heun" else 28)


def test_native_timesteps_are_fractional(zero_terminal: NoiseSchedule) -> None:
    sampler = make_sampler(zero_terminal, prediction="v", spacing="native")
    sampler.set_timesteps(8)
    assert sampler.timesteps[1].item() == pytest.approx(999 * 6 / 7, rel=1e-6)


@ALL
def test_a_second_run_equals_the_first(name: str, zero_terminal: NoiseSchedule) -> None:
    sampler = make_sampler(zero_terminal, prediction="v", name=name)
    start = torch.randn(1, 4, 4, 4)
    results = []
    for evaluations in (None, 3, None):  # the second run is broken off: nothing of it may stay
        sampler.set_timesteps(7)
        generator = torch.Generator().manual_seed(2)
        results.append(sample(sampler, start, evaluations=evaluations, generator=generator))
    assert torch.equal(results[0], results[2])


@ALL
def test_a_run_begun_part_of_the_way_needs_no_begin_index(
    name: str, zero_terminal: NoiseSchedule
) -> None:
    start = torch.randn(1, 4, 4, 4)
    results = []
    for told in (True, False):
        sampler = make_sampler(zero_terminal, prediction="v", name=name)
        sampler.set_timesteps(10)
        begin = 4 * sampler.order
        if told:
            sampler.set_begin_index(begin)
            assert sampler.begin_index == begin
        z, generator = start, torch.Generator().manual_seed(2)
        for t in sampler.timesteps[begin:]:
            z = sampler.step(-z, t, z, generator=generator, return_dict=False)[0]
        assert sampler.step_index == len(sampler.timesteps)
        results.append(z)
    assert torch.equal(*results)


@ALL
def test_outputs_carry_diffusers_names(name: str, zero_terminal: NoiseSchedule) -> None:
    sampler = make_sampler(zero_terminal, prediction="v", name=name)
    sampler.set_timesteps(4)
    z = torch.randn(1, 4, 4, 4)
    made = sampler.step(-z, sampler.timesteps[0], z)
    assert isinstance(made, StepOutput)
    assert torch.equal(made.pred_original_sample, z)  # x0 = -v
    assert made.prev_sample.shape == z.shape


@ALL
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_samples_keep_their_dtype(
    name: str, dtype: torch.dtype, zero_terminal: NoiseSchedule
) -> None:
    sampler = make_sampler(zero_terminal, prediction="v", name=name)
    sampler.set_timesteps(4)
    z = torch.randn(1, 4, 4, 4).to(dtype)
    made = sampler.step(-z, sampler.timesteps[0], z)
    assert isinstance(made, StepOutput)
    assert made.prev_sample.dtype == dtype
    assert made.pred_original_sample.dtype == torch.promote_types(dtype, torch.float32)


@pytest.mark.parametrize("name", ["euler_ancestral", "dpmpp_2m_sde"])
def test_each_sample_can_have_its_own_generator(name: str, zero_terminal: NoiseSchedule) -> None:
    def run(start: torch.Tensor, generator: object) -> torch.Tensor:
        sampler = make_sampler(zero_terminal, prediction="v", name=name)
        sampler.set_timesteps(5)
        return sample(sampler, start, generator=generator)

    start = torch.randn(2, 4, 4, 4)
    together = run(start, [torch.Generator().manual_seed(seed) for seed in (1, 2)])
    alone = run(start[1:], torch.Generator().manual_seed(2))
    assert torch.equal(together[1:], alone)
    with pytest.raises(ValueError, match="1 generators for 2 samples"):
        run(start, [torch.Generator()])


def test_noise_added_for_image_to_image_has_the_sigma_of_the_run(
    zero_terminal: NoiseSchedule,
) -> None:
    sampler = make_sampler(zero_terminal, prediction="v", spacing="native")
    sampler.set_timesteps(11)
    x0, noise = torch.randn(2, 3, 4, 4, 4, dtype=torch.float64).unbind(0)
    t = sampler.timesteps[5:6]
    sigma = float(sampler.sigmas[5])
    expected = (x0 + sigma * noise) / math.hypot(1, sigma)
    torch.testing.assert_close(
        sampler.add_noise(x0, noise, t.repeat(3)), expected, rtol=1e-12, atol=1e-12
    )
    torch.testing.assert_close(sampler.add_noise(x0, noise, t), expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(sampler.add_noise(x0, noise, torch.tensor([999])), noise)
    other = float(zero_terminal.sigma(123.0))
    expected = (x0 + other * noise) / math.hypot(1, other)
    torch.testing.assert_close(
        sampler.add_noise(x0, noise, torch.tensor([123])), expected, rtol=1e-12, atol=1e-12
    )


def test_finite_start_sigma_is_kept_to_the_bit(zero_terminal: NoiseSchedule) -> None:
    for start in (14.6, 2254.2, 20000.0, 1e6):
        sampler = make_sampler(zero_terminal, prediction="v", start_sigma=start)
        sampler.set_timesteps(9)
        assert float(sampler.sigmas[0]) == start
        assert float(sampler.timesteps[0]) < 999


def test_custom_sigmas_and_timesteps(zero_terminal: NoiseSchedule) -> None:
    sampler = make_sampler(zero_terminal, prediction="v")
    sampler.set_timesteps(sigmas=[math.inf, 20.0, 1.0, 0.0])
    assert sampler.sigmas.tolist() == [math.inf, 20.0, 1.0, 0.0]
    assert sampler.num_inference_steps == 3
    assert float(sampler.timesteps[0]) == 999
    sampler.set_timesteps(timesteps=[999, 500.5, 20])
    assert sampler.timesteps.tolist() == [999, 500.5, 20]
    assert float(sampler.sigmas[1]) == float(zero_terminal.sigma(500.5))


def test_epsilon_prediction_starts_from_unit_noise_on_a_finite_schedule(
    sdxl: NoiseSchedule,
) -> None:
    for spacing in ("native", "trailing", "simple"):
        sampler = make_sampler(sdxl, prediction="epsilon", spacing=spacing)
        sampler.set_timesteps(20)
        assert float(sampler.sigmas[0]) == pytest.approx(14.6146, rel=1e-5)
        found = sample(sampler, torch.randn(4, 4, 8, 8, dtype=torch.float64))
        assert bool(found.isfinite().all())


def test_errors_say_what_to_do(zero_terminal: NoiseSchedule) -> None:
    with pytest.raises(
        NadirError, match=r"'lms' is not a sampler\n  fix: use one of euler, euler_a"
    ):
        make_sampler(zero_terminal, prediction="v", name="lms")
    with pytest.raises(NadirError, match="'flow' is not a prediction"):
        make_sampler(zero_terminal, prediction="flow")
    sampler = make_sampler(zero_terminal, prediction="v")
    z = torch.zeros(1, 4, 4, 4)
    with pytest.raises(ValueError, match="call set_timesteps before step"):
        sampler.step(z, 999, z)
    with pytest.raises(ValueError, match="exactly one of num_inference_steps, timesteps and"):
        sampler.set_timesteps()
    with pytest.raises(ValueError, match="exactly one of"):
        sampler.set_timesteps(5, sigmas=[1.0])
    for wrong in ([1.0, 2.0], [1.0, 1.0], []):
        with pytest.raises(ValueError, match="must fall from step to step"):
            sampler.set_timesteps(sigmas=wrong)
    sampler.set_timesteps(1)
    sampler.step(z, 999, z)
    with pytest.raises(ValueError, match="all steps are taken"):
        sampler.step(z, 999, z)
    for kind in (EulerAncestralSampler, DPMpp2MSDESampler):
        with pytest.raises(ValueError, match=r"eta must lie in 0 to 1, not 1\.5"):
            kind(zero_terminal, prediction="v", eta=1.5)
    ddim = make_sampler(zero_terminal, prediction="v", name="ddim")
    ddim.set_timesteps(5)
    with pytest.raises(ValueError, match=r"eta must lie in 0 to 1, not -0\.1"):
        ddim.step(z, 999, z, eta=-0.1)
    epsilon = make_sampler(zero_terminal, prediction="epsilon")
    with pytest.raises(NadirError, match="epsilon-prediction cannot start at infinite sigma"):
        epsilon.set_timesteps(5)


def test_the_parameters_know_every_sampler_by_its_name() -> None:
    assert tuple(SAMPLERS) == SAMPLER_NAMES
