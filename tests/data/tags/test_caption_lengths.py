"""Captions longer than what is read: counted from the tokens of each tag, as the whole caption."""

from __future__ import annotations

import random
import string

import numpy as np
import pytest
from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

from nadir.config.caption import AS_BEFORE, CaptionParams
from nadir.data.tags.caption_lengths import CHUNK_TOKENS, CaptionLengths, caption_lengths
from nadir.data.tags.captions import render_caption
from nadir.data.tags.codes import TagUses
from nadir.data.vocabulary import load_vocabulary
from nadir.model.sdxl.token_counts import token_counter
from nadir.model.tiny.tokenizer import END, START, build_tokenizer

ODD = ["^_^", ":d", "k-on!", "!?", "love_live!", "fate_(series)", "re:zero", "o_o", "naïve", "初音"]
MERGES = [(")", ",</w>"), ("!", "!"), ("h", "a"), ("ha", "i"), ("o", "n"), ("!", ",</w>")]


def like_clip() -> CLIPTokenizer:
    """A tokenizer with merges of its own; among them such that join a sign and the comma."""
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces += [f"{piece}</w>" for piece in pieces]
    pieces += [first + second for first, second in MERGES]
    vocabulary = {piece: number for number, piece in enumerate([*pieces, START, END])}
    return CLIPTokenizer(vocab=vocabulary, merges=MERGES, pad_token="!")


def of_tags() -> CLIPTokenizer:
    return build_tokenizer([tag for tag, _ in load_vocabulary()][:400])


def params(**changes: object) -> CaptionParams:
    plain = {"drop_all": 0, "drop_tag": 0, "shuffle": False, "underscores": "space"}
    return CaptionParams.model_validate(AS_BEFORE | plain | {"token_chunks": 1} | changes)


def dataset(seed: int, images: int) -> tuple[TagUses, list[tuple[str, str]]]:
    draw = random.Random(seed)
    made_up = ["".join(draw.choices(string.ascii_lowercase + "_-.", k=9)) for _ in range(30)]
    names = [tag for tag, _ in load_vocabulary()][:60] + ODD + made_up
    tags = [(name, draw.choice(["general", "character", "artist", "meta"])) for name in names]
    lists = [draw.sample(range(len(tags)), draw.randint(0, 40)) for _ in range(images)]
    starts = np.cumsum([0, *(len(one) for one in lists)])
    return TagUses(starts, np.array([row for one in lists for row in one], np.int32)), tags


@pytest.mark.parametrize("underscores", ["space", "keep"])
@pytest.mark.parametrize("make", [like_clip, of_tags])
def test_tokens_of_tags_add_up_to_those_of_the_caption(make: object, underscores: str) -> None:
    tokenizer = make()
    uses, tags = dataset(0, 60)
    captions = params(underscores=underscores)
    found = caption_lengths(uses, tags, captions, token_counter([tokenizer]))
    whole = []
    for image in range(len(uses)):
        caption = render_caption([tags[row] for row in uses.of(image)], captions, None)
        whole.append(
            len(tokenizer(caption, add_special_tokens=False, split_special_tokens=True).input_ids)
        )
    assert found.images == len(whole)
    assert found.cut == sum(length > CHUNK_TOKENS for length in whole)
    assert 0 < found.cut < found.images
    assert found.longest == max(whole)


def count_letters(texts: list[str]) -> np.ndarray:
    return np.array([len(one) for one in texts])


def measured(
    lists: list[list[int]], tags: list[tuple[str, str]], **changes: object
) -> CaptionLengths:
    starts = np.cumsum([0, *(len(one) for one in lists)])
    uses = TagUses(starts, np.array([row for one in lists for row in one], np.int32))
    return caption_lengths(uses, tags, params(**changes), count_letters)


def test_the_tags_that_are_lost_are_those_behind_the_limit() -> None:
    """One letter is one token here: 37 and a comma, twice, are 76."""
    tags = [("g" * 37, "general"), ("c" * 37, "character"), ("m" * 36, "meta"), ("x", "general")]
    found = measured([[0, 1], [2, 1], [0, 2], [3], []], tags)
    assert (found.images, found.cut, found.longest) == (5, 0, 75)
    assert found.warning() is None
    found = measured([[0, 1, 3], [2, 3, 1], [0, 2], [3]], tags)
    assert (found.cut, found.share, found.longest) == (2, 0.5, 77)
    # In captions' order: character, general, meta.
    assert found.lost == {"x": 1, "m" * 36: 1}
    assert "50.0% of the captions (2 of 4) have more than the 75 tokens" in str(found.warning())
    assert measured([[0, 1, 3]], tags, token_chunks=2).cut == 0


def test_where_tags_are_shuffled_each_of_a_class_is_lost_as_often() -> None:
    tags = [(letter * 18, "general") for letter in "abcde"]
    found = measured([[0, 1, 2, 3, 4]] * 500, tags, shuffle=True)
    assert sum(found.lost.values()) == 500
    assert all(70 < times < 130 for times in found.lost.values())
    assert found == measured([[0, 1, 2, 3, 4]] * 500, tags, shuffle=True)
    assert measured([[0, 1, 2, 3, 4]] * 500, tags).lost == {"e" * 18: 500}


def test_no_images_are_no_captions() -> None:
    found = measured([], [])
    assert (found.images, found.cut, found.share, found.lost) == (0, 0, 0.0, {})
