"""Trains a VAE's decoder in place; resumable, and the same to the bit after a kill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from nadir.ground.errors import NadirError
from nadir.ground.events import Progress
from nadir.model.checkpoint.decoder_weights import decoder_parameters
from nadir.training.optim.weight_average import WeightAverage, copy_weights
from nadir.training.state import CheckpointStore, Snapshot
from nadir.training.stop_request import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffusers import AutoencoderKL

    from nadir.config.decoder import DecoderLossParams, DecoderParams
    from nadir.training.stop_request import StopRequest

    Batches = Callable[[int], tuple[torch.Tensor, torch.Tensor]]

_BETAS = (0.9, 0.99)
_MAX_NORM = 1.0
_WARMUP_SHARE = 0.05
_LOOK_BACK = 100


def reconstruction_loss(
    decoded_BCHW: torch.Tensor, wanted_BCHW: torch.Tensor, weights: DecoderLossParams
) -> torch.Tensor:
    """Weighted sum of the mean absolute and squared error and of the error of differences.

    Args:
        decoded_BCHW: What the decoder draws.
        wanted_BCHW: What it should draw, in [-1, 1].
        weights: Of the parts.
    """
    error_BCHW = decoded_BCHW - wanted_BCHW
    edges = error_BCHW.diff(dim=2).abs().mean() + error_BCHW.diff(dim=3).abs().mean()
    return (
        weights.absolute * error_BCHW.abs().mean()
        + weights.square * error_BCHW.square().mean()
        + weights.edges * edges
    )


class DecoderTuner:
    """Carries the decoder of a VAE from its newest state to the last step, in float32.

    The optimizer is AdamW without weight decay, behind a linear warm-up over a twentieth of the
    steps; the norm of the gradients is clipped at 1.

    Args:
        vae: In float32, on its device; only its decoder is changed.
        params: `params.yaml` decoder.
        batches: Gives the images that are encoded at a step (from 0), and what their latents
            should be decoded to, both [B, 3, H, W] in [-1, 1].
        store: Of resumable states; None keeps none.
        stop: Asked after every step.
    """

    def __init__(
        self,
        vae: AutoencoderKL,
        params: DecoderParams,
        batches: Batches,
        *,
        store: CheckpointStore | None = None,
        stop: StopRequest | None = None,
    ) -> None:
        self._vae, self._params, self._batches = vae, params, batches
        self._store, self._stop = store, stop
        self._weights = decoder_parameters(vae)
        vae.requires_grad_(requires_grad=False)
        for weight in self._weights.values():
            weight.requires_grad = True
        self._optimizer = torch.optim.AdamW(
            self._weights.values(), lr=params.learning_rate, betas=_BETAS, weight_decay=0.0
        )
        self._average = WeightAverage(self._weights, params.ema_decay) if params.ema_decay else None
        self._losses: list[float] = []
        self.step = 0
        self.facts: dict[str, Any] = {}
        """What else is kept with the state: JSON values."""

    @property
    def loss_last_100(self) -> float:
        """Mean loss of the last hundred steps."""
        return sum(self._losses) / max(len(self._losses), 1)

    def resume(self) -> bool:
        """Go on from the newest state; whether there is one.

        Raises:
            NadirError: It belongs to other inputs.
        """
        folder = self._store.latest() if self._store else None
        if self._store is None or folder is None:
            return False
        snapshot = self._store.load(folder)
        copy_weights(snapshot.weights, self._weights)
        if self._average and snapshot.average is not None:
            self._average.load(snapshot.average, snapshot.average_updates)
        self._optimizer.load_state_dict(snapshot.optimizer)
        self._losses = list(snapshot.facts["losses"])
        self.facts, self.step = dict(snapshot.facts["facts"]), snapshot.step
        return True

    def tune(self) -> None:
        """Train to the last step and leave the published weights in the VAE, frozen.

        Raises:
            NadirError: The loss is not a number; or a stop was requested, and the state is saved.
        """
        progress = Progress("decoder", self._params.steps, "steps", done=self.step)
        while self.step < self._params.steps:
            self._advance()
            progress.advance(1, f"loss {self._losses[-1]:.4f}")
            is_stopped = self._stop is not None and self._stop.requested
            is_due = self.step % self._params.checkpoint_every == 0
            if is_due or is_stopped or self.step == self._params.steps:
                self.save()
            if is_stopped and self.step < self._params.steps:
                raise StoppedError(
                    f"stopped on request after step {self.step}",
                    where="decoder",
                    fix="run the same command again; it goes on from there",
                )
        if self._average:
            copy_weights(self._average.shadow, self._weights)
        self._vae.requires_grad_(requires_grad=False)

    def save(self) -> None:
        """Write a state of this moment."""
        if self._store is None:
            return
        average = self._average
        self._store.save(
            Snapshot(
                step=self.step,
                weights=self._weights,
                average=average.shadow if average else None,
                average_updates=average.updates if average else 0,
                optimizer=self._optimizer.state_dict(),
                facts={"losses": self._losses, "facts": self.facts},
            )
        )

    def _advance(self) -> None:
        """One step of the optimizer, its batch in as many parts as wanted."""
        parts = self._params.gradient_accumulation
        images_BCHW, wanted_BCHW = self._batches(self.step)
        self._optimizer.zero_grad(set_to_none=True)
        loss = 0.0
        for image_BCHW, want_BCHW in zip(
            images_BCHW.chunk(parts), wanted_BCHW.chunk(parts), strict=True
        ):
            loss += self._backward(image_BCHW, want_BCHW) / parts
        self._require_number(loss)
        torch.nn.utils.clip_grad_norm_(self._weights.values(), _MAX_NORM)
        warmup = max(1, round(_WARMUP_SHARE * self._params.steps))
        for group in self._optimizer.param_groups:
            group["lr"] = self._params.learning_rate * min(1.0, (self.step + 1) / warmup)
        self._optimizer.step()
        if self._average:
            self._average.update()
        self.step += 1
        self._losses = [*self._losses[1 - _LOOK_BACK :], loss]

    def _backward(self, images_BCHW: torch.Tensor, wanted_BCHW: torch.Tensor) -> float:
        device = self._vae.device
        with torch.no_grad():
            latents_BCHW = self._vae.encode(images_BCHW.to(device)).latent_dist.mean
        decoded_BCHW = self._vae.decode(latents_BCHW).sample
        loss = reconstruction_loss(decoded_BCHW, wanted_BCHW.to(device), self._params.loss)
        torch.autograd.backward(loss / self._params.gradient_accumulation)
        return float(loss.detach())

    def _require_number(self, loss: float) -> None:
        if loss - loss != 0:  # neither infinite nor undefined
            raise NadirError(
                f"the decoder's loss is {loss} at step {self.step + 1}",
                where="decoder",
                fix="lower decoder.learning_rate; if it is the first step, the base's VAE itself "
                "gives numbers that are not finite",
            )
