"""One optimizer step at a time: gradients, clipping, the optimizer, the weight average."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch

from nadir.compute.memory_format import run_convolutions_channels_last
from nadir.config.optimizers import OPTIMIZERS
from nadir.ground.errors import NadirError
from nadir.model.sdxl.calling import call_unet
from nadir.model.sdxl.text import encode_tokens
from nadir.training.compiling import compilation_faults, compile_blocks, uncompiled
from nadir.training.optim.by_parameter import ByParameterUpdate
from nadir.training.optim.schedules import learning_rate
from nadir.training.optim.update import Update, WholeUpdate
from nadir.training.optim.weight_average import WeightAverage, copy_weights
from nadir.training.sharding.network import WholeNetwork, local_shards, shard
from nadir.training.sharding.update import ShardedUpdate
from nadir.training.state import Snapshot
from nadir.training.validation.levels import BANDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accelerate import Accelerator

    from nadir.config.train import TrainParams
    from nadir.training.losses.objective import Batch, Objective
    from nadir.training.stop_request import StopRequest
    from nadir.training.trainable import FullUNet, Trainable

PRECISIONS = {
    "no": torch.float32,
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
ALONE = "train.parallel fsdp shares the model out among processes, and there is only one"
ALONE_FIX = "set compute.processes above 1, or train.parallel: ddp"
_SUPPORTED = {"NO", "MULTI_CPU", "MULTI_GPU", "MPS"}


@dataclass(frozen=True)
class StepResult:
    """One optimizer step, averaged over all processes.

    Its numbers stay on the device until they are read, which waits for the device.

    Attributes:
        facts: Weighted loss, mean squared error, share of processes that want to stop; then the
            numbers of `Loss.bands_23`.
        norm: Of the gradients.
        learning_rate: That the step was made with.
        asked: Whether the only process wants to stop; None with several.
    """

    facts: torch.Tensor
    norm: torch.Tensor
    learning_rate: float
    asked: bool | None

    @property
    def loss(self) -> float:
        """Weighted loss."""
        return float(self.facts[0])

    @property
    def unweighted(self) -> float:
        """Mean squared error."""
        return float(self.facts[1])

    @property
    def by_band(self) -> tuple[list[float], list[float]]:
        """Sums of squared errors by band of sigma, and of how many samples, in one process."""
        numbers: list[float] = self.facts[3:].tolist()
        half = len(numbers) // 2
        return numbers[:half], numbers[half:]

    @property
    def gradient_norm(self) -> float:
        """Before clipping."""
        return float(self.norm)

    @property
    def stop(self) -> bool:
        """Whether any process wants to stop; a single one knows without waiting for the device."""
        return float(self.facts[2]) > 0 if self.asked is None else self.asked


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
        compiled_blocks: Blocks that run as graphs.
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
        network, self._whole = trainable.network.train(), None
        if params.parallel == "fsdp":
            self._whole = WholeNetwork(cast("FullUNet", trainable), accelerator)
            shard(network, accelerator)
        else:
            network.to(accelerator.device)
        if trainable.text:
            trainable.text.models.to(accelerator.device)
        if params.gradient_checkpointing:
            network.enable_gradient_checkpointing()
        if params.memory_format == "channels_last":
            run_convolutions_channels_last(network)
        self.compiled_blocks = 0
        if params.compile == "blocks":
            self.compiled_blocks = compile_blocks(network, accelerator.device)
        self._weights = trainable.weights()
        if self._whole:
            self._weights = local_shards(self._weights)
        self._average = make_average(self._weights, params) if params.ema_decay else None
        self._update = make_update(trainable, params, accelerator, self._average)

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
        self._update.begin(number, rate)
        losses = torch.zeros(2, device=self._accelerator.device)
        bands_23 = losses.new_zeros(2, len(BANDS))
        predict = functools.partial(call_unet, self._update.model)
        parts = batch.parts(self._params.gradient_accumulation)
        for index, part in enumerate(parts, start=1):
            with self._update.part(last=index == len(parts)), self._around_a_part():
                result = self._objective(predict, self._conditioned(part))
                self._update.backward(result.loss)
            losses += torch.stack([result.loss.detach(), result.unweighted]) / len(parts)
            bands_23 += result.bands_23
        norm = self._update.finish()
        self._objective.finish_step(lambda part: self._accelerator.reduce(part, reduction="mean"))
        asked = stop.requested
        facts = torch.cat([losses, losses.new_full((1,), float(asked)), bands_23.flatten()])
        facts = self._accelerator.reduce(facts, reduction="mean")
        is_alone = self._accelerator.num_processes == 1
        return StepResult(facts, norm, rate, asked if is_alone else None)

    @contextlib.contextmanager
    def _around_a_part(self) -> Iterator[None]:
        """Where the tensors that the backward pass needs wait for it; faults of compiling."""
        with contextlib.ExitStack() as around:
            if self.compiled_blocks:
                around.enter_context(compilation_faults())
            if self._params.activation_offload:
                pin = torch.cuda.is_available()
                around.enter_context(torch.autograd.graph.save_on_cpu(pin_memory=pin))
            yield

    def _conditioned(self, part: Batch) -> Batch:
        """The batch with text states of the present text encoders, where those are trained."""
        if part.tokens_BECS is None:
            return part
        first, second = self._update.encoders
        hidden_BSD, pooled_BP = encode_tokens(first, second, part.tokens_BECS)
        return replace(part, hidden_BSD=hidden_BSD, pooled_BP=pooled_BP)

    @contextlib.contextmanager
    def published(self) -> Iterator[Trainable]:
        """Inside the block it holds the weights to publish: the average, if there is one.

        With shares of a model all processes have to call it, and the main one has the weights.
        """
        averaged = self._average.applied() if self._average else self._update.published()
        with (
            averaged,
            uncompiled() if self.compiled_blocks else contextlib.nullcontext(),
            self._whole.gathered() if self._whole else contextlib.nullcontext() as whole,
        ):
            yield whole or self.trainable

    def snapshot(self, step: int, facts: dict[str, Any]) -> Snapshot:
        """What a checkpoint after `step` steps holds."""
        return Snapshot(
            step=step,
            weights=dict(self._weights),
            average=self._average.shadow if self._average else None,
            average_updates=self._average.updates if self._average else 0,
            optimizer=self._update.state_dict(),
            facts=facts,
            extra=self._objective.state(),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a checkpoint; bit by bit what an uninterrupted run would do."""
        copy_weights(snapshot.weights, self._weights)
        self._objective.load(snapshot.extra)
        if self._average and snapshot.average is not None:
            self._average.load(snapshot.average, snapshot.average_updates)
        self._update.load_state_dict(snapshot.optimizer)


def make_average(weights: dict[str, torch.nn.Parameter], params: TrainParams) -> WeightAverage:
    """The moving average as `train.ema_*` want it.

    Args:
        weights: On the device.
        params: `params.yaml` train.
    """
    return WeightAverage(
        weights,
        params.ema_decay,
        dtype=PRECISIONS[params.ema_precision],
        device=torch.device("cpu") if params.ema_device == "host" else None,
        seed=params.seed,
    )


def make_update(
    trainable: Trainable,
    params: TrainParams,
    accelerator: Accelerator,
    average: WeightAverage | None,
) -> Update:
    """What changes the weights: the usual way, or parameter by parameter where that saves memory.

    Sums over rows and columns are kept in less memory that way, too; the loss scaler of fp16 wants
    all gradients at once.
    """
    saves_memory = params.changes_by_parameter or (
        OPTIMIZERS[params.optimizer].factored and params.mixed_precision != "fp16"
    )
    kind = ByParameterUpdate if saves_memory else WholeUpdate
    if params.parallel == "fsdp":
        kind = ShardedUpdate
    return kind(trainable, params, accelerator, average)


def check_layout(params: TrainParams, accelerator: Accelerator) -> None:
    """Refuse processes that cannot share the batch evenly, or the model.

    Raises:
        NadirError: What does not fit.
    """
    kind = accelerator.distributed_type.value
    if kind not in _SUPPORTED:
        raise NadirError(
            f"training does not run under accelerate's {kind}, which splits the model itself",
            where="compute.accelerate_config",
            fix="use a data-parallel configuration (MULTI_GPU, any number of machines); "
            "train.parallel: fsdp shares the model out under it",
        )
    if params.parallel == "fsdp" and accelerator.num_processes == 1:
        raise NadirError(ALONE, where="params.yaml train.parallel", fix=ALONE_FIX)
    shares = accelerator.num_processes * params.gradient_accumulation
    if params.batch_size % shares:
        raise NadirError(
            f"a batch of {params.batch_size} images cannot be split over "
            f"{accelerator.num_processes} processes with {params.gradient_accumulation} parts each",
            where="params.yaml train.batch_size",
            fix=f"make it a multiple of {shares}, or change compute.processes or "
            "train.gradient_accumulation",
        )
