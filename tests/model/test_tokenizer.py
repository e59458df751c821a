from __future__ import annotations

from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from nadir.data.vocabulary import load_vocabulary
from nadir.model.sdxl.tokenizer_json import tokenizer_from_json, tokenizer_to_json
from nadir.model.tiny.tokenizer import build_tokenizer

PROMPTS = ["1girl, red_hair, black_background", "", "Zürich at 5 pm, :d", "red hair,1girl"]


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return build_tokenizer([tag for tag, _ in load_vocabulary()])


def tokens(tokenizer: CLIPTokenizer, prompt: str) -> list[str]:
    return tokenizer.convert_ids_to_tokens(tokenizer(prompt, add_special_tokens=False).input_ids)


def test_every_tag_of_the_vocabulary_is_one_token_in_both_spellings(
    tokenizer: CLIPTokenizer,
) -> None:
    for tag, _ in load_vocabulary():
        assert tokens(tokenizer, f"{tag}, 1girl")[0].removesuffix("</w>") == tag
        assert len(tokens(tokenizer, tag.replace("_", " "))) == 1


def test_a_prompt_is_tags_and_commas(tokenizer: CLIPTokenizer) -> None:
    expected = ["1girl", ",</w>", "red_hair", ",</w>", "black_background"]
    assert tokens(tokenizer, "1girl, red_hair, black_background") == expected
    assert tokens(tokenizer, "1girl,red_hair ,  black_background") == expected
    assert tokens(tokenizer, "1GIRL, Red_Hair, black_background") == expected


def test_a_tag_inside_a_longer_word_is_not_torn_out(tokenizer: CLIPTokenizer) -> None:
    assert "hair" not in tokens(tokenizer, "qhairq")
    assert "red_hair" not in tokens(tokenizer, "xred_hair")


def test_unknown_text_is_spelled_in_bytes_and_never_lost(tokenizer: CLIPTokenizer) -> None:
    spelled = tokens(tokenizer, "zqx")
    assert spelled == ["z", "q", "x</w>"]
    ids = tokenizer("Zürich 日本", add_special_tokens=False).input_ids
    assert tokenizer.decode(ids).replace(" ", "") == "zürich日本"


def test_the_end_token_has_the_highest_id_as_in_clip(tokenizer: CLIPTokenizer) -> None:
    assert tokenizer.eos_token_id == len(tokenizer) - 1


def test_stock_clip_tokenizer_reloads_it_unchanged(
    tokenizer: CLIPTokenizer, tmp_path: Path
) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = CLIPTokenizer.from_pretrained(tmp_path)
    assert again.model_max_length == 77
    for prompt in PROMPTS:
        assert again(prompt).input_ids == tokenizer(prompt).input_ids


def test_json_keeps_it_unchanged(tokenizer: CLIPTokenizer) -> None:
    again = tokenizer_from_json(tokenizer_to_json(tokenizer))
    for prompt in PROMPTS:
        assert again(prompt).input_ids == tokenizer(prompt).input_ids
