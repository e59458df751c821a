"""Memory of a training by part: what lies where at the fullest moment of a step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nadir.config.optimizers import OPTIMIZERS
from nadir.diffusion.sdxl import MAX_TOKENS
from nadir.planning.hollow import hollow_trainable, hollow_vae, runnable
from nadir.planning.shares import shared_out, whole_blocks
from nadir.planning.step_memory import decoding_memory, step_memory
from nadir.training.text_states.store import state_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch
    from diffusers import AutoencoderKL

    from nadir.config.train import TrainParams
    from nadir.model.sdxl.text import TextEncoder
    from nadir.planning.hollow import Configs
    from nadir.planning.step_memory import StepMemory
    from nadir.training.trainable import Trainable

GIB = 1 << 30
DEVICE_LIBRARIES = int(0.7 * GIB)
"""A guess, not counted: CUDA's context, workspaces of cuBLAS and cuDNN, pieces of the allocator."""
# Of one number while a parameter's step is made: copies of weight and gradient in float32, and the
# optimizer's own temporary tensors, of which no optimizer of the table holds more than three.
_STEP_BYTES = 4 + 4 + 3 * 4
_FP32, _BF16 = 4, 2


@dataclass(frozen=True)
class Part:
    """One line of the plan.

    Attributes:
        name: What it is.
        device: Bytes on the training device.
        host: Bytes in the host's memory.
        note: Why it is as large as it is.
    """

    name: str
    device: int = 0
    host: int = 0
    note: str = ""


@dataclass(frozen=True)
class MemoryPlan:
    """Memory of one process, by part.

    Attributes:
        step: Parts at the fullest moment of a training step.
        captions: Parts while captions are encoded by text encoders that visit the device.
        previews: Parts while a preview is decoded.
        parameters: Numbers of the U-Net.
        trained: Numbers that are trained.
        state_bytes: A resumable checkpoint on disk.
        copy_bytes: Its copy in the host's memory while it is written; 0 where the training waits
            instead.
        copy_held_by: Whose memory that is.
        published_bytes: The published model on disk.
        text_row_bytes: One caption's kept text states on disk; 0 where none are kept.
    """

    step: tuple[Part, ...]
    captions: tuple[Part, ...]
    previews: tuple[Part, ...]
    parameters: int
    trained: int
    state_bytes: int
    copy_bytes: int
    copy_held_by: str
    published_bytes: int
    text_row_bytes: int

    def device_bytes(self, *, libraries: bool = True) -> int:
        """Most that the device holds at once, by default with `DEVICE_LIBRARIES`."""
        most = max(sum(part.device for part in parts) for parts in self.moments().values())
        return most + (DEVICE_LIBRARIES if libraries else 0)

    def host_bytes(self) -> int:
        """Most that these parts take in the host's memory; programs and libraries come on top."""
        return max(sum(part.host for part in parts) for parts in self.moments().values())

    def moments(self) -> dict[str, tuple[Part, ...]]:
        """What lies where at each of the moments that may be the fullest."""
        return {"a step": self.step, "captions": self.captions, "a preview": self.previews}


def plan_memory(
    configs: Configs,
    train: TrainParams,
    *,
    images: int,
    width: int,
    height: int,
    processes: int = 1,
) -> MemoryPlan:
    """Count the memory of a training, in seconds and without its weights.

    Args:
        configs: Of the networks, from `configs_of`.
        train: `params.yaml` train.
        images: Of one micro-batch of one process.
        width: Of the largest bucket, in pixels.
        height: Likewise.
        processes: Among which `train.parallel: fsdp` shares the model out.

    Raises:
        NadirError: A pattern of `train` names no layer.
    """
    shares = processes if train.parallel == "fsdp" else 1
    factor = 2 ** (len(configs["vae"]["block_out_channels"]) - 1)
    latent_CHW = (configs["vae"]["latent_channels"], height // factor, width // factor)
    trainable, text = hollow_trainable(configs, train)
    encoders = (text.text_encoder, text.text_encoder_2)
    with runnable(trainable.network, *encoders):
        weights = trainable.weights()
        lasting = _lasting(trainable, weights, train, *encoders)
        trained = sum(weight.numel() for weight in weights.values())
        parameters = sum(p.numel() for p in trainable.network.parameters())
        step = step_memory(trainable, text, train, images=images, latent_CHW=latent_CHW)
        whole = whole_blocks(trainable.network)
    vae_bytes, decoding = _vae_memory(hollow_vae(configs), latent_CHW)
    if train.preview_every:  # it stays where the first preview has taken it
        lasting.append(_placed("VAE", vae_bytes, train.frozen_models, "fp32"))
    state = _state_on_disk(weights, lasting)
    passing = _passing(step, weights, train, shares=shares)
    drawing = _drawing(_bytes(weights.values()), decoding, train, shares=shares)
    if shares > 1:
        drawing.insert(
            0, replace(lasting[0], name="whole U-Net", note="in the first process alone")
        )
        lasting = shared_out(lasting, shares)
        passing.append(Part("whole blocks", device=whole, note="fetched and sent, at the most"))
    return MemoryPlan(
        step=(*lasting, *passing),
        captions=_with_text_on_the_device(lasting, train),
        previews=(*lasting, *drawing) if train.preview_every else (),
        parameters=parameters,
        trained=trained,
        state_bytes=state,
        copy_bytes=state if train.checkpoint_in_background else 0,
        copy_held_by="all processes together" if shares > 1 else "the first process",
        published_bytes=_published(lasting, parameters, train, vae_bytes),
        text_row_bytes=_text_row(text, train),
    )


def _vae_memory(vae: AutoencoderKL, latent_CHW: tuple[int, int, int]) -> tuple[int, int]:
    """Bytes of its weights, and of decoding one picture."""
    with runnable(vae):
        return _bytes(vae.parameters()), decoding_memory(vae, latent_CHW=latent_CHW)


def _drawing(weights: int, decoding: int, train: TrainParams, *, shares: int) -> list[Part]:
    """What a preview takes besides what lies there anyhow."""
    parts = [_placed("decoding", decoding, train.frozen_models, "one picture")]
    if train.ema_decay:
        own = -(-weights // shares)
        parts.append(Part("published weights", host=own, note="own ones set aside"))
    return parts


def _state_on_disk(weights: dict[str, torch.nn.Parameter], lasting: list[Part]) -> int:
    """Bytes of a resumable checkpoint, of all processes together."""
    kept = [part for part in lasting if part.name in {"average", "optimizer state"}]
    return _bytes(weights.values()) + sum(part.device + part.host for part in kept)


def _lasting(
    trainable: Trainable,
    weights: dict[str, torch.nn.Parameter],
    train: TrainParams,
    *encoders: torch.nn.Module,
) -> list[Part]:
    """What lies there from the first step to the last."""
    network = _bytes(trainable.network.parameters())
    kept = train.adapter is not None
    precision = train.mixed_precision if kept else train.weights
    parts = [Part("U-Net", device=network, note="frozen" if kept else precision)]
    text = sum(_bytes(encoder.parameters()) for encoder in encoders)
    place = "host" if train.text_waits_on_host else "device"
    note = "trained, too" if train.text_encoders else "frozen"
    if train.text_waits_on_host:
        note = "frozen; on the device for captions alone"
        if train.text_cache:
            note = "frozen; on the device before the first step" + (
                " and for previews" if train.preview_every else ""
            )
    parts.append(_placed("text encoders", text, place, note))
    state = sum(_state_bytes(weight, train) for weight in weights.values())
    parts.append(_placed("optimizer state", state, train.optimizer_device, train.optimizer))
    if train.ema_decay:
        size = sum(weight.numel() for weight in weights.values())
        size *= _FP32 if train.ema_precision == "fp32" else _BF16
        parts.append(_placed("average", size, train.ema_device, train.ema_precision))
    return parts


def _with_text_on_the_device(lasting: list[Part], train: TrainParams) -> tuple[Part, ...]:
    """Where text encoders only visit the device: what is there meanwhile."""
    text = next(part for part in lasting if part.name == "text encoders")
    if not text.host:
        return ()
    here = replace(text, device=text.host, host=text.host)
    if train.text_cache and not train.preview_every:
        return (here,)  # nothing else is there before the first step
    return tuple(here if part is text else part for part in lasting)


def _passing(
    step: StepMemory, weights: dict[str, torch.nn.Parameter], train: TrainParams, *, shares: int
) -> list[Part]:
    """What comes and goes within a step."""
    gradients, note = step.gradients, "at the fullest moment"
    if shares > 1:
        gradients, note = -(-_bytes(weights.values()) // shares), f"a share of {shares}"
    elif train.gradient_accumulation > 1:
        # Those of the parts before lie there all the while.
        gradients = _bytes(weights.values())
        note = f"of {train.gradient_accumulation} parts, summed"
    elif train.step_in_backward:
        note = "each used at once"
    parts = [
        Part("gradients", device=gradients, note=note),
        Part("activations", device=step.peak - step.gradients, host=step.host),
    ]
    if train.changes_by_parameter or OPTIMIZERS[train.optimizer].factored:
        largest = max(weight.numel() for weight in weights.values())
        parts.append(
            _placed(
                "optimizer's step", largest * _STEP_BYTES, train.optimizer_device, "one parameter"
            )
        )
    return parts


def _state_bytes(weight: torch.nn.Parameter, train: TrainParams) -> float:
    """Of the optimizer for one parameter; vectors and small matrices keep two moments in fp32."""
    facts = OPTIMIZERS[train.optimizer]
    rows_and_columns = 0
    if facts.factored and weight.ndim >= 2:
        rows_and_columns = _FP32 * (weight.shape[0] + weight[0].numel())
    state = facts.state_bytes if weight.ndim >= 2 else max(facts.state_bytes, _FP32)
    return weight.numel() * state + rows_and_columns


def _published(lasting: list[Part], parameters: int, train: TrainParams, vae: int) -> int:
    """The published folder: an adapter is merged in float32."""
    number = _FP32 if train.adapter or train.weights == "fp32" else _BF16
    text = next(part.device + part.host for part in lasting if part.name == "text encoders")
    return parameters * number + text + vae


def _text_row(text: TextEncoder, train: TrainParams) -> int:
    """One caption's states on disk, if any are kept."""
    tokens = MAX_TOKENS * train.caption.token_chunks
    return state_bytes(tokens, text.hidden_size, text.pooled_size) if train.text_cache else 0


def _placed(name: str, size: float, place: str, note: str) -> Part:
    whole = round(size)
    return Part(
        name,
        device=0 if place == "host" else whole,
        host=whole if place == "host" else 0,
        note=note,
    )


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
