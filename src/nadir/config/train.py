"""`train`: the objective and the loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nadir.config.base import Section
from nadir.config.caption import CaptionParams
from nadir.config.learning_rate import LearningRateParams
from nadir.config.objective import (
    LossParams,
    LossWeightParams,
    MaskedLossParams,
    RegularisationParams,
    TimestepParams,
)
from nadir.config.optimizers import OPTIMIZERS, OptimizerName
from nadir.config.train_parts import AdapterParams, Factor, TextEncodersParams
from nadir.diffusion.names import Scaling

AlarmName = Literal["high_sigma", "spikes", "rare_tags", "extreme_pixels"]


class ValidationParams(Section):
    """Error of the clean latent (x0) on held-out images with fixed noise, while training goes on.

    One measurement takes images x 3 x levels forward passes.
    """

    every: Annotated[int, Field(ge=0)]
    """Steps between measurements; step 0 and the last step have one, too. 0 makes none."""
    images: Annotated[int, Field(ge=1)]
    """Held-out images at most, the first by hash."""
    levels: Annotated[int, Field(ge=1, le=16)]
    """Noise levels in each of the three bands of sigma."""


class TrainParams(Section):
    """Everything that shapes the weights that come out."""

    steps: Annotated[int, Field(ge=1)]
    """Optimizer steps."""
    batch_size: Annotated[int, Field(ge=1)]
    """Images per optimizer step, over all processes and accumulation."""
    batch_multiple: Annotated[int, Field(ge=1)] | None
    """null: every batch has batch_size images. A number: buckets smaller than the largest take as
    many more as fill its pixels, in multiples of this (of processes x gradient_accumulation)."""
    repeats: dict[str, Annotated[int, Field(ge=1, le=1000)]]
    """Tag and how often images with it are shown in an epoch; of several tags the most counts."""
    gradient_accumulation: Annotated[int, Field(ge=1)]
    """Parts that a process splits its share of a batch into."""
    parallel: Literal["ddp", "fsdp"]
    """How several processes hold what is trained. `ddp`: each has all of it. `fsdp`: each has its
    share of weights, gradients, optimizer state and average, and fetches one block after the
    other."""
    layers: Annotated[tuple[str, ...], Field(min_length=1)] | None
    """null: the whole U-Net. A list of glob patterns of module names, or of the groups attention,
    cross_attention, down, mid and up: only these are trained."""
    layer_rates: dict[str, Factor]
    """Pattern or group as in `layers`, and what the learning rate is multiplied by there; where
    several match, the first counts."""
    text_encoders: TextEncodersParams | None
    """null: frozen."""
    adapter: AdapterParams | None
    """null: the weights themselves are trained."""
    optimizer: OptimizerName
    """`adamw` is the usual one, `adafactor` needs least memory, `muon` is for training anew; the
    table in docs/training.md has them all."""
    optimizer_device: Literal["device", "host"]
    """Where its state lies and its step is made."""
    step_in_backward: bool
    """Change each weight as soon as its gradient is there, which then needs no memory."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate."""
    learning_rate_schedule: LearningRateParams
    """Course of the learning rate after warm-up."""
    warmup_steps: Annotated[int, Field(ge=0)]
    """Steps of linear warm-up."""
    betas: tuple[float, float]
    """AdamW momenta; with `muon`, of the parameters that are not matrices."""
    weight_decay: Annotated[float, Field(ge=0)]
    """AdamW decoupled weight decay."""
    max_gradient_norm: Annotated[float, Field(gt=0)]
    """Gradient norm clip."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    """Decay of the weight average that is published; 0 publishes the last weights."""
    ema_precision: Literal["fp32", "bf16"]
    """Of the average; bf16 is rounded by chance."""
    ema_device: Literal["device", "host"]
    """Where the average lies."""
    timesteps: TimestepParams
    """Which noise levels are drawn how often; always one from each stratum of a batch."""
    loss: LossParams
    """Error that is minimised, before its weights."""
    loss_weight: LossWeightParams
    """Weight by SNR."""
    masked_loss: MaskedLossParams | None
    """null: every pixel counts alike, whatever masks there are."""
    regularisation: RegularisationParams
    """Images that count with a loss weight of their own."""
    tag_weighting: bool
    """Weight samples by the rarity of their tags (paper §4.3)."""
    latent_scaling: Scaling
    """Scalar factor of the VAE, or per-channel mean and std (paper App. B)."""
    caption: CaptionParams
    """From tags and sentences to a prompt."""
    text_cache: Annotated[int, Field(ge=1, le=1000)] | None
    """null: captions are drawn anew for each step, and text encoders run in it. A number: so many
    captions of each image are drawn once and encoded before the first step; a step takes one of
    them from the disk, or the empty prompt (`caption.drop_all`)."""
    mixed_precision: Literal["no", "fp16", "bf16"]
    """Precision of the forward pass."""
    weights: Literal["fp32", "bf16"]
    """Precision of the trained weights; bf16 is rounded by chance, so small updates count."""
    gradient_checkpointing: bool
    """Trade time for memory in the U-Net."""
    compile: Literal["off", "blocks"]
    """`blocks`: the U-Net's transformer blocks run as graphs that torch.compile makes, one for each
    kind of block and shape of batch; the first steps with each wait for it. Pictures are drawn
    without."""
    memory_format: Literal["contiguous", "channels_last"]
    """`channels_last`: the U-Net's convolutions see their inputs with the channels of a pixel side
    by side, the order that tensor cores work in; weights and files stay as they are."""
    frozen_models: Literal["device", "host"]
    """Where text encoders and VAE wait while they are not needed. From the host, frozen text
    encoders visit the device for each batch's captions, and previews are decoded on the host. With
    `text_cache` text encoders always wait on the host."""
    activation_offload: bool
    """Keep what the backward pass needs in the host's memory."""
    checkpoint_every: Annotated[int, Field(ge=1)]
    """Steps between resumable checkpoints."""
    checkpoint_in_background: bool
    """Write them while the training goes on, from a copy in the host's memory; otherwise the
    training waits, and needs no copy."""
    keep_checkpoints: Annotated[int, Field(ge=1)]
    """How many resumable checkpoints stay on disk."""
    preview_every: Annotated[int, Field(ge=0)]
    """Steps between preview images in the tracker; 0 makes none."""
    preview_prompts: tuple[str, ...]
    """Prompts of the previews; each keeps its own noise through the run."""
    validation: ValidationParams
    """Held-out error while training goes on."""
    stop_on: tuple[AlarmName, ...]
    """Alarms that stop the training, its state saved; the others only warn (docs/training.md). A
    change of this list alone goes on from the saved state."""
    seed: int
    """Seed of initialisation, batches, timesteps, noise and captions."""

    @model_validator(mode="after")
    def _numbers_agree(self) -> TrainParams:
        faults = {
            "batch_size must be a multiple of gradient_accumulation": self.batch_size
            % self.gradient_accumulation,
            "batch_size must be a multiple of batch_multiple": self.batch_multiple
            and self.batch_size % self.batch_multiple,
            "warmup_steps must be less than steps": self.warmup_steps >= self.steps,
            "preview_every needs at least one entry in preview_prompts": self.preview_every
            and not self.preview_prompts,
            "adapter.text_encoders and text_encoders go together: beside an adapter, text encoders "
            "are trained by adapters alone, at the rates of text_encoders": self.adapter
            and self.adapter.text_encoders != (self.text_encoders is not None),
            "with an adapter, what is trained is always fp32: weights fp32": (
                self.adapter and self.weights != "fp32"
            ),
            "compile blocks goes with adapters of kind lora and oft alone, as torch cannot trace "
            "peft's code of the others: compile 'off'": self.compile == "blocks"
            and self.adapter
            and self.adapter.kind not in {"lora", "oft"},
            "text_cache keeps states of text encoders that stay as they are: text_cache null, or "
            "text_encoders null": self.text_cache and self.text_encoders,
            "stop_on: high_sigma and rare_tags need validation.every above 0": not (
                self.validation.every
            )
            and {"high_sigma", "rare_tags"} & {*self.stop_on},
            "stop_on: extreme_pixels needs preview_every above 0": not self.preview_every
            and "extreme_pixels" in self.stop_on,
        } | {**self._memory_faults(), **self._sharding_faults()}
        if any(faults.values()):
            raise ValueError("; ".join(text for text, wrong in faults.items() if wrong))
        return self

    @property
    def changes_by_parameter(self) -> bool:
        """Whether the optimizer sees one parameter at a time."""
        return self.weights == "bf16" or self.step_in_backward or self.optimizer_device == "host"

    @property
    def text_waits_on_host(self) -> bool:
        """Whether text encoders are on the device only while they are asked."""
        return not self.text_encoders and (
            self.frozen_models == "host" or self.text_cache is not None
        )

    @property
    def _has_several_rates(self) -> bool:
        factors = self.text_encoders and self.text_encoders.learning_rate_factor
        encoders = {factors.first, factors.second} if factors else set()
        return bool(self.layer_rates) or not encoders <= {0.0, 1.0}

    def _memory_faults(self) -> dict[str, bool]:
        """What cannot be combined, and whether it is."""
        facts, by_parameter = OPTIMIZERS[self.optimizer], self.changes_by_parameter
        return {
            "weights bf16 needs mixed_precision bf16": self.weights == "bf16"
            and self.mixed_precision != "bf16",
            f"optimizer {self.optimizer} needs all parameters at once: weights fp32, "
            "step_in_backward false, optimizer_device device": by_parameter
            and not facts.by_parameter,
            "mixed_precision fp16 scales the loss, which needs all gradients at once: "
            "step_in_backward false, optimizer_device device": by_parameter
            and self.mixed_precision == "fp16",
            f"optimizer {self.optimizer} publishes its own average: ema_decay 0 and "
            "learning_rate_schedule constant": facts.own_average
            and (self.ema_decay > 0 or self.learning_rate_schedule.name != "constant"),
            f"optimizer {self.optimizer} has one rate for all that is trained: layer_rates {{}} "
            "and factors of text_encoders 1 or 0": facts.one_rate and self._has_several_rates,
        }

    def _sharding_faults(self) -> dict[str, bool]:
        """What cannot be combined with shares of a model, and whether it is."""
        fsdp = self.parallel == "fsdp"
        able = ", ".join(name for name, facts in OPTIMIZERS.items() if facts.by_number)
        return {
            "parallel fsdp trains the U-Net's own weights: adapter null, text_encoders null": fsdp
            and bool(self.adapter or self.text_encoders),
            f"parallel fsdp needs an optimizer that changes each number by itself: {able}": fsdp
            and not OPTIMIZERS[self.optimizer].by_number,
            "parallel fsdp makes the step after backward, of all shares at once: weights fp32, "
            "step_in_backward false, optimizer_device device": fsdp and self.changes_by_parameter,
            "parallel fsdp knows no scaling of the loss: mixed_precision bf16 or no": fsdp
            and self.mixed_precision == "fp16",
            "parallel fsdp fetches weights between graphs: compile 'off'": fsdp
            and self.compile != "off",
        }
