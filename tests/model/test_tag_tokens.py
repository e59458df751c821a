from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.clip_vocabulary import write_clip_tokenizers
from transformers import CLIPTokenizer

from nadir.model.sdxl import tag_tokens
from nadir.model.sdxl.tag_tokens import TagTokens, token_ids
from nadir.model.tiny.tokenizer import build_tokenizer

if TYPE_CHECKING:
    import pathlib

TAGS = ("1girl", "red_hair", "a", "love_live!", "^_^", "o_o", "saber_(fate)", "k-on!", "solo")


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> list[CLIPTokenizer]:
    """SDXL's two, and the tiny model's, which knows tags of several words."""
    folder: pathlib.Path = tmp_path_factory.mktemp("clip")
    write_clip_tokenizers(folder)
    own = [CLIPTokenizer.from_pretrained(folder / name) for name in ("tokenizer", "tokenizer_2")]
    return [*own, build_tokenizer(TAGS)]


@pytest.fixture(scope="module")
def remembering(tokenizers: list[CLIPTokenizer]) -> list[TagTokens]:
    return [TagTokens(tokenizer) for tokenizer in tokenizers]


signs = st.text("!?abzAB12_-:;()/\\'.<>|^@é日🙂\u0301\u03a3\u00a0\t ", max_size=8)
tags = st.one_of(st.sampled_from([*TAGS, *(tag.replace("_", " ") for tag in TAGS)]), signs)


@given(written=st.lists(tags, max_size=6))
def test_a_caption_is_the_same_tokens_from_memory(
    tokenizers: list[CLIPTokenizer], remembering: list[TagTokens], written: list[str]
) -> None:
    caption = ", ".join(written)
    for tokenizer, known in zip(tokenizers, remembering, strict=True):
        assert known(caption) == token_ids(tokenizer, caption)


def test_a_known_tag_is_not_read_again(
    tokenizers: list[CLIPTokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, read = TagTokens(tokenizers[0]), []

    def noted(tokenizer: CLIPTokenizer, text: str) -> list[int]:
        read.append(text)
        return token_ids(tokenizer, text)

    monkeypatch.setattr(tag_tokens, "token_ids", noted)
    # The last tag has no comma, so each is read as the last one, too.
    captions = [", ".join([*TAGS[place:], *TAGS[:place]]) for place in range(len(TAGS))]
    first = [known(caption) for caption in captions]
    read.clear()
    assert [known(caption) for caption in captions] == first
    shuffled = list(TAGS)
    random.Random(0).shuffle(shuffled)
    assert known(", ".join(shuffled)) == token_ids(tokenizers[0], ", ".join(shuffled))
    assert read == []


def test_a_tag_that_reads_differently_between_others_makes_the_caption_be_read_whole() -> None:
    # A vocabulary with an entry that reaches over a comma, which no real one has.
    tokenizer = build_tokenizer(["a", "b", "b, a"])
    known = TagTokens(tokenizer)
    for caption in ("a, b, a", "b, a", "a, b"):
        assert known(caption) == token_ids(tokenizer, caption)
