"""Does an uptrained network learn "completely black"? The default loss weight and the literal one.

A toy of SDXL's situation. Canvases of one colour, 1024 pixels, in three classes of mean -1
("black"), 0 and 1 with deviation 0.25. A small network sees the mean of the noised canvas, the
timestep and the class, and predicts v. It is first trained where SDXL was, up to sigma 14.6
(timestep 880 of the rescaled schedule), then uptrained on the whole schedule with one loss
weight. "Black" is then drawn by Nadir's Euler from infinite sigma in 28 native steps: -1 is
right, and what falls short of it is grey.
"""

from __future__ import annotations

import argparse
import copy
from dataclasses import dataclass

import torch
from bench.results import table, write
from torch import Tensor, nn

from nadir.diffusion.loss_weight import loss_weight_table
from nadir.diffusion.prediction import add_noise, target
from nadir.diffusion.samplers import make_sampler
from nadir.diffusion.schedule import NoiseSchedule

PIXELS = 1024
SPREAD = 0.25
CLASS_MEANS = (-1.0, 0.0, 1.0)
BLACK = 0
BASE_LAST_TIMESTEP = 880
GAMMA = 5.0
SCHEDULE = NoiseSchedule.scaled_linear().zero_terminal()


@dataclass(frozen=True)
class Budget:
    """How long to train; images are steps times `batch`."""

    base_steps: int = 4000
    uptrain_steps: tuple[int, ...] = (100, 500, 3000)
    batch: int = 256
    learning_rate: float = 2e-3
    samples: int = 1024


class MeanNet(nn.Module):
    """v of the canvas mean, from the noised mean, the timestep and the class."""

    def __init__(self) -> None:
        super().__init__()
        self.frequencies = torch.pi * 2.0 ** torch.arange(4)
        features = 2 + 2 * len(self.frequencies) + len(CLASS_MEANS)
        self.layers = nn.Sequential(
            nn.Linear(features, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)
        )

    def forward(self, noisy_B1: Tensor, timesteps_B: Tensor, classes_B: Tensor) -> Tensor:
        """The mean of v, [B, 1]."""
        t = (timesteps_B.float() / (SCHEDULE.num_timesteps - 1)).reshape(-1, 1)
        waves = t * self.frequencies
        one_hot = nn.functional.one_hot(classes_B, len(CLASS_MEANS)).float()
        features = torch.cat([noisy_B1, t, waves.sin(), waves.cos(), one_hot], dim=1)
        output: Tensor = self.layers(features)
        return output


def train(
    network: MeanNet, weights_T: Tensor, last_timestep: int, steps: int, budget: Budget
) -> None:
    """Weighted v-loss on canvas means; the noise of a mean of N pixels has the variance 1 / N."""
    optimizer = torch.optim.Adam(network.parameters(), lr=budget.learning_rate)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    means = torch.tensor(CLASS_MEANS)
    for _ in range(steps):
        classes = torch.randint(len(CLASS_MEANS), (budget.batch,))
        timesteps = torch.randint(last_timestep + 1, (budget.batch,))
        canvas = (means[classes] + SPREAD * torch.randn(budget.batch)).unsqueeze(1)
        noise = torch.randn(budget.batch, 1) / PIXELS**0.5
        abar = SCHEDULE.alphas_cumprod[timesteps]
        output = network(add_noise(canvas, noise, abar), timesteps, classes)
        error = (output - target("v", canvas, noise, abar)).square().squeeze(1)
        loss = (weights_T[timesteps].float() * error).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()


@torch.no_grad()
def draw_black(network: MeanNet, samples: int, start_sigma: float | None = None) -> float:
    """Mean colour of canvases drawn for the class "black"."""
    sampler = make_sampler(SCHEDULE, prediction="v", spacing="native", start_sigma=start_sigma)
    sampler.set_timesteps(28)
    z = torch.randn(samples, 1, generator=torch.Generator().manual_seed(0)) / PIXELS**0.5
    classes = torch.full((samples,), BLACK)
    for t in sampler.timesteps:
        z = sampler.step(network(z, t.repeat(samples), classes), t, z, return_dict=False)[0]
    return float(z.mean())


def make_base(seed: int, budget: Budget) -> MeanNet:
    """A network that knows nothing above sigma 14.6."""
    torch.manual_seed(seed)
    network = MeanNet()
    train(
        network, torch.ones(SCHEDULE.num_timesteps), BASE_LAST_TIMESTEP, budget.base_steps, budget
    )
    return network


def uptrain(base: MeanNet, weight: str, steps: int, seed: int, budget: Budget) -> MeanNet:
    """The base after `steps` more on the whole schedule, under a loss weight."""
    torch.manual_seed(1000 + seed)
    network = copy.deepcopy(base)
    weights = loss_weight_table(SCHEDULE, weight, prediction="v", gamma=GAMMA)
    train(network, weights, SCHEDULE.num_timesteps - 1, steps, budget)
    return network


def measure(weight: str, steps: int, seeds: range, bases: list[MeanNet], budget: Budget) -> str:
    """The colour of "black" over the seeds, as a table cell."""
    found = sorted(
        draw_black(uptrain(base, weight, steps, seed, budget), budget.samples)
        for seed, base in zip(seeds, bases, strict=True)
    )
    return f"{found[0]:.2f} … {found[-1]:.2f}" if len(found) > 1 else f"{found[0]:.2f}"


def main() -> None:
    """All weights, three seeds."""
    parser = argparse.ArgumentParser(description="Loss weights and the terminal step.")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default 3)")
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    budget = Budget()
    bases = [make_base(seed, budget) for seed in seeds]
    before = sorted(draw_black(base, budget.samples) for base in bases)
    names = ("snr_plus_one", "none", "min_snr_snr0_one", "min_snr", "soft_min_snr", "debiased")
    rows = [
        [
            f"`{name}`",
            *(measure(name, steps, seeds, bases, budget) for steps in budget.uptrain_steps),
        ]
        for name in names
    ]
    header = ["loss weight", *(f"{steps} steps" for steps in budget.uptrain_steps)]
    text = __doc__.split("\n\n", 1)[1].strip() if __doc__ else ""
    note = (
        f'Colour of "black" over {len(seeds)} seeds, lowest and highest; before uptraining '
        f"{before[0]:.2f} … {before[-1]:.2f}. gamma {GAMMA:g}, batch {budget.batch}."
    )
    write(
        "terminal_step",
        "Loss weight and the terminal step",
        f"{text}\n\n{note}\n\n{table(header, rows)}",
    )


if __name__ == "__main__":
    main()
