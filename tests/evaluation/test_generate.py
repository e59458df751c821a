"""Pictures depend on prompt, seed and scale, and on nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from nadir.ground.errors import NadirError
from nadir.model.load import load_pipeline
from nadir.sampling.decode import decode, pixel_array, to_image
from nadir.sampling.generate import generate, start_noise
from nadir.sampling.prompt_encodings import PromptEncodings, text_encoder
from nadir.sampling.prompt_format import PromptFormat

SETTINGS = {"cfg_scale": 4.5, "steps": 3, "size": (32, 32)}
PROMPTS = ["1girl, red_hair", "1boy, black_background"]


@pytest.fixture
def encodings(pipeline):
    return PromptEncodings(text_encoder(pipeline), captions=PromptFormat.of({}).captions)


def pixels(pipeline, encodings, requests, **changes):
    drawings = generate(pipeline, requests, encodings=encodings, **{**SETTINGS, **changes})
    return [drawing.pixels_CHW for drawing in drawings]


def test_noise_is_a_function_of_prompt_and_seed():
    shape = (4, 8, 8)
    same, again = start_noise("a", 1, shape), start_noise("a", 1, shape)
    assert torch.equal(same, again)
    assert not torch.equal(same, start_noise("a", 2, shape))
    assert not torch.equal(same, start_noise("b", 1, shape))
    assert same.dtype == torch.float32


def test_noise_is_the_same_on_every_machine():
    expected = [1.30221665, 0.68495345, 1.61381125]
    assert start_noise("1girl", 1, (4, 2, 2)).flatten()[:3].tolist() == pytest.approx(expected)


def test_noise_is_standard_normal():
    noise = start_noise("a", 1, (4, 128, 128))
    assert float(noise.mean()) == pytest.approx(0, abs=0.02)
    assert float(noise.std()) == pytest.approx(1, abs=0.02)


def test_an_image_does_not_depend_on_what_shares_its_batch(pipeline, encodings):
    requests = [(prompt, seed) for prompt in PROMPTS for seed in (1, 2, 3)]
    together = pixels(pipeline, encodings, requests, batch_size=4)
    alone = [pixels(pipeline, encodings, [request])[0] for request in requests]
    for first, second in zip(together, alone, strict=True):
        assert np.abs(first - second).max() < 1e-4


def test_a_prompts_states_do_not_depend_on_what_is_asked_with_it(pipeline):
    captions = PromptFormat.of({}).captions
    known = torch.get_num_threads()
    try:
        torch.set_num_threads(2)  # with which states of a batch have other last digits
        together = PromptEncodings(text_encoder(pipeline), captions)
        hidden_BSD, pooled_BP = together.get(PROMPTS)
        for place, prompt in enumerate(PROMPTS):
            hidden, pooled = PromptEncodings(text_encoder(pipeline), captions).get([prompt])
            assert torch.equal(hidden[0], hidden_BSD[place])
            assert torch.equal(pooled[0], pooled_BP[place])
    finally:
        torch.set_num_threads(known)


def test_prompt_seed_and_scale_each_change_the_image(pipeline, encodings):
    base = pixels(pipeline, encodings, [(PROMPTS[0], 1)])[0]
    others = [
        pixels(pipeline, encodings, [(PROMPTS[1], 1)])[0],
        pixels(pipeline, encodings, [(PROMPTS[0], 2)])[0],
        pixels(pipeline, encodings, [(PROMPTS[0], 1)], cfg_scale=7.5)[0],
    ]
    assert all(np.abs(base - other).max() > 1e-3 for other in others)


def test_scales_start_from_one_noise(pipeline, encodings, monkeypatch):
    started = []
    kind = type(pipeline.scheduler)
    step = kind.step

    def record(sampler, output, timestep, sample, **options):
        started.append(sample.clone())
        return step(sampler, output, timestep, sample, **options)

    # On the class: each draw takes its steps with a sampler of its own.
    monkeypatch.setattr(kind, "step", record)
    for scale in (3.5, 7.5):
        pixels(pipeline, encodings, [(PROMPTS[0], 1)], cfg_scale=scale)
    assert torch.equal(started[0], started[3])
    assert torch.equal(started[0][0], start_noise(PROMPTS[0], 1, (4, 8, 8)))


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m_sde"])
def test_samplers_that_add_noise_are_repeatable_and_free_of_their_batch(checkpoint, sampler):
    pipeline = load_pipeline(checkpoint, sampler=sampler)
    encodings = PromptEncodings(text_encoder(pipeline), captions=PromptFormat.of({}).captions)
    requests = [(PROMPTS[0], 1), (PROMPTS[0], 2)]
    together = pixels(pipeline, encodings, requests, steps=4)
    alone = pixels(pipeline, encodings, requests[1:], steps=4)
    assert np.abs(together[1] - alone[0]).max() < 1e-4


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "heun"])
def test_draws_at_the_same_time_from_one_model_do_not_meet(checkpoint, sampler):
    pipeline = load_pipeline(checkpoint, sampler=sampler)
    known = PromptEncodings(text_encoder(pipeline), captions=PromptFormat.of({}).captions, most=2)

    def draw(seed):
        changes = {"steps": (2, 7, 4)[seed % 3], "cfg_scale": (1.0, 4.5)[seed % 2]}
        (found,) = pixels(pipeline, known, [(f"{seed}girls", seed)], **changes)
        return found

    with ThreadPoolExecutor(1) as alone, ThreadPoolExecutor(8) as together:
        expected = list(alone.map(draw, range(8)))
        assert all(map(np.array_equal, together.map(draw, range(8)), expected))
    assert pipeline.scheduler.num_inference_steps == 0, "the model itself stays as it was loaded"


def test_only_the_prompts_used_last_are_kept_where_a_number_is_given(pipeline):
    known = PromptEncodings(text_encoder(pipeline), captions=PromptFormat.of({}).captions, most=2)
    first = known.get(["a", "b", "c"])
    assert list(known._known) == ["b", "c"]
    known.get(["b"])
    known.get(["d"])
    assert list(known._known) == ["b", "d"]
    again = known.get(["a", "b", "c"])
    assert all(map(torch.equal, first, again))


def test_the_stock_pipeline_decodes_to_the_same_picture(pipeline, encodings):
    ours = next(generate(pipeline, [(PROMPTS[0], 1)], encodings=encodings, **SETTINGS))
    theirs = pipeline(
        PROMPTS[0],
        negative_prompt="",
        latents=start_noise(PROMPTS[0], 1, (4, 8, 8))[None],
        num_inference_steps=3,
        guidance_scale=4.5,
        width=32,
        height=32,
    ).images[0]
    difference = np.asarray(ours.image, dtype=int) - np.asarray(theirs, dtype=int)
    assert np.abs(difference).max() <= 1


def test_width_and_height_are_not_confused(pipeline, encodings):
    drawing = next(
        generate(pipeline, [("", 1)], encodings=encodings, **{**SETTINGS, "size": (48, 24)})
    )
    assert drawing.pixels_CHW.shape == (3, 24, 48)
    assert drawing.image.size == (48, 24)


def test_broken_weights_are_flagged_before_pixels_are_rounded(checkpoint):
    pipeline = load_pipeline(checkpoint)
    with torch.no_grad():
        pipeline.unet.conv_out.bias.fill_(float("nan"))
    encodings = PromptEncodings(text_encoder(pipeline), captions=PromptFormat.of({}).captions)
    drawing = next(generate(pipeline, [("", 1)], encodings=encodings, **SETTINGS))
    assert not drawing.latents_finite
    assert not drawing.pixels_finite
    assert np.isfinite(drawing.pixels_CHW).all()
    assert drawing.image.getextrema() == ((0, 0),) * 3


def test_each_prompt_is_encoded_once(pipeline):
    class Counting:
        def __init__(self, encoder):
            self.encoder, self.seen = encoder, []

        def encode(self, prompts, chunks):
            self.seen += prompts
            return self.encoder.encode(prompts, chunks)

    counting = Counting(text_encoder(pipeline))
    encodings = PromptEncodings(counting, captions=PromptFormat.of({}).captions)
    encodings.get(["a", "b", "a"])
    hidden, pooled = encodings.get(["b", "a"])
    assert counting.seen == ["a", "b"]
    assert torch.equal(hidden[0], counting.encoder.encode(["b"], 1)[0][0])
    assert len(hidden) == len(pooled) == 2


def test_a_model_trained_on_spaces_is_asked_with_spaces(pipeline):
    encoder = text_encoder(pipeline)
    spaced = PromptFormat.of({}).captions.model_copy(update={"underscores": "space"})
    asked, _ = PromptEncodings(encoder, captions=spaced).get(["red_hair, ^_^,smile"])
    assert torch.equal(asked, encoder.encode(["red hair, ^_^, smile"], 1)[0])


def test_held_out_captions_are_asked_as_they_are_written(pipeline):
    encoder, sentence = text_encoder(pipeline), "Two Women"
    captions = PromptFormat.of({}).captions
    asked, _ = PromptEncodings(encoder, captions, as_written=[sentence]).get([sentence])
    assert torch.equal(asked, encoder.encode([sentence], 1)[0])
    assert not torch.equal(asked, PromptEncodings(encoder, captions).get([sentence])[0])


def test_a_model_whose_facts_are_older_than_the_grammar_is_asked_as_before():
    facts = {"drop_all": 0, "drop_tag": 0, "shuffle": True, "underscores": "space"}
    found = PromptFormat.of({"caption": facts | {"token_chunks": 2}})
    assert found.captions.forms.tags == 1
    assert (found.captions.token_chunks, found.tags, found.aliases) == (2, True, {})


def test_a_model_of_others_is_asked_in_the_users_own_words(pipeline):
    encoder, sentence = text_encoder(pipeline), "A Photo of a cat, artist:nobody (red:1.2)"
    prompt_format = PromptFormat.of({})
    asked = PromptEncodings(encoder, prompt_format.captions, tags=prompt_format.tags)
    assert torch.equal(asked.get([sentence])[0], encoder.encode([sentence], 1)[0])


def test_decoding_in_parts_is_decoding_at_once(pipeline, monkeypatch):
    latents = torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = decode(pipeline, latents)
    monkeypatch.setattr("nadir.sampling.decode._DECODE_LATENT_AREA", 128)
    assert torch.allclose(decode(pipeline, latents), whole, atol=1e-5)


def test_pixels_are_clamped_and_rounded_to_the_nearest_level():
    raw = torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5, float("nan")]).expand(3, 1, 6)
    image = np.asarray(to_image(pixel_array(raw)))
    assert image[0, :, 0].tolist() == [0, 0, 128, 255, 255, 0]


@pytest.mark.parametrize(
    "training",
    [
        {"caption": {"token_chunks": "three"}},
        {"caption": [1]},
        {"caption": {"forms": {}}},
        {"aliases": [1]},
        {"original_size": "big"},
        {"original_size": [64]},
        {"original_size": [None, 64]},
    ],
    ids=str,
)
def test_damaged_facts_of_a_training_are_one_error(training):
    with pytest.raises(NadirError, match="how it was trained cannot be read"):
        PromptFormat.of(training)
