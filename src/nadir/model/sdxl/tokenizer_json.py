"""A CLIP tokenizer with words of its own as plain JSON values, for the header of a single file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken
from transformers import CLIPTokenizer

from nadir.diffusion.sdxl import MAX_TOKENS

if TYPE_CHECKING:
    from collections.abc import Sequence


def tokenizer_to_json(tokenizer: CLIPTokenizer) -> dict[str, Any]:
    """What `tokenizer_from_json` needs to make an equal tokenizer, as plain JSON values."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())
    words = [token["content"] for token in model["added_tokens"] if not token["special"]]
    return {
        "vocabulary": model["model"]["vocab"],
        "merges": model["model"]["merges"],
        "words": words,
        "pad_token": tokenizer.pad_token,
    }


def tokenizer_from_json(value: dict[str, Any]) -> CLIPTokenizer:
    """The inverse of `tokenizer_to_json`."""
    tokenizer = CLIPTokenizer(
        vocab=value["vocabulary"],
        merges=[tuple(pair) for pair in value["merges"]],
        pad_token=value["pad_token"],
        model_max_length=MAX_TOKENS,
    )
    tokenizer.add_tokens(whole_words(value["words"]))
    return tokenizer


def whole_words(words: Sequence[str]) -> list[AddedToken]:
    """Words that are one token each wherever they stand between separators."""
    return [AddedToken(word, single_word=True, normalized=True) for word in words]
