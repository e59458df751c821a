"""The tiny model's tokenizer: one token per tag of the shipped vocabulary, bytes for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

from nadir.diffusion.sdxl import MAX_TOKENS
from nadir.model.sdxl.tokenizer_json import whole_words

if TYPE_CHECKING:
    from collections.abc import Sequence

START, END = "<|startoftext|>", "<|endoftext|>"


def spellings(tag: str) -> tuple[str, ...]:
    """How a tag may stand in a prompt: with underscores and, if it has any, with spaces."""
    spaced = tag.replace("_", " ").strip()
    return (tag,) if spaced in ("", tag) else (tag, spaced)


def build_tokenizer(tags: Sequence[str]) -> CLIPTokenizer:
    """A CLIP tokenizer that knows each tag as a whole word.

    A tag is one token in both its spellings, wherever it stands between separators. Any other
    text is spelled out in bytes, so nothing is unknown. Commas are tokens, as in CLIP's own
    vocabulary. The end token has the highest id, as in CLIP, because some programs find the
    pooled position by it.

    Args:
        tags: Lower-case booru tags; the order fixes their ids.

    Returns:
        A tokenizer that stock `CLIPTokenizer.from_pretrained` reloads once it is saved.
    """
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    # Within a word a byte stands alone; at its end CLIP marks it.
    pieces = [*bytes_, *(piece + "</w>" for piece in bytes_)]
    known = set(pieces)
    words = [word for tag in tags for word in spellings(tag) if word not in known]
    words = list(dict.fromkeys(words))
    vocabulary = {piece: index for index, piece in enumerate([*pieces, *words, START, END])}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=MAX_TOKENS)
    # Added tokens are matched before CLIP's own splitting at digits, letters and signs.
    tokenizer.add_tokens(whole_words(words))
    return tokenizer
