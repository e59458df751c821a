from __future__ import annotations

import numpy as np
import torch

from nadir.ground.chance import Stream, generator
from nadir.training.randomness import caption_rng, flips, noise, stratified_timesteps


def test_noise_of_a_part_is_the_same_part_of_the_whole_batchs_noise() -> None:
    whole = noise(3, 7, range(8), (4, 5, 6))
    part = noise(3, 7, range(4, 8), (4, 5, 6))
    assert torch.equal(whole[4:], part)


def test_noise_differs_between_steps_positions_seeds_and_streams() -> None:
    draws = [
        noise(0, 0, [0], (1, 8, 8)),
        noise(0, 0, [1], (1, 8, 8)),
        noise(0, 1, [0], (1, 8, 8)),
        noise(1, 0, [0], (1, 8, 8)),
    ]
    flat = torch.stack(draws).flatten(1)
    assert torch.corrcoef(flat).fill_diagonal_(0).abs().max() < 0.5
    streams = [generator(0, stream, 0).random() for stream in Stream]
    assert len(set(streams)) == len(streams)


def test_noise_is_standard_normal() -> None:
    values = noise(0, 0, range(64), (4, 32, 32))
    assert values.dtype == torch.float32
    assert abs(float(values.mean())) < 0.01
    assert abs(float(values.std()) - 1) < 0.01


def test_a_batch_holds_one_timestep_of_each_stratum() -> None:
    for step in range(50):
        timesteps = stratified_timesteps(0, step, 20, 1000)
        assert sorted((timesteps // 50).tolist()) == list(range(20))


def test_every_position_draws_every_timestep_equally_often_the_terminal_one_too() -> None:
    draws = np.stack([stratified_timesteps(0, step, 4, 10).numpy() for step in range(20_000)])
    for position in range(4):
        counts = np.bincount(draws[:, position], minlength=10)
        # 20,000 draws of 10 values: expected 2,000, standard deviation 42
        assert np.abs(counts - 2000).max() < 5 * 42
    assert draws.max() == 9


def test_timesteps_stay_in_range_when_strata_do_not_divide_them() -> None:
    timesteps = torch.cat([stratified_timesteps(1, step, 7, 3) for step in range(2000)])
    assert timesteps.min() == 0
    assert timesteps.max() == 2


def test_captions_of_one_place_are_reproducible_and_of_two_places_independent() -> None:
    assert caption_rng(0, 1, 2).random() == caption_rng(0, 1, 2).random()
    assert caption_rng(0, 1, 2).random() != caption_rng(0, 2, 1).random()


def test_the_coin_for_mirrored_images_is_fair_and_belongs_to_its_place() -> None:
    coins = np.array([flips(3, step, range(8)) for step in range(500)])
    assert 0.47 < coins.mean() < 0.53
    np.testing.assert_array_equal(flips(3, 7, range(4, 8)), coins[7, 4:])
    assert (flips(4, 7, range(64)) != flips(3, 7, range(64))).any()
