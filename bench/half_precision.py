"""Half precision where the signal is smallest: timesteps 995 to 999.

Latents and network outputs are held in bf16 or fp16, the room's arithmetic is float32 inside.
Deviations are from the same numbers in float64, the greatest of 65536 elements, relative to the
deviation of the quantity. Beside them: what computing alpha in the half type itself would give.
On a GPU, the same for a matrix product in tf32, which touches the network only.
"""

from __future__ import annotations

import torch
from bench.results import table, write
from torch import Tensor

from nadir.diffusion.prediction import add_noise, target, to_x0
from nadir.diffusion.samplers import make_sampler
from nadir.diffusion.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule.scaled_linear().zero_terminal()
TIMESTEPS = (995, 996, 997, 998, 999)
TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def draw() -> tuple[Tensor, Tensor]:
    """x0 and noise, float64, [16, 4, 32, 32]."""
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 16, 4, 32, 32, generator=generator, dtype=torch.float64)
    return x0, noise


def deviations(t: int, dtype: torch.dtype) -> dict[str, float]:
    """Greatest deviation from float64 of input, target, x0 and the next sample at timestep t."""
    x0, noise = draw()
    abar = SCHEDULE.alphas_cumprod[t]
    low_x0, low_noise = x0.to(dtype), noise.to(dtype)
    noisy, v = add_noise(x0, noise, abar), target("v", x0, noise, abar)
    low_noisy, low_v = add_noise(low_x0, low_noise, abar), target("v", low_x0, low_noise, abar)
    pairs = {
        "input": (low_noisy, noisy),
        "target": (low_v, v),
        "x0 of v": (to_x0("v", low_v, low_noisy, abar), x0),
        "next sample": (next_sample(t, low_v, low_noisy), next_sample(t, v, noisy)),
    }
    return {name: deviation(low, high) for name, (low, high) in pairs.items()}


def deviation(low: Tensor, high: Tensor) -> float:
    """Greatest difference over the standard deviation; NaN or infinity show as such."""
    return float((low.double() - high).abs().max() / high.std())


def next_sample(t: int, v: Tensor, noisy: Tensor) -> Tensor:
    """One Euler step from timestep t to timestep 960."""
    sampler = make_sampler(SCHEDULE, prediction="v")
    sampler.set_timesteps(timesteps=[t, 960, 500])
    moved: Tensor = sampler.step(v, sampler.timesteps[0], noisy, return_dict=False)[0]
    return moved


def naive_alpha(t: int, dtype: torch.dtype) -> float:
    """Relative error of alpha where the table itself is in `dtype`."""
    exact = float(SCHEDULE.alphas_cumprod[t].sqrt())
    low = float(SCHEDULE.alphas_cumprod[t].to(dtype).sqrt())
    return abs(low / exact - 1) if exact else abs(low)


def tf32_row() -> list[str] | None:
    """Greatest relative deviation of a 1024 matrix product in tf32 and fp32; None without GPU."""
    if not torch.cuda.is_available():
        return None
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 1024, 1024, generator=generator, dtype=torch.float64).cuda()
    cells = []
    for allowed in (True, False):
        torch.backends.cuda.matmul.allow_tf32 = allowed
        cells.append(f"{deviation(a.float() @ b.float(), a @ b):.1e}")
    return ["matrix product, 1024", *cells]


def main() -> None:
    """Measure and write the table."""
    torch.set_num_threads(1)
    names = ("input", "target", "x0 of v", "next sample")
    header = ["type, timestep", *names, "alpha, if taken from a table in the type"]
    rows = []
    for label, dtype in TYPES.items():
        for t in TIMESTEPS:
            found = deviations(t, dtype)
            cells = [f"{found[name]:.1e}" for name in names]
            rows.append([f"{label}, {t}", *cells, f"{naive_alpha(t, dtype):.1e}"])
    body = (__doc__.split("\n\n", 1)[1].strip() if __doc__ else "") + "\n\n" + table(header, rows)
    gpu = tf32_row()
    if gpu:
        body += "\n\n" + table(["", "tf32", "fp32"], [gpu])
    else:
        body += "\n\nNo GPU here, so tf32 was not measured."
    write("half_precision", "Half precision at the terminal steps", body)


if __name__ == "__main__":
    main()
