"""Which noise settings a stored table of alphas_cumprod belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nadir.diffusion.schedule import NoiseSchedule

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

# bfloat16 keeps eight bits; tables that differ in kind differ by far more.
_TOLERANCE = 4e-3
# Programs that cannot hold an infinite sigma store 6e-8 (2**-24) or 4.9e-8 for 0; SDXL's own
# table ends at 4.7e-3.
_NOTHING_LEFT = 1e-6
_DIGITS = 6


def settings_of_table(table: torch.Tensor, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Settings with whose betas a table agrees, with or without rescale and shift.

    Args:
        table: alphas_cumprod [T] in any precision.
        settings: The parameter section `noise`; `zero_terminal_snr` and `sigma_shift` are found.

    Returns:
        The settings that make the table; None when no rescale and no shift of these betas does.
    """
    table_T = table.detach().double().flatten()
    if len(table_T) != settings["timesteps"] or not bool(table_T.isfinite().all()):
        return None
    zero = bool(table_T[-1].abs() <= _NOTHING_LEFT)
    plain = dict(settings) | {"zero_terminal_snr": zero, "sigma_shift": 1.0}
    plain_T = NoiseSchedule.from_settings(**plain | {"prediction": "v"}).alphas_cumprod
    middle = len(table_T) // 2
    shift = _sigma(table_T[middle]) / _sigma(plain_T[middle])
    for factor in (1.0, round(shift, _DIGITS)):
        if factor > 0 and _agree(table_T, plain | {"sigma_shift": factor}):
            return plain | {"sigma_shift": factor}
    return None


def _sigma(alpha_cumprod: torch.Tensor) -> float:
    inside = float(alpha_cumprod.clamp(1e-12, 1 - 1e-12))
    return float(((1 - inside) / inside) ** 0.5)


def _agree(table_T: torch.Tensor, settings: dict[str, Any]) -> bool:
    made_T = NoiseSchedule.from_settings(**settings | {"prediction": "v"}).alphas_cumprod
    return bool((made_T - table_T).abs().max() <= _TOLERANCE)
