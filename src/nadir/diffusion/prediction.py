"""Noising, training targets and conversions between x0, noise (epsilon) and v.

v = alpha noise - varsigma x0 (Salimans & Ho 2202.00512), so (z, v) is (x0, noise) rotated by the
angle whose tangent is sigma: nothing is ever divided, and v holds at SNR 0 and at infinity.
Arithmetic is in float32 or better; results have the dtype of the first tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nadir.diffusion.names import PREDICTIONS
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from torch import Tensor


def add_noise(x0_BCHW: Tensor, noise_BCHW: Tensor, alphas_cumprod_B: Tensor) -> Tensor:
    """The network's input z = alpha x0 + varsigma noise, with unit variance if x0 has it.

    Args:
        x0_BCHW: Clean latents; any number of axes after the batch.
        noise_BCHW: Standard normal noise of the same shape.
        alphas_cumprod_B: [B] or a scalar tensor, in [0, 1]; float64 keeps small values exact.
    """
    alpha, varsigma = _coefficients(alphas_cumprod_B, x0_BCHW)
    return (alpha * x0_BCHW + varsigma * noise_BCHW).to(x0_BCHW.dtype)


def target(
    prediction: str, x0_BCHW: Tensor, noise_BCHW: Tensor, alphas_cumprod_B: Tensor
) -> Tensor:
    """What a network of that prediction is trained to put out.

    Raises:
        NadirError: Unknown prediction.
    """
    _check(prediction)
    if prediction == "epsilon":
        return noise_BCHW
    if prediction == "x0":
        return x0_BCHW
    alpha, varsigma = _coefficients(alphas_cumprod_B, x0_BCHW)
    return (alpha * noise_BCHW - varsigma * x0_BCHW).to(x0_BCHW.dtype)


def to_x0(
    prediction: str, output_BCHW: Tensor, noisy_BCHW: Tensor, alphas_cumprod_B: Tensor
) -> Tensor:
    """x0 from the network's output; at SNR 0 that is exactly -v.

    Args:
        prediction: What `output_BCHW` is.
        output_BCHW: Network output.
        noisy_BCHW: Its input z.
        alphas_cumprod_B: [B] or a scalar tensor, in [0, 1].

    Raises:
        NadirError: Unknown prediction, or epsilon at SNR 0, where x0 is undefined.
    """
    _check(prediction)
    if prediction == "x0":
        return output_BCHW
    alpha, varsigma = _coefficients(alphas_cumprod_B, output_BCHW)
    if prediction == "v":
        return (alpha * noisy_BCHW - varsigma * output_BCHW).to(output_BCHW.dtype)
    _require(alphas_cumprod_B > 0, "x0 cannot be derived from epsilon where the SNR is zero")
    return ((noisy_BCHW - varsigma * output_BCHW) / alpha).to(output_BCHW.dtype)


def to_epsilon(
    prediction: str, output_BCHW: Tensor, noisy_BCHW: Tensor, alphas_cumprod_B: Tensor
) -> Tensor:
    """Noise from the network's output; at SNR 0 that is exactly z.

    Raises:
        NadirError: Unknown prediction, or x0 at infinite SNR, where the noise is undefined.
    """
    _check(prediction)
    if prediction == "epsilon":
        return output_BCHW
    alpha, varsigma = _coefficients(alphas_cumprod_B, output_BCHW)
    if prediction == "v":
        return (varsigma * noisy_BCHW + alpha * output_BCHW).to(output_BCHW.dtype)
    _require(alphas_cumprod_B < 1, "epsilon cannot be derived from x0 where the SNR is infinite")
    return ((noisy_BCHW - alpha * output_BCHW) / varsigma).to(output_BCHW.dtype)


def to_v(
    prediction: str, output_BCHW: Tensor, noisy_BCHW: Tensor, alphas_cumprod_B: Tensor
) -> Tensor:
    """The v of a network's output: -x0 at SNR 0, epsilon at infinite SNR.

    Raises:
        NadirError: Unknown prediction, epsilon at SNR 0, or x0 at infinite SNR.
    """
    _check(prediction)
    if prediction == "v":
        return output_BCHW
    alpha, varsigma = _coefficients(alphas_cumprod_B, output_BCHW)
    if prediction == "epsilon":
        _require(alphas_cumprod_B > 0, "v cannot be derived from epsilon where the SNR is zero")
        return ((output_BCHW - varsigma * noisy_BCHW) / alpha).to(output_BCHW.dtype)
    _require(alphas_cumprod_B < 1, "v cannot be derived from x0 where the SNR is infinite")
    return ((alpha * noisy_BCHW - output_BCHW) / varsigma).to(output_BCHW.dtype)


def _coefficients(alphas_cumprod_B: Tensor, like_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Alpha and varsigma, shaped to multiply `like`, in float32 or its better dtype."""
    if alphas_cumprod_B.ndim > 1 or alphas_cumprod_B.numel() not in (1, len(like_BCHW)):
        raise ValueError(
            f"alphas_cumprod must have one value or one per sample, not shape "
            f"{list(alphas_cumprod_B.shape)} for {len(like_BCHW)} samples"
        )
    dtype = torch.promote_types(like_BCHW.dtype, torch.float32)
    shaped = alphas_cumprod_B.reshape(-1, *[1] * (like_BCHW.ndim - 1))
    alpha, varsigma = shaped.sqrt(), (1 - shaped).sqrt()
    return alpha.to(like_BCHW.device, dtype), varsigma.to(like_BCHW.device, dtype)


def _check(prediction: str) -> None:
    if prediction not in PREDICTIONS:
        raise NadirError(
            f"{prediction!r} is not a prediction",
            where="noise.prediction",
            fix=f"use one of {', '.join(PREDICTIONS)}",
        )


def _require(defined_B: Tensor, what: str) -> None:
    if not bool(defined_B.all()):
        raise NadirError(what, where="noise.prediction", fix="use prediction v")
