"""Order of convergence of the samplers, on a mixture of Gaussians whose score is known.

In one dimension the probability-flow ODE keeps the rank of every point, so the exact end of a
trajectory is the quantile that its start had: the reference has no step size of its own. Runs
go from sigma 20 to 0.05 on log-uniform grids; the last level is compared, before the step to 0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from bench.results import ROOT, table, write

from nadir.diffusion.prediction import to_v
from nadir.diffusion.samplers import make_sampler
from nadir.diffusion.samplers.dpmpp import DPMpp2MSDESampler
from nadir.diffusion.samplers.euler import EulerAncestralSampler
from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.pages.drawing import COLOURS, chart_style, log_axis, save_chart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.diffusion.samplers import Sampler

FIRST, LAST = 20.0, 0.05
WEIGHTS = torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64)
MEANS = torch.tensor([-1.5, 0.2, 1.4], dtype=torch.float64)
SPREADS = torch.tensor([0.3, 0.5, 0.25], dtype=torch.float64)
SCHEDULE = NoiseSchedule.scaled_linear().zero_terminal()
# the order that theory promises each of them
ORDERS = {
    "euler": 1,
    "ddim": 1,
    "dpmpp_2m": 2,
    "heun": 2,
    "euler_ancestral, eta 0": 1,
    "dpmpp_2m_sde, eta 0": 2,
}


def denoise(y: torch.Tensor, sigma: float) -> torch.Tensor:
    """E[x0 | y] of the mixture in VE scale, shape [N]."""
    variance = SPREADS**2 + sigma**2
    offset = y[:, None] - MEANS
    log_weight = WEIGHTS.log() - 0.5 * variance.log() - offset**2 / (2 * variance)
    centre = (SPREADS**2 * y[:, None] + sigma**2 * MEANS) / variance
    return (log_weight.softmax(dim=1) * centre).sum(dim=1)


def rank(y: torch.Tensor, sigma: float) -> torch.Tensor:
    """Cumulative probability of y among data with noise of deviation sigma."""
    deviation = (SPREADS**2 + sigma**2).sqrt()
    return (WEIGHTS * torch.special.ndtr((y[:, None] - MEANS) / deviation)).sum(dim=1)


def exact(y: torch.Tensor, sigma: float, to: float) -> torch.Tensor:
    """Where the probability-flow ODE takes y from `sigma` to `to`, by bisection of the rank."""
    wanted = rank(y, sigma)
    low, high = torch.full_like(y, -1e3), torch.full_like(y, 1e3)
    for _ in range(80):
        middle = (low + high) / 2
        below = rank(middle, to) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def make(name: str) -> Sampler:
    """A sampler by its name in `ORDERS`."""
    if name == "euler_ancestral, eta 0":
        return EulerAncestralSampler(SCHEDULE, prediction="v", eta=0.0)
    if name == "dpmpp_2m_sde, eta 0":
        return DPMpp2MSDESampler(SCHEDULE, prediction="v", eta=0.0)
    return make_sampler(SCHEDULE, prediction="v", name=name)


def end_of_run(sampler: Sampler, y: torch.Tensor, steps: int) -> torch.Tensor:
    """The sample at LAST after `steps` steps from FIRST, in VE scale."""
    grid = torch.logspace(math.log10(FIRST), math.log10(LAST), steps + 1, dtype=torch.float64)
    sampler.set_timesteps(sigmas=grid.tolist())
    z = y / math.hypot(1, FIRST)
    for i, t in enumerate(sampler.timesteps[:-1]):  # not the step to 0
        sigma = float(grid[(i + sampler.order - 1) // sampler.order])
        x0 = denoise(z * math.hypot(1, sigma), sigma)
        abar = torch.tensor(1 / (1 + sigma**2), dtype=torch.float64)
        z = sampler.step(to_v("x0", x0, z, abar), t, z, return_dict=False)[0]
    return z * math.hypot(1, LAST)


def errors(name: str, counts: Sequence[int]) -> list[float]:
    """Root-mean-square error over 64 starts, for each number of steps."""
    ranks = (torch.arange(64, dtype=torch.float64) + 0.5) / 64
    y = FIRST * torch.special.ndtri(ranks)
    reference = exact(y, FIRST, LAST)
    return [
        float((end_of_run(make(name), y, steps) - reference).square().mean().sqrt())
        for steps in counts
    ]


def slope(counts: Sequence[int], found: Sequence[float]) -> float:
    """Order of convergence: minus the slope of log error over log steps, by least squares."""
    x = torch.tensor(counts, dtype=torch.float64).log()
    e = torch.tensor(found, dtype=torch.float64).log()
    return float(-((x - x.mean()) * (e - e.mean())).sum() / ((x - x.mean()) ** 2).sum())


def plot(counts: Sequence[int], found: dict[str, list[float]]) -> None:
    """Draw docs/images/sampler_order.png."""
    with chart_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 5), layout="constrained")
        axes = figure.subplots()
        styles = ["o-", "x--", "s-", "^-", "+:", "1:"]
        for (name, values), style in zip(found.items(), styles, strict=True):
            axes.plot(counts, values, style, label=f"{name}: order {slope(counts, values):.2f}")
        for order in (1, 2):
            guide = [0.3 * (counts[0] / n) ** order for n in counts]
            axes.plot(counts, guide, color=COLOURS["faint"], lw=1)
            place = (counts[-2], 1.15 * guide[-2])
            axes.annotate(f"order {order}", place, color=COLOURS["soft"])
        axes.set_xlabel("steps from sigma 20 to 0.05")
        axes.set_ylabel("root-mean-square error")
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [f"{n:,}" for n in counts])
        log_axis(axes, "y")
        axes.legend()
        path = ROOT / "docs" / "images" / "sampler_order.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_chart(figure, path)


def main() -> None:
    """Measure, write the table and the plot."""
    torch.set_num_threads(1)
    counts = [32, 64, 128, 256, 512, 1024]
    found = {name: errors(name, counts) for name in ORDERS}
    rows = [
        [name, *(f"{value:.2e}" for value in values), f"{slope(counts[2:], values[2:]):.3f}"]
        for name, values in found.items()
    ]
    header = ["sampler", *(f"{n} steps" for n in counts), "order (128 and up)"]
    text = __doc__.split("\n\n", 1)[1].strip() if __doc__ else ""
    figure = "![Error over steps](../images/sampler_order.png)"
    write("sampler_order", "Order of convergence", f"{text}\n\n{table(header, rows)}\n\n{figure}")
    plot(counts, found)


if __name__ == "__main__":
    main()
