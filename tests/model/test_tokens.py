"""SDXL's own tokenizers: any text is tokens as OpenCLIP, with which SDXL was trained, has them."""

from __future__ import annotations

import importlib.util
import random
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.clip_vocabulary import write_clip_tokenizers
from tests.support.other_environments import overlay
from transformers import CLIPTokenizer

from nadir.model.sdxl.networks import load_text
from nadir.model.sdxl.text import TextEncoder, token_chunks, token_ids

if TYPE_CHECKING:
    from pathlib import Path

# What OpenCLIP's SimpleTokenizer gives. Through transformers `!` is the second tokenizer's
# padding, id 0, wherever it stands.
TAGS = {
    "!": [256],
    "!!": [748],
    "!!!": [995],
    "!?": [6004],
    "?!": [2835],
    "!?!": [29767],
    "??": [2197],
    "?": [286],
    "love live!": [793, 1064, 256],
    "love_live!": [793, 318, 1064, 256],
    "1girl, love live!, solo": [272, 1611, 267, 793, 1064, 29325, 5797],
    "k-on!": [330, 268, 525, 256],
    "don't!": [847, 713, 256],
    ":d": [281, 323],
    ":3": [281, 274],
    ";)": [3661],
    "^_^": [15995],
    ">_<": [44144, 283],
    "\\m/": [315, 332, 270],
    "\\o/": [315, 334, 270],
    "@_@": [31, 62, 287],
    "+_+": [10, 62, 266],
    "|_|": [91, 62, 347],
    "...": [678],
    "saber (fate)": [25624, 263, 11734, 264],
    "saber \\(fate\\)": [25624, 59, 263, 11734, 59, 264],
    "fate/stay night": [11734, 270, 2277, 930],
    "re:zero": [810, 281, 5848],
    "idolm@ster": [24866, 332, 287, 881],
    "rock 'n' roll": [2172, 262, 333, 262, 3341],
    "<|endoftext|>": [27, 347, 40786, 4160, 91, 285],
    "smile <|startoftext|> hat": [3490, 27, 347, 993, 6659, 4160, 91, 285, 3801],
    "": [],
}
ALPHABET = "!!!!?abcdefg 12_-:;()/\\'.,<>|^@~*+=é日🙂"


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> tuple[CLIPTokenizer, CLIPTokenizer]:
    folder = tmp_path_factory.mktemp("clip")
    write_clip_tokenizers(folder)
    first, second = (
        CLIPTokenizer.from_pretrained(folder / part) for part in ("tokenizer", "tokenizer_2")
    )
    return first, second


@pytest.fixture
def open_clip(monkeypatch: pytest.MonkeyPatch) -> Any:
    """OpenCLIP's own tokenizer."""
    folder = overlay("open-clip")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    file = folder / "open_clip" / "tokenizer.py"
    spec = importlib.util.spec_from_file_location("open_clip_tokenizer", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer()


@pytest.mark.parametrize("tag", list(TAGS))
def test_a_tag_is_the_tokens_that_sdxl_was_trained_with(
    tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], tag: str
) -> None:
    assert [token_ids(tokenizer, tag) for tokenizer in tokenizers] == [TAGS[tag]] * 2


def test_the_table_is_open_clips(open_clip: Any) -> None:
    assert {tag: open_clip.encode(tag) for tag in TAGS} == TAGS


def test_any_text_is_open_clips_tokens(
    tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], open_clip: Any
) -> None:
    rng = random.Random(0)
    texts = ["".join(rng.choices(ALPHABET, k=rng.randint(1, 12))) for _ in range(2000)]
    texts += ["a\u00a0b", "e\u0301", "\u3000x", "tab\tx\n y", "ẞ", "½", "Ⅳ", "☆", "пример"]
    for text in texts:
        expected = open_clip.encode(text)
        assert [token_ids(tokenizer, text) for tokenizer in tokenizers] == [expected] * 2, text


def test_both_tokenizers_pad_with_their_own_token_behind_the_text(
    tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
) -> None:
    for tokenizer, padding in zip(tokenizers, (49_407, 0), strict=True):
        (row,) = token_chunks(tokenizer, ["k-on!"], 1)[0].tolist()
        assert row == [49_406, 330, 268, 525, 256, 49_407, *[padding] * 71]


@pytest.fixture
def text_pair(base: Path) -> TextEncoder:
    return load_text(base)


def test_a_typed_end_token_does_not_end_the_prompt(text_pair: TextEncoder) -> None:
    """Also where tags are whole words: those stay what they are."""
    (ids,) = token_chunks(text_pair.tokenizer, ["red_hair, <|endoftext|>, love live!"], 1)[0]
    known = text_pair.tokenizer.get_vocab()
    assert ids[1] == known["red_hair"]
    row = ids.tolist()
    assert row.index(text_pair.tokenizer.eos_token_id) > row.index(known["!</w>"])
