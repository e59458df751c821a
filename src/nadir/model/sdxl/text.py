"""Prompts to SDXL's conditioning: chunks of 75 tokens, penultimate states, pooled vector."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nadir.compute.devices import sent
from nadir.diffusion.sdxl import CHUNK_TOKENS
from nadir.model.sdxl.tag_tokens import TagTokens, token_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer


@dataclass(frozen=True)
class TextEncoder:
    """SDXL's pair of tokenizers and text encoders (paper §4.2).

    A prompt's tokens are cut into chunks of 75. Each chunk, wrapped in start and end token and
    padded to 77, is encoded on its own; the hidden states of the last but one layer are joined
    along the channels of the two encoders and along the sequence of the chunks. The pooled vector
    is the second encoder's, of the first chunk. With one chunk this equals what the stock SDXL
    pipeline computes for texts without `!` (see `token_ids`). The empty prompt is encoded like any
    other, never replaced by zeros, because that is what caption dropout trains; checkpoints say so
    in `model_index.json` (`force_zeros_for_empty_prompt: false`).

    Attributes:
        tokenizer: First tokenizer.
        tokenizer_2: Second tokenizer (SDXL's pads with another token).
        text_encoder: First encoder.
        text_encoder_2: Second encoder, with the pooled projection.
        visits: Device that the encoders' weights are on while `encode` runs; None leaves them where
            they are.
    """

    tokenizer: CLIPTokenizer
    tokenizer_2: CLIPTokenizer
    text_encoder: CLIPTextModel
    text_encoder_2: CLIPTextModelWithProjection
    visits: torch.device | None = None

    @property
    def hidden_size(self) -> int:
        """Channels D of the hidden states: the U-Net's cross-attention width."""
        return int(self.text_encoder.config.hidden_size + self.text_encoder_2.config.hidden_size)

    @property
    def pooled_size(self) -> int:
        """Size P of the pooled vector."""
        return int(self.text_encoder_2.config.projection_dim)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> TextEncoder:
        """Move both encoders; returns self."""
        self.text_encoder.to(device=device, dtype=dtype)
        self.text_encoder_2.to(device=device, dtype=dtype)
        return self

    @torch.no_grad()
    def encode(self, prompts: Sequence[str], chunks: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode prompts on the encoders' device, or the one that they visit, in their precision.

        Args:
            prompts: B prompts, the empty one included; tokens beyond the chunks are cut off.
            chunks: Chunks per prompt, at least 1; shorter prompts fill up with empty chunks.

        Returns:
            `hidden_BSD` with S = 77 * chunks, and `pooled_BP`.
        """
        tokens_BECS = self.tokens(prompts, chunks)
        with (
            visiting(self.visits, self.text_encoder, self.text_encoder_2),
            without_last_layer(self.text_encoder),
        ):
            return encode_tokens(self.text_encoder, self.text_encoder_2, tokens_BECS)

    def tokens(self, prompts: Sequence[str], chunks: int = 1) -> torch.Tensor:
        """Token ids of prompts for both encoders, `tokens_BECS` [B, 2, chunks, 77], on the CPU."""
        tokens = [
            token_chunks(tokenizer, prompts, chunks, ids_of)
            for tokenizer, ids_of in zip(self._tokenizers, self._ids_of, strict=True)
        ]
        return torch.stack(tokens, dim=1)

    @property
    def _tokenizers(self) -> tuple[CLIPTokenizer, CLIPTokenizer]:
        return self.tokenizer, self.tokenizer_2

    @functools.cached_property
    def _ids_of(self) -> tuple[TagTokens, TagTokens]:
        return TagTokens(self.tokenizer), TagTokens(self.tokenizer_2)


@contextlib.contextmanager
def visiting(device: torch.device | None, *networks: torch.nn.Module) -> Iterator[None]:
    """Inside the block the weights of frozen networks are on a device; None changes nothing.

    Nothing is copied back: what was where they came from is still there.
    """
    if device is None:
        yield
        return
    home = [
        (module, name, tensor)
        for network in networks
        for module in network.modules()
        for tensors in (module.named_parameters(recurse=False), module.named_buffers(recurse=False))
        for name, tensor in tensors
    ]
    try:
        for module, name, tensor in home:
            setattr(module, name, _there(tensor, device))
        yield
    finally:
        for module, name, tensor in home:
            setattr(module, name, tensor)


def _there(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    moved = tensor.data.to(device)
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(moved, requires_grad=tensor.requires_grad)
    return moved


@contextlib.contextmanager
def without_last_layer(encoder: CLIPTextModel) -> Iterator[None]:
    """Inside the block the last layer gives back what it gets.

    For the first encoder, whose states before that layer are all that SDXL reads.
    """
    last = encoder.encoder.layers[-1]
    last.forward = lambda states, *_, **__: states
    try:
        yield
    finally:
        del last.forward


def encode_tokens(
    encoder: CLIPTextModel, encoder_2: CLIPTextModelWithProjection, tokens_BECS: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `TextEncoder.encode` makes of tokens, with gradients where they are wanted.

    Args:
        encoder: First encoder; as its module or wrapped, say for data parallel training.
        encoder_2: Second encoder, likewise.
        tokens_BECS: From `TextEncoder.tokens`.

    Returns:
        `hidden_BSD` with S = 77 * chunks, and `pooled_BP`.
    """
    first_BSD, _ = _encode(encoder, tokens_BECS[:, 0])
    second_BSD, pooled_BP = _encode(encoder_2, tokens_BECS[:, 1])
    return torch.cat([first_BSD, second_BSD], dim=-1), pooled_BP


def token_chunks(
    tokenizer: CLIPTokenizer,
    prompts: Sequence[str],
    chunks: int,
    ids_of: Callable[[str], list[int]] | None = None,
) -> torch.Tensor:
    """Token ids of prompts, chunk by chunk.

    Args:
        tokenizer: A CLIP tokenizer.
        prompts: B prompts.
        chunks: Chunks per prompt.
        ids_of: Gives the tokens of a prompt; else the tokenizer does.

    Returns:
        int64 tensor [B, chunks, 77]; each chunk is start, up to 75 tokens, end, padding.
    """
    ids_of = ids_of or functools.partial(token_ids, tokenizer)
    return torch.tensor([_chunk_ids(tokenizer, ids_of(prompt), chunks) for prompt in prompts])


def _chunk_ids(tokenizer: CLIPTokenizer, tokens: list[int], chunks: int) -> list[list[int]]:
    rows = []
    for index in range(chunks):
        part = tokens[index * CHUNK_TOKENS : (index + 1) * CHUNK_TOKENS]
        padding = [tokenizer.pad_token_id] * (CHUNK_TOKENS - len(part))
        rows.append([tokenizer.bos_token_id, *part, tokenizer.eos_token_id, *padding])
    return rows


def _encode(
    encoder: CLIPTextModel | CLIPTextModelWithProjection, ids_BCS: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Penultimate states [B, 77 * chunks, d] and the first output of the first chunk [B, ...]."""
    count, chunks, length = ids_BCS.shape
    device = next(encoder.parameters()).device
    output = encoder(sent(ids_BCS.flatten(0, 1), device), output_hidden_states=True)
    hidden_BSD = output.hidden_states[-2].reshape(count, chunks * length, -1)
    return hidden_BSD, output[0][::chunks]
