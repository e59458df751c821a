"""Training steps of a few milliseconds: the real step, objective and optimizers, a network of four.

Two of its weights are large enough for an optimizer of their own (see `by_parameter`), the others
share one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from nadir.config.noise import NoiseParams
from nadir.config.optimizers import OPTIMIZERS
from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.diffusion.schedule import NoiseSchedule
from nadir.training.losses.objective import Batch, Objective
from nadir.training.state import CheckpointStore
from nadir.training.stop_request import StopRequest
from nadir.training.train_step import TrainStep

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from nadir.training.state import Snapshot
    from nadir.training.train_step import StepResult

IMAGES = 4


class SmallNetwork(torch.nn.Module):
    """Called like the U-Net: [B, 4, 8, 8] to a tuple of the same."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = torch.nn.Conv2d(4, 64, 3, padding=1)
        self.large = torch.nn.Conv2d(64, 128, 3, padding=1)
        self.outside = torch.nn.Conv2d(128, 4, 1)
        self.mixed = torch.nn.Linear(256, 256)

    def forward(
        self, noisy_BCHW: torch.Tensor, timesteps_B: torch.Tensor, **_: Any
    ) -> tuple[torch.Tensor]:
        level = (timesteps_B / 1000).to(noisy_BCHW).view(-1, 1, 1, 1)
        hidden = torch.nn.functional.silu(self.inside(noisy_BCHW) + level)
        hidden = self.outside(torch.nn.functional.silu(self.large(hidden)))
        return (self.mixed(hidden.flatten(1)).view(noisy_BCHW.shape),)


class SmallTrainable:
    """All of a `SmallNetwork`, always with the same start."""

    text = None

    def __init__(self, dtype: torch.dtype, factor: float = 1.0) -> None:
        torch.manual_seed(0)
        self._factor = factor
        self.network: Any = SmallNetwork().to(dtype)

    def weights(self) -> dict[str, torch.nn.Parameter]:
        return dict(self.network.named_parameters())

    def rate_factors(self) -> dict[str, float]:
        return {name: self._factor if name.startswith("mixed") else 1.0 for name in self.weights()}

    def write(self, folder: Path, **_: Any) -> None:
        raise NotImplementedError


def params_of(params_file: Path, **changes: Any) -> TrainParams:
    """`train` of a params.yaml with changes that suit a training of four steps."""
    usual = read_section("train", TrainParams, params_file).model_dump(mode="json", by_alias=True)
    facts = OPTIMIZERS[changes.get("optimizer", "adamw")]
    few = {
        "steps": 8,
        "warmup_steps": 0,
        "batch_size": IMAGES,
        "optimizer": "adamw",
        "learning_rate": 0.001,
        "learning_rate_schedule": {"name": "constant"},
        "ema_decay": 0.0 if facts.own_average else 0.9,
    }
    return TrainParams.model_validate_json(json.dumps(usual | few | changes))


def make_step(params: TrainParams, params_file: Path, *, cpu: bool = True) -> TrainStep:
    """A step from the start, as the trainer makes it."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision=params.mixed_precision,
        gradient_accumulation_steps=params.gradient_accumulation,
    )
    noise = read_section("noise", NoiseParams, params_file)
    schedule = NoiseSchedule.from_settings(**noise.model_dump())
    objective = Objective(schedule, noise, params.loss_weight, device=accelerator.device)
    dtype = torch.bfloat16 if params.weights == "bf16" else torch.float32
    factor = 1.0 if OPTIMIZERS[params.optimizer].one_rate else 0.5
    trainable: Any = SmallTrainable(dtype, factor)
    return TrainStep(trainable, params, objective, accelerator)


def batch(number: int, device: torch.device | str = "cpu") -> Batch:
    """Of step `number`."""
    generator = torch.Generator().manual_seed(number)
    latents, noise = torch.randn(2, IMAGES, 4, 8, 8, generator=generator).to(device)
    return Batch(
        latents_BCHW=latents,
        noise_BCHW=noise,
        timesteps_B=torch.randint(1000, (IMAGES,), generator=generator),
        hidden_BSD=torch.zeros(IMAGES, 1, 1, device=device),
        pooled_BP=torch.zeros(IMAGES, 1, device=device),
        time_ids_B6=torch.zeros(IMAGES, 6, device=device),
        weights_B=torch.ones(IMAGES, device=device),
    )


def advance(step: TrainStep, numbers: Iterable[int]) -> list[StepResult]:
    """Make some steps."""
    device = next(iter(step.trainable.weights().values())).device
    return [step.step(number, batch(number, device), StopRequest()) for number in numbers]


def through_a_checkpoint(snapshot: Snapshot, folder: Path) -> Snapshot:
    """What is left of a state after it was written and read."""
    store = CheckpointStore(folder, fingerprint="f", keep=1, warn=print)
    return store.load(store.save(snapshot))
