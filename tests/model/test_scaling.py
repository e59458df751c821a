from __future__ import annotations

import pytest
import torch

from nadir.ground.errors import NadirError
from nadir.model.sdxl.scaling import LatentScaling

PER_CHANNEL = LatentScaling("per_channel", (0.5, -1.0, 0.0, 2.0), (2.0, 0.5, 1.0, 4.0))
SCALAR = LatentScaling("sdxl", scaling_factor=0.13025)


@pytest.mark.parametrize("scaling", [PER_CHANNEL, SCALAR])
def test_denormalise_undoes_normalise(scaling: LatentScaling) -> None:
    raw = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(scaling.denormalise(scaling.normalise(raw)), raw)


def test_per_channel_makes_each_channel_standard() -> None:
    raw = torch.tensor([2.5, -0.5, 1.0, 6.0])[:, None, None]
    torch.testing.assert_close(PER_CHANNEL.normalise(raw), torch.ones(4, 1, 1))


def test_the_scalar_is_sdxls_multiplication() -> None:
    torch.testing.assert_close(
        SCALAR.normalise(torch.ones(4, 1, 1)), torch.full((4, 1, 1), 0.13025)
    )


@pytest.mark.parametrize("scaling", [PER_CHANNEL, SCALAR])
def test_json_and_the_vae_config_keep_it(scaling: LatentScaling) -> None:
    assert LatentScaling.from_dict(scaling.as_dict()) == scaling
    assert LatentScaling.from_vae_config(scaling.vae_config()) == scaling


def test_a_factor_beside_mean_and_std_becomes_part_of_the_std() -> None:
    config = {"latents_mean": [1.0], "latents_std": [0.5], "scaling_factor": 0.25}
    assert LatentScaling.from_vae_config(config) == LatentScaling("per_channel", (1.0,), (2.0,))


def test_a_shift_is_taken_off_before_the_factor_in_every_channel() -> None:
    config = {"scaling_factor": 0.1406, "shift_factor": -0.4743, "latent_channels": 8}
    scaling = LatentScaling.from_vae_config(config)
    raw = torch.randn(1, 8, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(scaling.normalise(raw), (raw + 0.4743) * 0.1406)
    assert scaling.vae_config()["shift_factor"] is None
    for none in (None, 0.0):
        assert LatentScaling.from_vae_config(config | {"shift_factor": none}).kind == "sdxl"


def test_a_shift_beside_a_mean_is_refused() -> None:
    config = {"latents_mean": [1.0], "latents_std": [0.5], "scaling_factor": 1, "shift_factor": 0.1}
    with pytest.raises(NadirError, match="both shift_factor and latents_mean"):
        LatentScaling.from_vae_config(config)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "sdx"}, "'sdx' is none of sdxl, per_channel"),
        ({"kind": "per_channel", "mean": (0.0,)}, "needs a mean and a std for every channel"),
        ({"kind": "per_channel", "mean": (0.0,), "std": (0.0,)}, "not positive"),
    ],
)
def test_impossible_scalings_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(NadirError, match=message):
        LatentScaling(**values)  # type: ignore[arg-type]
