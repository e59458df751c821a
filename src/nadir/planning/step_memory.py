"""Memory of a training step, counted by running it on tensors without numbers."""

from __future__ import annotations

import contextlib
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nadir.model.sdxl.calling import TIME_IDS, call_unet
from nadir.model.sdxl.text import encode_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nadir.config.train import TrainParams
    from nadir.model.sdxl.text import TextEncoder
    from nadir.training.trainable import Trainable

_TOKENS = 77
# The operation behind `.item()`, `bool()` and the like.
_VALUE = torch.ops.aten._local_scalar_dense.default  # noqa: SLF001


@dataclass(frozen=True)
class StepMemory:
    """Bytes that one micro-batch adds to what lies there all the time.

    Attributes:
        peak: Most that was held at once: activations, gradients, temporary tensors.
        gradients: The part of `peak` that are gradients of the weights; 0 where steps are made
            inside backward, where gradients of several parts are summed, and where they are sent
            to their shares at once.
        host: Activations that wait in the host's memory, with `train.activation_offload`.
    """

    peak: int
    gradients: int
    host: int


def step_memory(
    trainable: Trainable,
    text: TextEncoder,
    train: TrainParams,
    *,
    images: int,
    latent_CHW: tuple[int, int, int],
) -> StepMemory:
    """Count a forward and a backward pass; only inside of `hollow.runnable`.

    The kernels are those of the CPU; a GPU's hold the same activations. Not in it: workspaces of
    the device's libraries, and memory that its allocator has cut into pieces.

    Args:
        trainable: From `hollow_trainable`; hooks are added to its weights.
        text: From `hollow_trainable`; run when it is trained.
        train: `params.yaml` train: precision, checkpointing, offload, steps inside backward.
        images: Of one micro-batch.
        latent_CHW: Shape of a latent.
    """
    network = trainable.network
    if train.gradient_checkpointing:
        network.enable_gradient_checkpointing()
    weights = trainable.weights().values()
    known = [network, text.text_encoder, text.text_encoder_2]
    meter = Meter(tensor for model in known for tensor in (*model.parameters(), *model.buffers()))
    # Gradients of the parts before lie there all the while, and are counted by who asks.
    drops = train.step_in_backward or train.gradient_accumulation > 1 or train.parallel == "fsdp"
    for weight in weights:
        hook = _dropped if drops else meter.mark_gradient
        weight.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]
    host = HostActivations()
    offload = host.saved() if train.activation_offload else contextlib.nullcontext()
    with meter:
        with offload:
            loss = _forward(network, text, train, images, latent_CHW)
        torch.autograd.backward(loss)
    return StepMemory(
        peak=meter.peak,
        gradients=meter.gradients_at_peak,
        host=host.peak,
    )


def decoding_memory(vae: torch.nn.Module, *, latent_CHW: tuple[int, int, int]) -> int:
    """Bytes that decoding one picture takes beside the VAE's weights; likewise counted."""
    meter = Meter(vae.parameters())
    decode: Callable[..., Any] = vae.decode  # type: ignore[assignment]
    with torch.no_grad(), meter:
        decode(torch.zeros(1, *latent_CHW), return_dict=False)
    return meter.peak


def _forward(
    network: Any,
    text: TextEncoder,
    train: TrainParams,
    images: int,
    latent_CHW: tuple[int, int, int],
) -> torch.Tensor:
    config, chunks = network.config, train.caption.token_chunks
    pooled = config.projection_class_embeddings_input_dim
    pooled -= len(TIME_IDS) * config.addition_time_embed_dim
    noisy_BCHW = torch.zeros(images, *latent_CHW)
    with _autocast(train.mixed_precision):
        if train.text_encoders:
            tokens_BECS = torch.zeros(images, 2, chunks, _TOKENS, dtype=torch.int64)
            hidden_BSD, pooled_BP = encode_tokens(
                text.text_encoder, text.text_encoder_2, tokens_BECS
            )
        else:
            dtype = text.text_encoder.dtype
            hidden_BSD = torch.zeros(
                images, _TOKENS * chunks, config.cross_attention_dim, dtype=dtype
            )
            pooled_BP = torch.zeros(images, pooled, dtype=dtype)
        output_BCHW = call_unet(
            network,
            noisy_BCHW,
            torch.zeros(images, dtype=torch.int64),
            hidden_BSD,
            pooled_BP,
            torch.zeros(images, len(TIME_IDS)),
        )
    loss: torch.Tensor = (output_BCHW.float() - noisy_BCHW).square().mean()
    return loss


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the memory of all tensors that are made, and takes it off when they are gone.

    Args:
        known: Tensors that lie there all the time and are not counted.

    Attributes:
        live: Bytes held now.
        peak: Most bytes held.
        gradients: Bytes of gradients held now.
        gradients_at_peak: Bytes of gradients at the moment of `peak`.
    """

    def __init__(self, known: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = self.gradients = self.gradients_at_peak = 0
        self._sizes: dict[int, int] = {}
        self._gradients: set[int] = set()
        for tensor in known:
            self._sizes[_key(tensor)] = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        """Run an operation and count what it made."""
        if func is _VALUE:
            return 1  # nobody has a number here; peft's LoKr and LoHa toss a coin in each pass
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and _key(tensor) not in self._sizes:
                self._count(tensor)
        return made

    def mark_gradient(self, weight: torch.Tensor) -> None:
        """Hook of a weight: what it holds now is its gradient."""
        key = _key(weight.grad) if weight.grad is not None else 0
        if key in self._sizes and key not in self._gradients:
            self._gradients.add(key)
            self.gradients += self._sizes[key]

    def _count(self, tensor: torch.Tensor) -> None:
        key, storage = _key(tensor), tensor.untyped_storage()
        self._sizes[key] = storage.nbytes()
        self.live += self._sizes[key]
        if self.live > self.peak:
            self.peak, self.gradients_at_peak = self.live, self.gradients
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        size = self._sizes.pop(key, 0)
        self.live -= size
        if key in self._gradients:
            self._gradients.remove(key)
            self.gradients -= size


class HostActivations:
    """Stands for the host's memory that activations wait in.

    Attributes:
        peak: Most bytes of activations that waited there.
    """

    def __init__(self) -> None:
        self.peak = self._live = 0

    @contextlib.contextmanager
    def saved(self) -> Iterator[None]:
        """Inside the block what backward needs is kept here, as `save_on_cpu` keeps it."""
        with torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack):
            yield

    def _pack(self, tensor: torch.Tensor) -> tuple[torch.Size, torch.dtype]:
        self._live += tensor.numel() * tensor.element_size()
        self.peak = max(self.peak, self._live)
        return tensor.shape, tensor.dtype

    def _unpack(self, packed: tuple[torch.Size, torch.dtype]) -> torch.Tensor:
        shape, dtype = packed
        made = torch.empty(shape, dtype=dtype)
        self._live -= made.numel() * made.element_size()
        return made


def _key(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001


def _dropped(weight: torch.Tensor) -> None:
    weight.grad = None


def _autocast(precision: str) -> contextlib.AbstractContextManager[Any]:
    if precision == "no":
        return contextlib.nullcontext()
    return torch.autocast("cpu", dtype=torch.bfloat16 if precision == "bf16" else torch.float16)
