"""Texts in parts that CLIP can read whole."""

from __future__ import annotations

from typing import Any

MOST_TOKENS = 75
"""CLIP reads 77, two of them start and end."""


def text_chunks(text: str, tokenizer: Any) -> list[str]:
    """Parts of at most 75 tokens, parted at commas; a longer piece is parted between words.

    Args:
        text: Tags or sentences.
        tokenizer: CLIP's.
    """
    chunks: list[str] = []
    used = 0
    for piece in _pieces(text, tokenizer):
        cost = _length(piece, tokenizer) + 1  # a comma
        if chunks and used + cost <= MOST_TOKENS + 1:
            chunks[-1] += f", {piece}"
            used += cost
        else:
            chunks.append(piece)
            used = cost
    return chunks or [text]


def _pieces(text: str, tokenizer: Any) -> list[str]:
    pieces: list[str] = []
    for part in (one.strip() for one in text.split(",")):
        if not part:
            continue
        if _length(part, tokenizer) <= MOST_TOKENS:
            pieces.append(part)
            continue
        words: list[str] = []
        for word in part.split():
            if words and _length(" ".join([*words, word]), tokenizer) > MOST_TOKENS:
                pieces.append(" ".join(words))
                words = []
            words.append(word)
        pieces.append(" ".join(words))
    return pieces


def _length(text: str, tokenizer: Any) -> int:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])
