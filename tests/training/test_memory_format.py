"""Convolutions in another order of numbers: the same training, the same files, the same resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training.test_trainer import QUIET, SMALL, assert_equal_weights, train, weights
from tests.training.trainable.test_settings import LORA

from nadir.compute.memory_format import run_convolutions_channels_last
from nadir.training.stop_request import StoppedError

SHORT = QUIET | {"steps": 4, "warmup_steps": 1, "optimizer": "adamw", "checkpoint_every": 2}
WAYS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "8 bit inside backward": SMALL | {"gradient_checkpointing": True},
    "lora on convolutions": {"adapter": LORA | {"convolutions": True}, "activation_offload": True},
}


@pytest.mark.parametrize("name", WAYS)
def test_a_resumed_training_is_equal(name: str, project: Path, tmp_path: Path) -> None:
    changes = SHORT | WAYS[name] | {"memory_format": "channels_last"}
    train(tmp_path / "straight", **changes)
    with pytest.raises(StoppedError):
        train(tmp_path / "stopped", stop_at=2, **changes)
    train(tmp_path / "stopped", **changes)
    assert_equal_weights(tmp_path / "straight", tmp_path / "stopped")


def test_it_trains_what_the_usual_order_trains(project: Path, base: Path, tmp_path: Path) -> None:
    train(tmp_path / "usual", **SHORT)
    train(tmp_path / "last", **SHORT, memory_format="channels_last")
    (path,) = (base / "unet").glob("*.safetensors")
    places = (load_file(path), weights(tmp_path / "usual"), weights(tmp_path / "last"))
    start, one, two = (torch.cat([place[n].flatten() for n in places[0]]) for place in places)
    assert (one - two).abs().mean() < 0.01 * (one - start).abs().mean()
    for file in ("weights.safetensors", "optimizer.pt"):
        sizes = [
            (tmp_path / name / "checkpoints/step-000004" / file).stat().st_size
            for name in ("usual", "last")
        ]
        assert sizes[0] == sizes[1]


def test_gradients_lie_as_weights_do_and_pictures_are_drawn_as_before() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 1))
    pictures_BCHW = torch.randn(2, 3, 9, 9)
    assert run_convolutions_channels_last(network) == 2
    output_BCHW = network(pictures_BCHW)
    assert output_BCHW.is_contiguous(memory_format=torch.channels_last)
    output_BCHW.square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.is_contiguous()
    assert network.eval()(pictures_BCHW).is_contiguous()
