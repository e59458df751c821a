"""SDXL base's two tokenizers, with CLIP's real vocabulary out of another package."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from tests.support.other_environments import overlay
from tokenizers import pre_tokenizers

_MERGES = 49_152 - 256 - 2
START, END = "<|startoftext|>", "<|endoftext|>"


def write_clip_tokenizers(folder: Path) -> None:
    """Write `tokenizer` and `tokenizer_2` as the hub's SDXL base 1.0 has them.

    The vocabulary is bytes, bytes that end a word, what each merge makes, start and end. The
    second tokenizer names `!` as its padding token.
    """
    packed = overlay("open-clip") / "open_clip" / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(packed.read_bytes()).decode().split("\n")
    merges = lines[1 : _MERGES + 1]
    bytes_ = _byte_characters()
    pieces = [*bytes_, *(piece + "</w>" for piece in bytes_)]
    pieces += [merge.replace(" ", "") for merge in merges]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, START, END])}
    assert len(vocabulary) == 49_408
    for name, padding in (("tokenizer", END), ("tokenizer_2", "!")):
        part = folder / name
        part.mkdir(parents=True)
        _write(part / "vocab.json", vocabulary)
        text = "\n".join(["#version: 0.2", *merges]) + "\n"
        (part / "merges.txt").write_text(text, encoding="utf-8")
        _write(part / "tokenizer_config.json", _config(vocabulary, padding))


def _byte_characters() -> list[str]:
    """The 256 characters that stand for bytes, printable ones first, as CLIP numbers them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    own = [c for c in alphabet if ord(c) < 256]
    return own + [c for c in alphabet if ord(c) >= 256]


def _config(vocabulary: dict[str, int], padding: str) -> dict[str, object]:
    special = sorted({START, END, padding}, key=lambda token: vocabulary[token])
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "special": True}
    return {
        "added_tokens_decoder": {
            str(vocabulary[token]): {"content": token, "normalized": token != "!", **plain}
            for token in special
        },
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": padding,
        "model_max_length": 77,
        "tokenizer_class": "CLIPTokenizer",
    }


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
