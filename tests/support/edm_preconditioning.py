"""EDM preconditioning (Karras et al. 2206.00364), which at sigma_data = 1 is v-prediction.

D(y; sigma) = c_skip y + c_out F(c_in y), with k-diffusion's sign of c_out (paper App. A). For
sigma_data = 1 and z = y / sqrt(1 + sigma^2): D = alpha z - varsigma F, the x0 of a v-prediction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Scalings(NamedTuple):
    """The three factors, each of the shape of sigma."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor


def scalings(sigma: Tensor, sigma_data: float = 1.0) -> Scalings:
    """c_skip, c_out and c_in at any sigma >= 0, exact at 0 and at infinity.

    At infinity they are 0, -sigma_data and 0: D(inf) = -sigma_data F, and the input is noise of
    unit variance, which VP scale holds directly and VE scale only as a limit.
    """
    ratio = sigma / sigma_data
    return Scalings(
        c_skip=1 / (1 + ratio**2),
        c_out=-sigma_data / (1 + ratio**-2).sqrt(),
        c_in=1 / (sigma_data * (1 + ratio**2).sqrt()),
    )


def edm_target(x0: Tensor, noise: Tensor, sigma: Tensor, sigma_data: float = 1.0) -> Tensor:
    """What F is trained to put out: (s noise - sigma x0 / s) / sqrt(sigma^2 + s^2), s = sigma_data.

    The v of data / sigma_data at sigma / sigma_data; -x0 / sigma_data at infinite sigma.

    Args:
        x0: Data.
        noise: Standard normal noise of the same shape.
        sigma: Broadcasts against `x0`; >= 0, may be `inf`.
        sigma_data: Standard deviation of the data.
    """
    ratio = sigma / sigma_data
    return noise / (1 + ratio**2).sqrt() - (x0 / sigma_data) / (1 + ratio**-2).sqrt()
