"""One optimizer step at a time: gradients, clipping, the optimizer, the weight average."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from nadir.ground.errors import NadirError
from nadir.training.optim.optimizers import make_optimizer, set_learning_rate
from nadir.training.optim.schedules import learning_rate
from nadir.training.optim.weight_average import WeightAverage, copy_weights
from nadir.training.state import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accelerate import Accelerator

    from nadir.config.train import TrainParams
    from nadir.training.objective import Batch, Objective
    from nadir.training.stop_request import StopRequest
    from nadir.training.trainable import Trainable

_SUPPORTED = {"NO", "MULTI_CPU", "MULTI_GPU", "MPS"}


@dataclass(frozen=True)
class StepResult:
    """One optimizer step, averaged over all processes.

    Attributes:
        loss: Weighted loss.
        unweighted: Mean squared error.
        gradient_norm: Before clipping.
        learning_rate: That the step was made with.
        stop: Whether any process wants to stop.
    """

    loss: float
    unweighted: float
    gradient_norm: float
    learning_rate: float
    stop: bool


class TrainStep:
    """Trains what it is given.

    Args:
        trainable: On the CPU; moved to the device here.
        params: Optimizer, schedule, clipping, averaging.
        objective: The loss.
        accelerator: Device, processes and precision.

    Raises:
        NadirError: The accelerate configuration or the batch size cannot be used.

    Attributes:
        trainable: On the device.
    """

    def __init__(
        self,
        trainable: Trainable,
        params: TrainParams,
        objective: Objective,
        accelerator: Accelerator,
    ) -> None:
        check_layout(params, accelerator)
        self._params = params
        self._objective = objective
        self._accelerator = accelerator
        self.trainable = trainable
        network = trainable.network.train()
        if params.gradient_checkpointing:
            network.enable_gradient_checkpointing()
        optimizer = make_optimizer(trainable.weights().values(), params)
        self._model, self._optimizer = accelerator.prepare(network, optimizer)
        # After `prepare`, which moves the weights to the device.
        self._weights = trainable.weights()
        self._average = WeightAverage(self._weights, params.ema_decay) if params.ema_decay else None

    def step(self, number: int, batch: Batch, stop: StopRequest) -> StepResult:
        """Make optimizer step `number` (from 0) with this process' part of the batch.

        Args:
            number: Steps made before.
            batch: This process' part.
            stop: What this process was asked; read last, and shared with all processes.
        """
        rate = learning_rate(
            number,
            peak=self._params.learning_rate,
            warmup_steps=self._params.warmup_steps,
            steps=self._params.steps,
            schedule=self._params.learning_rate_schedule,
        )
        set_learning_rate(self._optimizer, rate)
        losses, norm = self._optimize(batch)
        self._objective.finish_step(lambda part: self._accelerator.reduce(part, reduction="mean"))
        if self._average:
            self._average.update()
        facts = torch.cat([losses, losses.new_tensor([float(stop.requested)])])
        loss, unweighted, stops = self._accelerator.reduce(facts, reduction="mean").tolist()
        return StepResult(loss, unweighted, norm, rate, stops > 0)

    def _optimize(self, batch: Batch) -> tuple[torch.Tensor, float]:
        """Gradients of the batch, then the optimizer's step: (loss, unweighted) and norm."""
        parts = batch.parts(self._params.gradient_accumulation)
        losses, norm = torch.zeros(2, device=self._accelerator.device), math.nan
        for part in parts:
            with self._accelerator.accumulate(self._model):
                result = self._objective(self._predict, part)
                self._accelerator.backward(result.loss)
                if self._accelerator.sync_gradients:
                    norm = self._clip()
                self._optimizer.step()
                self._optimizer.zero_grad()
            losses += torch.stack([result.loss.detach(), result.unweighted]) / len(parts)
        return losses, norm

    def _clip(self) -> float:
        """Clip the gradients; their norm before."""
        parameters, limit = self._weights.values(), self._params.max_gradient_norm
        return float(self._accelerator.clip_grad_norm_(parameters, limit))

    def _predict(
        self,
        noisy_BCHW: torch.Tensor,
        timesteps_B: torch.Tensor,
        hidden_BSD: torch.Tensor,
        pooled_BP: torch.Tensor,
        time_ids_B6: torch.Tensor,
    ) -> torch.Tensor:
        """The U-Net's output [B, C, H, W]."""
        output_BCHW: torch.Tensor = self._model(
            noisy_BCHW,
            timesteps_B,
            encoder_hidden_states=hidden_BSD,
            added_cond_kwargs={"text_embeds": pooled_BP, "time_ids": time_ids_B6},
            return_dict=False,
        )[0]
        return output_BCHW

    @contextlib.contextmanager
    def published(self) -> Iterator[Trainable]:
        """Inside the block it holds the weights to publish: the average, if there is one."""
        with self._average.applied() if self._average else contextlib.nullcontext():
            yield self.trainable

    def snapshot(self, step: int, facts: dict[str, Any]) -> Snapshot:
        """What a checkpoint after `step` steps holds."""
        scaler = self._accelerator.scaler
        return Snapshot(
            step=step,
            weights=dict(self._weights),
            average=self._average.shadow if self._average else None,
            average_updates=self._average.updates if self._average else 0,
            optimizer={
                "optimizer": self._optimizer.state_dict(),
                "scaler": scaler.state_dict() if scaler else None,
            },
            facts=facts,
            extra=self._objective.state(),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a checkpoint; bit by bit what an uninterrupted run would do."""
        copy_weights(snapshot.weights, self._weights)
        self._objective.load(snapshot.extra)
        if self._average and snapshot.average is not None:
            self._average.load(snapshot.average, snapshot.average_updates)
        self._optimizer.load_state_dict(snapshot.optimizer["optimizer"])
        if self._accelerator.scaler and snapshot.optimizer["scaler"]:
            self._accelerator.scaler.load_state_dict(snapshot.optimizer["scaler"])


def check_layout(params: TrainParams, accelerator: Accelerator) -> None:
    """Refuse processes that cannot share the batch evenly, and sharded models.

    Raises:
        NadirError: What does not fit.
    """
    kind = accelerator.distributed_type.value
    if kind not in _SUPPORTED:
        raise NadirError(
            f"training does not run under accelerate's {kind}, which splits the model itself",
            where="compute.accelerate_config",
            fix="use a data-parallel configuration (MULTI_GPU, any number of machines)",
        )
    shares = accelerator.num_processes * params.gradient_accumulation
    if params.batch_size % shares:
        raise NadirError(
            f"a batch of {params.batch_size} images cannot be split over "
            f"{accelerator.num_processes} processes with {params.gradient_accumulation} parts each",
            where="params.yaml train.batch_size",
            fix=f"make it a multiple of {shares}, or change compute.processes or "
            "train.gradient_accumulation",
        )
