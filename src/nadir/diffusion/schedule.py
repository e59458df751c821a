"""The noise schedule: one frozen float64 table that training and sampling share.

Notation of the whole room. Variance-preserving (VP): z_t = alpha x0 + varsigma noise with
alpha = sqrt(alphas_cumprod) and varsigma = sqrt(1 - alphas_cumprod). Variance-exploding (VE):
y = z / alpha = x0 + sigma noise. So sigma = varsigma / alpha and SNR = 1 / sigma^2.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nadir.diffusion.interpolation import sigma_at, timestep_at
from nadir.diffusion.sdxl import BETA_END, BETA_START, TIMESTEPS
from nadir.diffusion.spacing import spaced_timesteps
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The forward process as a table over integer timesteps 0 (clean) to T - 1 (noisiest).

    Args:
        alphas_cumprod: [T], T >= 2, each in (0, 1), strictly falling; the last may be exactly 0,
            which is zero terminal SNR. Kept as float64 on the CPU.

    Raises:
        ValueError: The table breaks one of these rules.
    """

    alphas_cumprod: Tensor

    def __post_init__(self) -> None:
        table_T = self.alphas_cumprod.detach().to("cpu", torch.float64).clone()
        if table_T.ndim != 1 or len(table_T) < 2:
            raise ValueError(f"alphas_cumprod must be [T] with T >= 2, not {list(table_T.shape)}")
        inside = bool(((table_T[:-1] > 0) & (table_T[:-1] < 1)).all())
        if not inside or not 0 <= float(table_T[-1]) < 1:
            raise ValueError("alphas_cumprod must lie in (0, 1); only the last entry may be 0")
        if not bool((table_T.diff() < 0).all()):
            raise ValueError("alphas_cumprod must fall strictly from timestep to timestep")
        object.__setattr__(self, "alphas_cumprod", table_T)

    @classmethod
    def from_betas(cls, betas: Tensor) -> NoiseSchedule:
        """Any table of betas [T]: alphas_cumprod_t is the product of (1 - beta_s) for s <= t."""
        return cls(torch.cumprod(1 - betas.to("cpu", torch.float64), dim=0))

    @classmethod
    def scaled_linear(
        cls, beta_start: float = BETA_START, beta_end: float = BETA_END, timesteps: int = TIMESTEPS
    ) -> NoiseSchedule:
        """SDXL's table: sqrt(beta) runs linearly from start to end."""
        roots = torch.linspace(beta_start**0.5, beta_end**0.5, timesteps, dtype=torch.float64)
        return cls.from_betas(roots**2)

    @classmethod
    def linear(
        cls, beta_start: float, beta_end: float, timesteps: int = TIMESTEPS
    ) -> NoiseSchedule:
        """DDPM's table: beta runs linearly from start to end."""
        return cls.from_betas(torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64))

    @classmethod
    def from_settings(
        cls,
        *,
        prediction: str,
        zero_terminal_snr: bool,
        beta_schedule: str,
        beta_start: float,
        beta_end: float,
        timesteps: int,
        sigma_shift: float,
    ) -> NoiseSchedule:
        """The schedule of the parameter section `noise`, or of a checkpoint that stores it.

        The rescale to zero terminal SNR comes first, the sigma shift second.

        Raises:
            NadirError: Unknown beta schedule, or epsilon-prediction with zero terminal SNR.
        """
        if zero_terminal_snr and prediction == "epsilon":
            raise NadirError(
                "epsilon-prediction teaches nothing where the SNR is zero",
                where="noise.prediction",
                fix="use prediction v or x0, or set noise.zero_terminal_snr to false",
            )
        tables = {"scaled_linear": cls.scaled_linear, "linear": cls.linear}
        if beta_schedule not in tables:
            raise NadirError(
                f"{beta_schedule!r} is not a beta schedule",
                where="noise.beta_schedule",
                fix=f"use one of {', '.join(tables)}",
            )
        schedule = tables[beta_schedule](beta_start, beta_end, timesteps)
        if zero_terminal_snr:
            schedule = schedule.zero_terminal()
        return schedule.shifted(sigma_shift)

    def zero_terminal(self) -> NoiseSchedule:
        """Rescaled so that the last timestep is pure noise (Lin et al. 2305.08891, Algorithm 1).

        sqrt(alphas_cumprod) is moved and stretched so that its first entry stays and its last
        becomes 0. Both ends are set rather than left to rounding.
        """
        roots_T = self.alphas_cumprod.sqrt()
        first, last = roots_T[0], roots_T[-1]
        rescaled_T = ((roots_T - last) * (first / (first - last))) ** 2
        rescaled_T[0] = self.alphas_cumprod[0]
        rescaled_T[-1] = 0.0
        return NoiseSchedule(rescaled_T)

    def shifted(self, factor: float) -> NoiseSchedule:
        """Every sigma multiplied by `factor` > 0 (paper §2.3: 2 for a canvas twice as long).

        Raises:
            ValueError: The factor is not positive.
        """
        if not factor > 0:
            raise ValueError(f"the sigma shift must be positive, not {factor}")
        if factor == 1:
            return self
        table_T = self.alphas_cumprod
        return NoiseSchedule(table_T / (table_T + (1 - table_T) * factor**2))

    @property
    def num_timesteps(self) -> int:
        """Number of timesteps T."""
        return len(self.alphas_cumprod)

    @property
    def sigmas(self) -> Tensor:
        """[T] float64, rising; the last is `inf` with zero terminal SNR."""
        return ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()

    @property
    def snr(self) -> Tensor:
        """[T] float64, falling; the last is 0 with zero terminal SNR."""
        return self.alphas_cumprod / (1 - self.alphas_cumprod)

    @property
    def betas(self) -> Tensor:
        """[T] float64; the last is 1 with zero terminal SNR."""
        before_T = torch.cat([torch.ones(1, dtype=torch.float64), self.alphas_cumprod[:-1]])
        return 1 - self.alphas_cumprod / before_T

    @property
    def is_zero_terminal(self) -> bool:
        """Whether the last timestep is pure noise."""
        return bool(self.alphas_cumprod[-1] == 0)

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the table to ten significant digits: equal where schedules agree."""
        text = ",".join(f"{value:.9e}" for value in self.alphas_cumprod.tolist())
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def sigma(self, t: float | Tensor) -> Tensor:
        """Sigma at any timestep, whole or not (see `interpolation.sigma_at`); float64."""
        return sigma_at(self.sigmas, t)

    def timestep(self, sigma: float | Tensor) -> Tensor:
        """Timestep of a sigma, the inverse of `sigma()` (see `interpolation.timestep_at`)."""
        return timestep_at(self.sigmas, sigma)

    def sampling_timesteps(
        self, steps: int, spacing: str, start_sigma: float | None = None
    ) -> Tensor:
        """[steps] float64 timesteps, falling, from the last one or from a sigma.

        Args:
            steps: Network evaluations of a first-order sampler, >= 1.
            spacing: `native`, `trailing` or `simple`; see `spacing.spaced_timesteps`.
            start_sigma: First sigma; None starts at timestep T - 1, the only start that zero
                terminal SNR is made for. A finite start is an ablation or image-to-image.

        Raises:
            NadirError: Unknown spacing, more steps than timesteps, or a sigma off the table.
        """
        last = float(self.num_timesteps - 1)
        if start_sigma is None:
            return spaced_timesteps(last, steps, spacing)
        sigmas_T = self.sigmas
        if not float(sigmas_T[0]) <= start_sigma <= float(sigmas_T[-1]):
            raise NadirError(
                f"start_sigma {start_sigma:g} is outside the schedule's "
                f"{float(sigmas_T[0]):.6g} to {float(sigmas_T[-1]):.6g}",
                where="start_sigma",
                fix="choose a sigma inside, or leave it out to start at the last timestep",
            )
        return spaced_timesteps(float(self.timestep(start_sigma)), steps, spacing)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NoiseSchedule):
            return NotImplemented
        return torch.equal(self.alphas_cumprod, other.alphas_cumprod)

    def __hash__(self) -> int:
        return hash(self.fingerprint)
