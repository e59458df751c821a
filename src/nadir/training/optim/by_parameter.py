"""From gradients to weights, one parameter after the other, in little memory.

Three things need it: weights in bfloat16, of which the optimizer sees a copy in float32 that lives
for one parameter's step and is rounded back by chance; steps made while backward goes on, after
which a gradient is gone; and optimizer states on the host.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch

from nadir.config.optimizers import OPTIMIZERS
from nadir.ground.chance import Stream
from nadir.training.optim.optimizers import make_optimizer, set_learning_rate, uncompiled
from nadir.training.optim.rounding import rounded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accelerate import Accelerator

    from nadir.config.train import TrainParams
    from nadir.training.optim.weight_average import WeightAverage
    from nadir.training.trainable import Trainable

# Smaller parameters (two thirds of SDXL's 1,680, 0.3 % of its numbers) share one optimizer and
# one step after backward: a step costs the same time however small it is.
_SMALL = 1 << 16


@dataclass
class _Unit:
    """Parameters that one optimizer changes together: a large one, or all small ones.

    Attributes:
        names: Of the parameters.
        weights: The parameters.
        seen: What the optimizer sees of each, in float32; empty between steps.
        optimizer: Theirs alone.
    """

    names: list[str]
    weights: list[torch.nn.Parameter]
    seen: list[torch.nn.Parameter]
    optimizer: torch.optim.Optimizer


@dataclass
class _Pending:
    """What is known of a step while it is made."""

    number: int = 0
    is_last_part: bool = True
    squares: list[torch.Tensor] = field(default_factory=list)


class ByParameterUpdate:
    """See `nadir.training.optim.update.Update`.

    The rule of clipping inside backward: a parameter's gradient is scaled by
    limit / max(limit, norm of all gradients in the step before, this gradient's own norm), as the
    norm of this step is not known until the last gradient is there. Outside, it is as usual.

    With several parts, gradients in bfloat16 are summed with stochastic rounding.

    Args:
        trainable: Its network is moved to the device.
        params: Optimizer, clipping, precision of the weights.
        accelerator: Device, processes and precision.
        average: Updated with each parameter, before it is rounded; None without one.
    """

    def __init__(
        self,
        trainable: Trainable,
        params: TrainParams,
        accelerator: Accelerator,
        average: WeightAverage | None,
    ) -> None:
        self._params, self._accelerator, self._average = params, accelerator, average
        # Not wrapped for data parallelism, which would want all gradients at the end.
        self.model = accelerator.prepare_model(trainable.network, evaluation_mode=True)
        text = trainable.text
        wrap = functools.partial(accelerator.prepare_model, evaluation_mode=True)
        self.encoders = text.wrapped(wrap) if text else []
        self._weights, self._factors = trainable.weights(), trainable.rate_factors()
        self._place = {name: index for index, name in enumerate(self._weights)}
        self._sums: dict[str, torch.Tensor] = {}
        self._step = _Pending()
        # The norm is exact to more bits than a gradient; only MPS knows no float64.
        self._wide = torch.float32 if accelerator.device.type == "mps" else torch.float64
        self._norm_before = torch.zeros((), dtype=self._wide, device=accelerator.device)
        self._units = [self._unit(names) for names in _shares(self._weights)]
        for unit in self._units:
            for name, weight in zip(unit.names, unit.weights, strict=True):
                hook = self._hook(unit, name)
                weight.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]

    def begin(self, step: int, rate: float) -> None:
        """See `Update.begin`."""
        self._step = _Pending(step)
        for unit in self._units:
            set_learning_rate(unit.optimizer, rate)
        if self._average:
            self._average.begin()

    @contextlib.contextmanager
    def part(self, *, last: bool) -> Iterator[None]:
        """See `Update.part`."""
        self._step.is_last_part = last
        yield

    def backward(self, loss: torch.Tensor) -> None:
        """See `Update.backward`; with `train.step_in_backward` weights change meanwhile."""
        torch.autograd.backward(loss / self._params.gradient_accumulation)

    def finish(self) -> torch.Tensor:
        """See `Update.finish`."""
        waiting = [unit for unit in self._units if self._waits(unit)]
        gradients = [weight.grad for unit in waiting for weight in unit.weights]
        self._step.squares += [_square(grad) for grad in gradients if grad is not None]
        norm = torch.stack(self._step.squares).sum().to(self._wide).sqrt()
        before = self._norm_before if self._params.step_in_backward else norm
        limit = self._params.max_gradient_norm
        for unit in waiting:
            self._change(unit, limit / before.clamp(min=limit))
        self._norm_before = norm
        return norm

    def published(self) -> contextlib.AbstractContextManager[None]:
        """See `Update.published`: the weights are the weights."""
        return contextlib.nullcontext()

    def state_dict(self) -> dict[str, Any]:
        """See `Update.state_dict`: one optimizer's state for each large parameter."""
        states = {unit.names[0]: unit.optimizer.state_dict() for unit in self._units}
        return {"by_parameter": states, "norm_before": float(self._norm_before)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Update.load_state_dict`."""
        for unit in self._units:
            unit.optimizer.load_state_dict(state["by_parameter"][unit.names[0]])
        self._norm_before = torch.full_like(self._norm_before, state["norm_before"])

    def _unit(self, names: list[str]) -> _Unit:
        """An optimizer for some parameters, which it sees as shapes without numbers so far."""
        weights = [self._weights[name] for name in names]
        device = torch.device("cpu") if self._on_host else self._accelerator.device
        seen = [torch.nn.Parameter(_hollow(self._as_seen(weight), device)) for weight in weights]
        optimizer = make_optimizer(dict(zip(names, seen, strict=True)), self._params, self._factors)
        return _Unit(names, weights, seen, optimizer)

    @property
    def _on_host(self) -> bool:
        return self._params.optimizer_device == "host"

    def _as_seen(self, tensor: torch.Tensor) -> torch.Tensor:
        """Convolutions as matrices, where sums over rows and columns are kept of the last two axes.

        Of a 3 x 3 convolution they would else be two thirds as large as the weights.
        """
        is_factored = OPTIMIZERS[self._params.optimizer].factored
        return tensor.flatten(1) if is_factored and tensor.ndim > 2 else tensor

    def _hook(self, unit: _Unit, name: str) -> Any:
        def gradient_is_there(weight: torch.nn.Parameter) -> None:
            self._sum_up(name, weight)
            if not self._step.is_last_part:
                return
            self._share(weight)
            if self._params.step_in_backward and len(unit.names) == 1:
                square = _square(_gradient(weight))
                self._step.squares.append(square)
                limit = self._params.max_gradient_norm
                norm = square.sqrt()
                before = self._norm_before.to(norm.dtype).clamp(min=limit)
                self._change(unit, limit / torch.maximum(norm, before))

        return gradient_is_there

    def _sum_up(self, name: str, weight: torch.nn.Parameter) -> None:
        """Add up bfloat16 gradients of several parts; float32 ones are added up by autograd."""
        if weight.dtype == torch.float32 or self._params.gradient_accumulation == 1:
            return
        gradient = _gradient(weight)
        if name in self._sums:
            total = self._sums.pop(name).float() + gradient.float()
            gradient = self._rounded(name, total, Stream.GRADIENTS)
        if self._step.is_last_part:
            weight.grad = gradient
        else:
            self._sums[name], weight.grad = gradient, None

    def _share(self, weight: torch.nn.Parameter) -> None:
        """The mean of all processes' gradients."""
        if self._accelerator.num_processes > 1:
            gradient = _gradient(weight)
            torch.distributed.all_reduce(gradient)
            gradient.div_(self._accelerator.num_processes)

    def _waits(self, unit: _Unit) -> bool:
        return any(weight.grad is not None for weight in unit.weights)

    @torch.no_grad()
    def _change(self, unit: _Unit, coefficient: torch.Tensor) -> None:
        """Make the step of some parameters; their gradients are gone afterwards.

        Args:
            unit: The parameters.
            coefficient: Times their gradients; a tensor, as a number would make the host wait for
                the device.
        """
        for weight, seen in zip(unit.weights, unit.seen, strict=True):
            seen.data = self._as_seen(weight.data).to(seen.device, torch.float32)
            if weight.grad is not None:
                gradient = self._as_seen(weight.grad).to(seen.device, torch.float32)
                seen.grad, weight.grad = gradient.mul_(coefficient.to(gradient)), None
        with uncompiled(unit.seen[0].device):
            unit.optimizer.step()
        for name, weight, seen in zip(unit.names, unit.weights, unit.seen, strict=True):
            value = seen.data.view(weight.shape)
            if self._average:
                self._average.update_one(name, value)
            if value.data_ptr() != weight.data_ptr():
                weight.data.copy_(self._stored(name, value, weight.dtype))
            seen.grad, seen.data = None, _hollow(seen.data, seen.device)

    def _stored(self, name: str, value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """A float32 weight as it is kept."""
        return self._rounded(name, value, Stream.WEIGHTS) if dtype == torch.bfloat16 else value

    def _rounded(self, name: str, value: torch.Tensor, stream: Stream) -> torch.Tensor:
        place, seed = self._place[name], self._params.seed
        return rounded(value, seed=seed, stream=stream, step=self._step.number, place=place)


def _shares(weights: dict[str, torch.nn.Parameter]) -> list[list[str]]:
    """Names of the parameters of each optimizer: each large one alone, the small ones together."""
    small = [name for name, weight in weights.items() if weight.numel() < _SMALL]
    large = [[name] for name, weight in weights.items() if weight.numel() >= _SMALL]
    return [*large, small] if small else large


def _hollow(like: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A float32 tensor of a shape that takes no memory."""
    return torch.zeros((), device=device).expand(like.shape)


def _gradient(weight: torch.nn.Parameter) -> torch.Tensor:
    return cast("torch.Tensor", weight.grad)


def _square(gradient: torch.Tensor) -> torch.Tensor:
    """Squared norm of a gradient, summed in float32."""
    norm: torch.Tensor = torch.linalg.vector_norm(gradient, dtype=torch.float32)
    return norm.square()
