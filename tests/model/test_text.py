from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from torch.nn.functional import cosine_similarity

from nadir.model.sdxl.networks import load_text
from nadir.model.sdxl.text import TextEncoder, encode_tokens, token_chunks

PROMPTS = ["1girl, red_hair, black_background", "", "unknown words here", "smile, 1girl"]


@pytest.fixture(scope="module")
def text(base: Path) -> TextEncoder:
    return load_text(base)


def at(text: TextEncoder, prompt: str, position: int) -> torch.Tensor:
    return text.encode([prompt])[0][0, position]


def test_one_chunk_equals_the_stock_pipeline(base: Path, text: TextEncoder) -> None:
    pipeline = StableDiffusionXLPipeline.from_pretrained(base, local_files_only=True)
    stock_BSD, stock_negative_BSD, stock_BP, _ = pipeline.encode_prompt(PROMPTS)
    hidden_BSD, pooled_BP = text.encode(PROMPTS)
    torch.testing.assert_close(hidden_BSD, stock_BSD)
    torch.testing.assert_close(pooled_BP, stock_BP)
    # Without a negative prompt the stock pipeline encodes the empty one, as training does.
    torch.testing.assert_close(hidden_BSD[1], stock_negative_BSD[0])


def test_shapes_are_what_the_unet_takes(text: TextEncoder) -> None:
    hidden_BSD, pooled_BP = text.encode(PROMPTS, chunks=3)
    assert hidden_BSD.shape == (4, 231, text.hidden_size)
    assert pooled_BP.shape == (4, text.pooled_size)


def test_chunks_are_encoded_apart_and_joined_along_the_sequence(text: TextEncoder) -> None:
    first, second = "1girl " * 75, "smile " * 20
    both_BSD, pooled_BP = text.encode([first + second], chunks=2)
    apart_BSD, apart_BP = text.encode([first, second])
    torch.testing.assert_close(both_BSD[0, :77], apart_BSD[0])
    torch.testing.assert_close(both_BSD[0, 77:], apart_BSD[1])
    torch.testing.assert_close(pooled_BP[0], apart_BP[0])


def test_a_prompt_that_fills_less_is_filled_up_with_empty_chunks(text: TextEncoder) -> None:
    hidden_BSD, _ = text.encode(["1girl", ""], chunks=2)
    torch.testing.assert_close(hidden_BSD[0, 77:], hidden_BSD[1, :77])


def test_tokens_beyond_the_chunks_are_cut_off(text: TextEncoder) -> None:
    long, cut = "1girl " * 80, "1girl " * 75
    torch.testing.assert_close(text.encode([long])[0], text.encode([cut])[0])


def test_each_chunk_is_start_tokens_end_padding(text: TextEncoder) -> None:
    ids = token_chunks(text.tokenizer, ["1girl " * 76], 2)[0]
    start, end = text.tokenizer.bos_token_id, text.tokenizer.eos_token_id
    assert ids.shape == (2, 77)
    assert ids[:, 0].tolist() == [start, start]
    assert ids[0, 76] == end
    assert ids[1, 2] == end
    assert set(ids[1, 3:].tolist()) == {text.tokenizer.pad_token_id}


def test_each_tag_has_states_of_its_own_that_position_does_not_drown(text: TextEncoder) -> None:
    red = at(text, "1girl, red_hair, smile", 3)
    blue = at(text, "1girl, blue_hair, smile", 3)
    moved = at(text, "red_hair, 1girl, smile", 1)
    assert cosine_similarity(red, blue, dim=0) < 0.6
    assert cosine_similarity(red, moved, dim=0) > 0.7


def test_the_pooled_vector_tells_prompts_apart_by_one_tag(text: TextEncoder) -> None:
    red, blue, moved, empty = text.encode(
        [
            "1girl, red_hair, smile, black_background",
            "1girl, red_hair, smile, white_background",
            "black_background, smile, red_hair, 1girl",
            "",
        ]
    )[1]
    assert (red - blue).norm() > 0.25 * red.norm()
    assert cosine_similarity(red, empty, dim=0) < 0.8
    assert (red - moved).norm() < (red - empty).norm()


def test_both_spellings_of_a_tag_mean_the_same(text: TextEncoder) -> None:
    underscore, space = text.encode(["1girl, red_hair", "1girl, red hair"])[0]
    torch.testing.assert_close(underscore, space)


def test_the_first_encoders_last_layer_is_not_computed_and_changes_nothing(
    base: Path,
) -> None:
    text = load_text(base)
    layers = text.text_encoder.encoder.layers
    ran: list[int] = []
    for place, layer in enumerate(layers):
        layer.mlp.register_forward_hook(lambda *_, place=place: ran.append(place))
    tokens = text.tokens(["1girl, red_hair", ""], 2)
    with torch.no_grad():
        whole = encode_tokens(text.text_encoder, text.text_encoder_2, tokens)
    assert ran == list(range(len(layers)))
    ran.clear()
    for ours, expected in zip(text.encode(["1girl, red_hair", ""], 2), whole, strict=True):
        assert torch.equal(ours, expected)
    assert ran == list(range(len(layers) - 1))
    ran.clear()
    text.text_encoder(tokens[:, 0, 0])
    assert ran == list(range(len(layers))), "others find it whole"
