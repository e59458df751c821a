"""The tiny model's two text encoders: CLIP's architecture with frozen weights made for tags.

Their weights are random but not CLIP's usual initialisation, in which position and mixing drown
a token's identity. Here every token has an embedding of its own, position is a tenth as large,
and attention takes the plain mean of the words before it and looks past separators. So each
position names its tag, and the pooled state at the end token sums up all tags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from nadir.diffusion.sdxl import MAX_TOKENS
from nadir.model.tiny.tokenizer import spellings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import CLIPTokenizer

_POSITION_SCALE = 0.1
_MIX_GAIN = 0.7  # of every layer but the last: a word keeps its identity
_POOL_GAIN = 2.0  # of the last layer, which only the pooled state uses
_END_SCALE = 0.3  # the end token says little itself, so what it gathers shows
_SEPARATOR_FLAG = 4.0  # value of embedding channel 0 that marks a separator
_SEPARATOR_LOGIT = -6.0  # attention logit of a separator against a word's 0
_SEPARATORS = (",</w>", ",", ".</w>", ".")


def build_text_encoder(
    hidden: int,
    *,
    layers: int,
    tokenizer: CLIPTokenizer,
    tags: Sequence[str],
    generator: torch.Generator,
    projection: bool,
) -> CLIPTextModel | CLIPTextModelWithProjection:
    """One frozen text encoder over the tokens of `tokenizer`.

    Args:
        hidden: Hidden size, also the size of the pooled output; a multiple of 8.
        layers: Transformer layers, at least 2; conditioning reads the last but one.
        tokenizer: The tokenizer made of `tags`.
        tags: Tags whose spellings share one embedding.
        generator: Source of all random weights.
        projection: Whether to make the second encoder, which has a pooled projection.
    """
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        projection_dim=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 8,
        max_position_embeddings=MAX_TOKENS,
        hidden_act="gelu" if projection else "quick_gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    kind = CLIPTextModelWithProjection if projection else CLIPTextModel
    model = kind(config).eval().requires_grad_(requires_grad=False)
    body = model.text_model if projection else model
    _set_embeddings(body.embeddings, tokenizer, tags, generator)
    for index, layer in enumerate(body.encoder.layers):
        gain = _POOL_GAIN if index == layers - 1 else _MIX_GAIN
        _set_attention(layer.self_attn, gain, generator)
        _set_linear(layer.mlp.fc1, 1.0, generator)
        _set_linear(layer.mlp.fc2, 0.3, generator)
    if projection:
        _set_linear(model.text_projection, 1.0, generator)
    return model


def _set_embeddings(
    embeddings: Any,
    tokenizer: CLIPTokenizer,
    tags: Sequence[str],
    generator: torch.Generator,
) -> None:
    table_VD = torch.randn(embeddings.token_embedding.weight.shape, generator=generator)
    table_VD[:, 0] = 0.0
    table_VD *= table_VD.shape[1] ** 0.5 / table_VD.norm(dim=1, keepdim=True)
    names = tokenizer.get_vocab()
    for tag in tags:
        first, *others = (names[word] for word in spellings(tag))
        table_VD[others] = table_VD[first].clone()
    for token in (*_SEPARATORS, tokenizer.bos_token, tokenizer.eos_token):
        table_VD[names[token], 0] = _SEPARATOR_FLAG
    table_VD[tokenizer.eos_token_id] *= _END_SCALE
    embeddings.token_embedding.weight.copy_(table_VD)
    position_SD = torch.randn(embeddings.position_embedding.weight.shape, generator=generator)
    position_SD[:, 0] = 0.0
    embeddings.position_embedding.weight.copy_(position_SD * _POSITION_SCALE)


def _set_attention(attention: Any, gain: float, generator: torch.Generator) -> None:
    """Logit = a constant times channel 0 of the key's normed state; values are rotated."""
    head = attention.head_dim
    attention.q_proj.weight.zero_()
    attention.k_proj.weight.zero_()
    attention.q_proj.bias.zero_()
    attention.q_proj.bias[::head] = head**0.5
    # The flag is about _SEPARATOR_FLAG after the layer norm.
    attention.k_proj.weight[::head, 0] = _SEPARATOR_LOGIT / _SEPARATOR_FLAG
    _set_linear(attention.v_proj, 1.0, generator)
    _set_linear(attention.out_proj, gain, generator)


def _set_linear(linear: torch.nn.Linear, gain: float, generator: torch.Generator) -> None:
    """Orthogonal weight times `gain`, zero bias."""
    torch.nn.init.orthogonal_(linear.weight, gain=gain, generator=generator)
    if linear.bias is not None:
        linear.bias.zero_()
