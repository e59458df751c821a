"""What training minimises: the weighted error of the predicted target (paper §2.1, §2.4, §4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nadir.compute.devices import sent
from nadir.config.objective import SquaredLoss
from nadir.diffusion.loss_weight import loss_weight_table
from nadir.diffusion.prediction import add_noise, target
from nadir.training.losses.error_functions import error_function
from nadir.training.losses.learned_weight import LearnedWeight
from nadir.training.validation.levels import band_members

if TYPE_CHECKING:
    from collections.abc import Callable

    from nadir.config.noise import NoiseParams
    from nadir.config.objective import LossParams, LossWeightParams
    from nadir.diffusion.schedule import NoiseSchedule
    from nadir.model.sdxl.calling import UNet


_LEARNED = "loss_weight."


@dataclass(frozen=True)
class Batch:
    """Samples that go through the network together; all have one shape.

    Attributes:
        latents_BCHW: Clean latents, normalised.
        noise_BCHW: Standard normal.
        timesteps_B: int64 in 0 .. T - 1, on the CPU, where the float64 tables are.
        hidden_BSD: Text states for cross-attention.
        pooled_BP: Pooled text vector.
        time_ids_B6: Micro-conditioning (SDXL, 2307.01952 §2.2): original height and width, crop
            top and left, target height and width, in pixels.
        weights_B: Tag weights, mean 1 over the dataset.
        tokens_BECS: Captions' tokens where text encoders are trained, of which the step makes the
            text states; `hidden_BSD` and `pooled_BP` are then [B, 0]. Else None.
        pixel_weights_B1HW: What each pixel's error counts with `train.masked_loss`. Else None.
    """

    latents_BCHW: torch.Tensor
    noise_BCHW: torch.Tensor
    timesteps_B: torch.Tensor
    hidden_BSD: torch.Tensor
    pooled_BP: torch.Tensor
    time_ids_B6: torch.Tensor
    weights_B: torch.Tensor
    tokens_BECS: torch.Tensor | None = None
    pixel_weights_B1HW: torch.Tensor | None = None

    def parts(self, count: int) -> list[Batch]:
        """The batch in `count` equal parts, for gradient accumulation."""
        split = [
            [None] * count if tensor is None else tensor.chunk(count)
            for tensor in vars(self).values()
        ]
        return [Batch(*tensors) for tensors in zip(*split, strict=True)]


@dataclass(frozen=True)
class Loss:
    """A batch's loss.

    Attributes:
        loss: Weighted mean, which is differentiated; a scalar.
        unweighted: Mean squared error without weights, detached; a scalar.
        bands_23: Sums of the samples' squared errors by band of sigma (`levels.BANDS`), and how
            many samples they are of.
    """

    loss: torch.Tensor
    unweighted: torch.Tensor
    bands_23: torch.Tensor


class Objective:
    """The training loss for one noise schedule.

    Args:
        schedule: Made from `params.noise`; weights use its own SNR, after any rescale.
        noise: Says what the network predicts.
        weight: Loss weight by SNR, and what is learned on top of it.
        loss: The error of an element; squared when left out.
        device: Where batches are.

    Attributes:
        schedule: What the batches are noised by.
        weights_T: Loss weight of every timestep, float64; what is learned comes on top.
    """

    def __init__(
        self,
        schedule: NoiseSchedule,
        noise: NoiseParams,
        weight: LossWeightParams,
        *,
        loss: LossParams | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.schedule = schedule
        self._error = error_function(loss or SquaredLoss(kind="mse"), schedule)
        self._learned = None
        if weight.learned:
            device = device or torch.device("cpu")
            self._learned = LearnedWeight(weight.learned, schedule, device)
        self._prediction = noise.prediction
        self._bands_T3 = band_members(schedule)
        self.weights_T = loss_weight_table(
            schedule, weight.name, prediction=noise.prediction, gamma=weight.gamma
        )

    def __call__(self, unet: UNet, batch: Batch) -> Loss:
        """Loss of a batch.

        Each sample's error, times its mask where there is one, is averaged over its latent, then
        multiplied by the SNR weight and the tag weight. Neither is divided by the mask's mean, nor
        the batch's by the sum of weights (Hang et al. 2303.09556), so weights below 1 lower the
        effective learning rate.
        """
        clean_BCHW, noise_BCHW = batch.latents_BCHW, batch.noise_BCHW
        device = clean_BCHW.device
        alphas_B = self.schedule.alphas_cumprod[batch.timesteps_B]
        if device.type == "cuda":  # float64 there as here; MPS knows none
            alphas_B = sent(alphas_B, device)
        noisy_BCHW = add_noise(clean_BCHW, noise_BCHW, alphas_B)
        wanted_BCHW = target(self._prediction, clean_BCHW, noise_BCHW, alphas_B)
        timesteps_B = sent(batch.timesteps_B, device)
        output_BCHW = unet(
            noisy_BCHW, timesteps_B, batch.hidden_BSD, batch.pooled_BP, batch.time_ids_B6
        )
        difference_BCHW = output_BCHW.float() - wanted_BCHW.float()
        error_BCHW = self._error(difference_BCHW, batch.timesteps_B)
        if batch.pixel_weights_B1HW is not None:
            error_BCHW = error_BCHW * batch.pixel_weights_B1HW
        error_B = error_BCHW.mean(dim=(1, 2, 3))
        weighted_B = error_B * sent(self.weights_T[batch.timesteps_B].to(error_B.dtype), device)
        if self._learned:
            weighted_B = self._by_uncertainty(self._learned, weighted_B, batch)
        loss = (weighted_B * batch.weights_B).mean()
        squared_B = difference_BCHW.detach().square().mean(dim=(1, 2, 3))
        members_B3 = sent(self._bands_T3[batch.timesteps_B], device)
        sums_3 = (squared_B[:, None] * members_B3).sum(dim=0)
        return Loss(loss, squared_B.mean(), torch.stack([sums_3, members_B3.sum(dim=0)]))

    def _by_uncertainty(
        self, learned: LearnedWeight, error_B: torch.Tensor, batch: Batch
    ) -> torch.Tensor:
        """exp(-u) error + u; where gradients are wanted, u learns from it, too."""
        if torch.is_grad_enabled():
            learned.observe(batch.timesteps_B, error_B.detach(), batch.weights_B)
        u_B = learned.uncertainty(batch.timesteps_B)
        return error_B * (-u_B).exp() + u_B

    def finish_step(self, mean: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Train what the objective learns itself, once for each optimizer step.

        Args:
            mean: Averages a tensor over all processes.
        """
        if self._learned:
            self._learned.step(mean)

    def state(self) -> dict[str, torch.Tensor]:
        """What a resumed training needs of what the objective learns; empty when it is nothing."""
        state = self._learned.state() if self._learned else {}
        return {f"{_LEARNED}{name}": tensor for name, tensor in state.items()}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from `state`."""
        if self._learned:
            own = {n.removeprefix(_LEARNED): t for n, t in state.items() if n.startswith(_LEARNED)}
            self._learned.load(own)
