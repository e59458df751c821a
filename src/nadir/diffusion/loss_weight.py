"""Loss weights by signal-to-noise ratio (paper §2.4).

Every weight is defined by w(SNR), the weight it implies on the squared error of x0, and turned
into the form of the target that the network predicts:

    target    x0   epsilon   v
    weight    w    w / SNR   w / (SNR + 1)

because |v - v'|^2 = (1 + SNR) |x0 - x0'|^2 = (1 + 1/SNR) |epsilon - epsilon'|^2.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch

from nadir.diffusion.names import LOSS_WEIGHTS, PREDICTIONS
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from nadir.diffusion.schedule import NoiseSchedule

# SDXL's last sigma, twice it (a canvas twice as long), and where little but the mean colour is left
SIGMA_BANDS = (1.0, 14.6146, 29.2293, 100.0)


def loss_weight(
    name: str, snr_B: Tensor, *, prediction: str, gamma: float, sigma_data: float = 1.0
) -> Tensor:
    """Weight of each sample's mean squared error; average the products over the batch.

    Args:
        name: `none`: 1 for every target.
            `min_snr`: w = min(SNR, gamma), Hang et al. 2303.09556 to the letter; on v it is
            min(SNR, gamma) / (SNR + 1), which is 0 at the terminal step of zero terminal SNR.
            `min_snr_snr0_one`: the same, but 1 where SNR is 0, as in their repository; v only.
            `snr_plus_one`: w = min(SNR + 1, gamma); on v it is 1 wherever SNR <= gamma - 1.
            `soft_min_snr`: w = SNR gamma / (SNR + gamma); gamma = 1 is k-diffusion's.
            `debiased`: w = sqrt(SNR), so that epsilon has 1 / sqrt(SNR) as in Yu et al.
            2310.08442 and v has sqrt(SNR) / (SNR + 1). Other trainers use other v-forms under
            the same name: 1 / (SNR + 1), and 1 / sqrt(SNR + 1).
        snr_B: SNR of each sample, >= 0, from the schedule that the noise comes from.
        prediction: The network's target: `v`, `epsilon` or `x0`.
        gamma: Clamp; 5 in the paper. Not used by `none` and `debiased`.
        sigma_data: Standard deviation of the data where it is not 1; SNR counts as
            SNR * sigma_data^2, and targets as those of data / sigma_data.

    Returns:
        Weights of the shape of `snr_B`, in its dtype.

    Raises:
        NadirError: Unknown name or prediction, a combination without meaning, or an epsilon
            weight where SNR is 0.
    """
    _check(name, snr_B, prediction=prediction, gamma=gamma)
    if name == "none":
        return torch.ones_like(snr_B)
    snr = snr_B.double() * sigma_data**2
    if prediction == "v":
        finite = snr.clamp(max=1e300)  # a weight that grows with SNR would be inf / inf
        weight = X0_WEIGHTS[name](finite, gamma) / (finite + 1)
        if name == "min_snr_snr0_one":
            weight = torch.where(snr == 0, 1.0, weight)
    elif prediction == "epsilon":
        weight = snr.rsqrt() if name == "debiased" else X0_WEIGHTS[name](snr, gamma) / snr
    else:
        weight = X0_WEIGHTS[name](snr, gamma)
    return weight.to(snr_B.dtype)


X0_WEIGHTS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "min_snr": lambda snr, gamma: snr.clamp(max=gamma),
    "min_snr_snr0_one": lambda snr, gamma: snr.clamp(max=gamma),
    "snr_plus_one": lambda snr, gamma: (snr + 1).clamp(max=gamma),
    # Defined at SNR 0 and at infinity.
    "soft_min_snr": lambda snr, gamma: gamma / (1 + gamma / snr),
    "debiased": lambda snr, _gamma: snr.sqrt(),
}
"""w(SNR, gamma) by name; `none` weighs each target as it is and has none."""


def _check(name: str, snr_B: Tensor, *, prediction: str, gamma: float) -> None:
    where = "train.loss_weight"
    if name not in LOSS_WEIGHTS:
        fix = f"use one of {', '.join(LOSS_WEIGHTS)}"
        raise NadirError(f"{name!r} is not a loss weight", where=where, fix=fix)
    if prediction not in PREDICTIONS:
        fix = f"use one of {', '.join(PREDICTIONS)}"
        raise NadirError(f"{prediction!r} is not a prediction", where="noise.prediction", fix=fix)
    if not gamma > 0:
        raise NadirError(f"gamma must be positive, not {gamma}", where=where, fix="use 5")
    if name == "min_snr_snr0_one" and prediction != "v":
        raise NadirError(
            f"min_snr_snr0_one replaces the v-form's zero at the terminal step; for {prediction} "
            "it has no meaning",
            where=where,
            fix="use min_snr, or predict v",
        )
    if prediction == "epsilon" and name != "none" and bool((snr_B == 0).any()):
        raise NadirError(
            "an epsilon loss has no weight where the SNR is zero: the target is the input",
            where=where,
            fix="predict v, or set noise.zero_terminal_snr to false",
        )


def loss_weight_table(
    schedule: NoiseSchedule, name: str, *, prediction: str, gamma: float, sigma_data: float = 1.0
) -> Tensor:
    """[T] float64: the weight of every timestep of a schedule."""
    return loss_weight(
        name, schedule.snr, prediction=prediction, gamma=gamma, sigma_data=sigma_data
    )


def weight_shares(
    schedule: NoiseSchedule, weights_T: Tensor, bands: Sequence[float] = SIGMA_BANDS
) -> dict[str, float]:
    """Share of the total weight that each band of sigma receives under uniform timesteps.

    Logged with every training run: it shows at a glance a schedule whose top is starved.

    Args:
        schedule: The schedule.
        weights_T: [T], as `loss_weight_table` gives.
        bands: Rising edges; a sigma belongs to the band it is above the lower edge of.

    Returns:
        `sigma_0_to_1`, ... `sigma_above_100` to shares that add up to 1, and `sigma_inf`, the
        part of the last band that the infinite timestep holds (0 without zero terminal SNR).
    """
    sigmas_T = schedule.sigmas
    share_T = weights_T.double() / weights_T.double().sum()
    edges = [0.0, *bands, float("inf")]
    shares = {}
    for low, high in itertools.pairwise(edges):
        inside = (sigmas_T > low) & (sigmas_T <= high)
        end = f"above_{low:g}" if high == float("inf") else f"{low:g}_to_{high:g}"
        shares[f"sigma_{end}"] = float(share_T[inside].sum())
    shares["sigma_inf"] = float(share_T[sigmas_T.isinf()].sum())
    return shares
