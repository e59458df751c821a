"""What all samplers share: diffusers' scheduler protocol around one rule per sampler.

Samples stay in variance-preserving scale: z = alpha y has unit variance at every sigma, the
initial noise is z itself (`init_noise_sigma` = 1), and the network gets z unscaled. So the
infinities of the first step cancel before they are written: alpha = 0, varsigma = 1, and a
ratio of sigmas is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from nadir.diffusion.names import PREDICTIONS
from nadir.diffusion.prediction import add_noise
from nadir.diffusion.samplers.config import SamplerConfig, sampler_config
from nadir.diffusion.samplers.noise_level import Evaluation, Generators, NoiseLevel
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from nadir.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True)
class StepOutput:
    """What `step` returns, under diffusers' names."""

    prev_sample: Tensor
    pred_original_sample: Tensor


class Sampler:
    """A scheduler for diffusers' pipelines; subclasses implement `_advance`.

    Args:
        schedule: The schedule the network was trained on.
        prediction: What the network puts out: `v`, `epsilon` or `x0`.
        spacing: `native`, `trailing` or `simple`.
        start_sigma: First sigma of a full run; None starts at the last timestep. From a finite
            start the initial sample is still pure noise of unit variance, as in stock DDIM.

    Attributes:
        timesteps: [evaluations] float32, what the network gets at each evaluation; fractional
            with native spacing. The terminal step is exactly T - 1.
        sigmas: [levels + 1] float64 on the CPU: `inf` possible at the start, 0 at the end.
    """

    order = 1
    init_noise_sigma = 1.0
    name = ""

    def __init__(
        self,
        schedule: NoiseSchedule,
        *,
        prediction: str,
        spacing: str = "native",
        start_sigma: float | None = None,
    ) -> None:
        if prediction not in PREDICTIONS:
            raise NadirError(
                f"{prediction!r} is not a prediction",
                where="noise.prediction",
                fix=f"use one of {', '.join(PREDICTIONS)}",
            )
        self.schedule = schedule
        self.prediction = prediction
        self.spacing = spacing
        self.start_sigma = start_sigma
        self.num_inference_steps = 0
        self.timesteps = torch.empty(0)
        self.sigmas = torch.zeros(1, dtype=torch.float64)
        self._levels: list[NoiseLevel] = []
        self._step_index: int | None = None
        self._begin_index: int | None = None

    @property
    def config(self) -> SamplerConfig:
        """The settings, as diffusers' pipelines and `from_config` of its schedulers read them."""
        return sampler_config(self.schedule, prediction=self.prediction, name=self.name)

    @property
    def facts(self) -> dict[str, Any]:
        """What a file says about how its pictures were sampled: plain JSON values.

        `schedule` is the fingerprint of the table that the steps are really taken on.
        """
        return {
            "schedule": self.schedule.fingerprint,
            "prediction": self.prediction,
            "sampler": self.name,
            "spacing": self.spacing,
            "start_sigma": self.start_sigma,
        }

    @property
    def step_index(self) -> int | None:
        """Index of the next evaluation; None before the first."""
        return self._step_index

    @property
    def begin_index(self) -> int | None:
        """Index of the first evaluation as a pipeline has set it."""
        return self._begin_index

    def __len__(self) -> int:
        return self.schedule.num_timesteps

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: torch.device | str | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Lay out a run and forget the last one.

        Args:
            num_inference_steps: Number of noise levels; or give one of the next two.
            device: Where `timesteps` shall lie.
            timesteps: Falling timesteps of your own, fractions allowed.
            sigmas: Falling sigmas of your own, without or with the final 0; may begin with `inf`.

        Raises:
            ValueError: Not exactly one of the three ways, or values that do not fall.
            NadirError: Steps or start the schedule cannot give, or epsilon-prediction from
                infinite sigma.
        """
        if sum(way is not None for way in (num_inference_steps, timesteps, sigmas)) != 1:
            raise ValueError("give exactly one of num_inference_steps, timesteps and sigmas")
        nodes, node_sigmas = self._layout(num_inference_steps, timesteps, sigmas)
        # finite - inf is below 0 like any other fall; two infinities give NaN, which is not.
        if not bool((node_sigmas.diff() < 0).all()) or not len(node_sigmas):
            raise ValueError("timesteps and sigmas must fall from step to step")
        # x0 = (z - varsigma epsilon) / alpha is 0 / 0 there: z is the noise, and alpha is 0. With
        # v, x0 = alpha z - varsigma v is -v, so the first step is exact (App. A).
        if self.prediction == "epsilon" and math.isinf(float(node_sigmas[0])):
            raise NadirError(
                "epsilon-prediction cannot start at infinite sigma, where it holds no x0",
                where="noise.prediction",
                fix="use a v-prediction model, or give a finite start_sigma",
            )
        self.num_inference_steps = len(nodes)
        self.sigmas = torch.cat([node_sigmas, torch.zeros(1, dtype=torch.float64)])
        self._levels = [NoiseLevel.of(sigma) for sigma in self.sigmas.tolist()]
        self.timesteps = self._evaluated(nodes).to(device, torch.float32)
        self._step_index = self._begin_index = None
        self._forget()

    def _layout(
        self,
        steps: int | None,
        timesteps: Sequence[float] | None,
        sigmas: Sequence[float] | None,
    ) -> tuple[Tensor, Tensor]:
        """Timesteps and sigmas of the levels, float64, without the final 0."""
        if sigmas is not None:
            given = torch.as_tensor(sigmas, dtype=torch.float64)
            given = given[:-1] if len(given) and float(given[-1]) == 0 else given
            return self.schedule.timestep(given), given
        if timesteps is not None:
            nodes = torch.as_tensor(timesteps, dtype=torch.float64)
            return nodes, self.schedule.sigma(nodes)
        nodes = self.schedule.sampling_timesteps(steps or 0, self.spacing, self.start_sigma)
        node_sigmas = self.schedule.sigma(nodes)
        if self.start_sigma is not None:
            node_sigmas[0] = self.start_sigma  # free of the round trip through the timestep
        return nodes, node_sigmas

    def _evaluated(self, nodes: Tensor) -> Tensor:
        """Timestep of each network evaluation, from those of the levels."""
        return nodes

    def _forget(self) -> None:
        """Drop what a multistep or two-stage rule remembers."""

    def set_begin_index(self, begin_index: int = 0) -> None:
        """First evaluation of a run that starts part of the way (image-to-image)."""
        self._begin_index = begin_index

    def index_for_timestep(self, timestep: float | Tensor) -> int:
        """Evaluation whose timestep is nearest; the last of equals, which opens a level."""
        distance = (self.timesteps - torch.as_tensor(timestep).to(self.timesteps)).abs()
        return int((distance == distance.min()).nonzero()[-1])

    def scale_model_input(self, sample: Tensor, timestep: float | Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The sample itself: in VP scale it is the network's input."""
        return sample

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noise clean latents to the levels of timesteps [B] or [1], fractions allowed.

        Timesteps of the run have the sigmas of the run to the last bit, others the schedule's.
        At zero terminal SNR the result is `noise` itself: image-to-image at strength 1 keeps
        nothing of the image.
        """
        own = {
            t: self._levels[self._level_index(i)].sigma
            for i, t in enumerate(self.timesteps.tolist())
        }
        given = [float(t) for t in timesteps.reshape(-1)]
        sigmas = [own[t] if t in own else float(self.schedule.sigma(t)) for t in given]
        # SNR = 1 / sigma^2 = abar / (1 - abar); infinity gives exactly 0, and z = noise.
        alphas_cumprod = [1 / (1 + sigma**2) for sigma in sigmas]
        return add_noise(original_samples, noise, torch.tensor(alphas_cumprod, dtype=torch.float64))

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> StepOutput | tuple[Tensor, Tensor]:
        """From one noise level to the next; arithmetic in float32 or better.

        Args:
            model_output: The network's output for `sample`, after guidance.
            timestep: The timestep that the network got; used to find the place in the run at first.
            sample: Noisy latents in VP scale.
            generator: Source of fresh noise, for stochastic samplers.
            return_dict: False gives a tuple, as the pipelines ask for.

        Returns:
            The sample at the next level, in the dtype of `sample`, and the x0 prediction.

        Raises:
            ValueError: `set_timesteps` was not called, or all its steps are taken.
        """
        return self._step(model_output, timestep, sample, generator, return_dict=return_dict)

    def _step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        generator: Generators,
        *,
        return_dict: bool,
    ) -> StepOutput | tuple[Tensor, Tensor]:
        if not len(self.timesteps):
            raise ValueError("call set_timesteps before step")
        if self._step_index is None:
            begin = self._begin_index
            self._step_index = self.index_for_timestep(timestep) if begin is None else begin
        if self._step_index >= len(self.timesteps):
            raise ValueError("all steps are taken; call set_timesteps for a new run")
        dtype = torch.promote_types(sample.dtype, torch.float32)
        made = Evaluation(
            self.prediction,
            model_output.to(dtype),
            sample.to(dtype),
            self._levels[self._level_index(self._step_index)],
        )
        x0 = made.x0
        moved = self._advance(self._step_index, made, x0, generator).to(sample.dtype)
        self._step_index += 1
        return StepOutput(moved, x0) if return_dict else (moved, x0)

    def _level_index(self, evaluation: int) -> int:
        """Which level an evaluation is made at."""
        return evaluation

    def _advance(
        self, evaluation: int, made: Evaluation, x0: Tensor, generator: Generators
    ) -> Tensor:
        """The rule: the sample after this evaluation."""
        raise NotImplementedError
