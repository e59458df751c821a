"""Metrics of given networks: what is read of them, what is refused, what they measure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime", reason="a fresh `make install` has it")
pytest.importorskip("onnx", reason="a fresh `make install` has it")

from tests.support import networks as small
from tests.support.small_checkpoint import write_holdout
from tests.support.small_evaluation import evaluated
from transformers import CLIPModel, CLIPTokenizer

from nadir.config.edit import set_values
from nadir.config.networks import NetworksParams
from nadir.evaluation.metrics.networks.aesthetic import Aesthetic
from nadir.evaluation.metrics.networks.character import CharacterDifference
from nadir.evaluation.metrics.networks.cmmd import cmmd
from nadir.evaluation.metrics.networks.fid import Fid, fid
from nadir.evaluation.networks.loaded import Networks
from nadir.evaluation.networks.pictures import resized, squared
from nadir.evaluation.networks.text_chunks import text_chunks
from nadir.evaluation.protocol import EvalPrompt, make_plan
from nadir.evaluation.report.page import render_report
from nadir.evaluation.values import Drawn
from nadir.ground.errors import NadirError
from nadir.ground.files import file_hash
from nadir.tracking.registry.judgements import check_parameters

NONE = dict.fromkeys(NetworksParams.model_fields)
RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def networks(**given):
    params = NetworksParams.model_validate({**NONE, **given})
    return Networks(params, device=torch.device("cpu"))


def plain(colour, height=8, width=8):
    return np.broadcast_to(np.float32(colour)[None, :, None, None], (1, 3, height, width)).copy()


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    return {
        "tagger": small.tagger(folder / "wd", {"red_hair": RED, "Blue Hair": BLUE}),
        "clip": small.clip_folder(folder / "clip"),
        "dinov2": small.dinov2_folder(folder / "dinov2"),
        "character": small.character(folder / "ccip"),
        "aesthetic": small.pooled_network(folder / "aesthetic.onnx", np.ones((3, 1)) / 3),
        "inception": small.pooled_network(folder / "inception.onnx", np.ones((3, 2048))),
    }


@pytest.fixture(scope="module")
def judged(pipeline, checkpoint, small_params, given, tmp_path_factory):
    holdout = tmp_path_factory.mktemp("data")
    write_holdout(holdout, images=16)
    params = NetworksParams.model_validate(given)
    update = {"networks": params, "holdout_prompts": 5, "loss_images": 16, "seeds": (1, 2, 3, 4)}
    return evaluated(pipeline, checkpoint, small_params.model_copy(update=update), holdout)


def test_a_tagger_is_shown_bgr_to_255_on_white_and_skips_its_ratings(given):
    tagger = networks(tagger=given["tagger"]).tagger
    assert tagger.column == {"red_hair": 1, "blue_hair": 2}
    assert tagger.seen(plain(RED))[0].tolist() == [False, True, False]
    assert tagger.seen(plain(BLUE))[0].tolist() == [False, False, True]
    # A flat strip is a quarter of a square whose other parts are white: red has them all.
    scores = tagger.scores(plain(BLUE, height=2))[0]
    assert scores[1] == pytest.approx(1 / (1 + np.exp(10 - 20 * 0.75)), abs=0.02)


def test_pictures_are_resized_whole_and_without_alias():
    stripes = np.zeros((1, 3, 64, 64), dtype=np.float32)
    stripes[..., ::2] = 1
    assert resized(stripes, 16)[..., 2:-2].sub(0.5).abs().max() < 0.02
    square = squared(plain(RED, height=4, width=8), 8, fill=0.0)
    assert square[0, 0].mean() == pytest.approx(0.5, abs=0.02)
    assert square[0, 0, 4, 4] == pytest.approx(1, abs=0.05)


def test_clip_reads_prompts_of_any_length(given):
    clip = networks(clip=given["clip"]).clip
    tokenizer = CLIPTokenizer.from_pretrained(given["clip"]["path"])
    tags = [f"tag{i}" for i in range(60)]
    parts = text_chunks(", ".join(tags), tokenizer)
    assert ", ".join(parts).split(", ") == tags
    assert len(parts) > 1
    assert max(len(tokenizer(part)["input_ids"]) for part in parts) <= 77
    whole = clip.text(", ".join(tags))
    assert np.linalg.norm(whole) == pytest.approx(1)
    # What comes behind the 77th token counts.
    assert np.abs(whole - clip.text(", ".join([*tags[:-1], "night"]))).max() > 1e-4
    mean = np.mean([clip.text(part) for part in parts], axis=0)
    assert whole == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


def test_a_word_beyond_all_bounds_is_read_as_far_as_it_goes(given):
    clip = networks(clip=given["clip"]).clip
    assert np.isfinite(clip.text("a" * 400)).all()
    assert np.isfinite(clip.text("")).all()


def test_clip_s_picture_vectors_are_its_own_of_the_normalised_picture(given):
    picture = np.random.default_rng(0).random((2, 3, 16, 16), dtype=np.float32)
    model = CLIPModel.from_pretrained(given["clip"]["path"]).eval()
    mean = np.array([0.48145466, 0.4578275, 0.40821073]).reshape(1, 3, 1, 1)
    std = np.array([0.26862954, 0.26130258, 0.27577711]).reshape(1, 3, 1, 1)
    with torch.no_grad():
        pixels = torch.from_numpy(((picture - mean) / std).astype(np.float32))
        wanted = model.get_image_features(pixels)
    wanted = getattr(wanted, "pooler_output", wanted).numpy()
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    assert networks(clip=given["clip"]).clip.pictures(picture) == pytest.approx(wanted, abs=1e-5)


def test_cmmd_is_a_thousand_times_the_unbiased_mmd():
    rng = np.random.default_rng(0)

    def unit(shift, count=400):
        values = rng.normal(size=(count, 8)) + shift
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    same = [cmmd(unit(0), unit(0)) for _ in range(20)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(20) + 1e-9
    # Two points: k = exp(-4 / 200) between them, 1 within.
    ends = np.eye(2)[[0] * 5], -np.eye(2)[[0] * 5]
    assert cmmd(*ends) == pytest.approx(1000 * (2 - 2 * np.exp(-4 / 200)))
    assert cmmd(unit(1), unit(0)) > 50 * np.std(same)


def test_fid_is_that_of_two_normals_and_refused_below_2000():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(20_000, 2)), rng.normal(1, 2, size=(20_000, 2))
    assert fid(one, other) == pytest.approx(2 * (1 + 1), rel=0.05)  # |1|² + (2-1)² a channel
    with pytest.raises(NadirError, match="FID of 1,999 images"):
        fid(one[:1999], other)


def test_each_network_has_its_numbers(judged):
    numbers = judged.scales["4.5"]
    assert {"cmmd", "kid_dinov2", "clip_score", "aesthetic_score", "tagger_recall"} <= set(numbers)
    assert 0 <= numbers["tagger_recall"] <= 1
    assert "tagger_recall_of_real" in numbers
    assert "fid" not in numbers
    assert judged.not_run[Fid.title].startswith("it needs 2,000 drawn images at a scale")
    assert "asks for a character" in judged.not_run[CharacterDifference.title]
    rows = judged.frame
    clip = rows[(rows["metric"] == "clip_score") & (rows["cfg_scale"] == 4.5)]
    assert set(clip["prompt_id"]) == {p.id for p in judged.plan.of_kind("fixed", "holdout")}


def test_a_beauty_score_is_that_of_the_picture_between_black_bars(given):
    metric = Aesthetic()
    networks_ = networks(aesthetic=given["aesthetic"])
    metric.prepare(SimpleNamespace(networks=networks_))
    prompt = EvalPrompt("p", "1girl", "fixed", (1,))
    white = Drawn(prompt, 4.5, plain((1, 1, 1), height=4, width=8), (1,))
    assert metric.see(white) == pytest.approx([0.5], abs=0.02)


def test_a_character_is_compared_with_that_of_the_real_image(given):
    image = SimpleNamespace(id="x", tags=[("saber", "character")])
    metric = CharacterDifference()
    metric.prepare(
        SimpleNamespace(networks=networks(character=given["character"]), holdout=[image])
    )
    prompt = EvalPrompt("holdout_x", "saber", "holdout", (1, 2))
    metric.see_reference(prompt.id, plain(RED)[0])
    drawn = Drawn(prompt, 4.5, np.concatenate([plain(RED), plain(BLUE)]), (1, 2))
    same, other = metric.see(drawn)
    assert same == pytest.approx(0, abs=1e-4)
    assert other > 1


def test_other_weights_are_another_protocol(small_params, given):
    def plan(networks_):
        params = small_params.model_copy(update={"networks": networks_})
        return make_plan(params, holdout=[], noise={}, token_chunks=1).protocol_id

    none, some = NetworksParams.model_validate(NONE), NetworksParams.model_validate(given)
    moved = given | {"clip": given["clip"] | {"path": "elsewhere"}}
    assert plan(none) != plan(some) == plan(NetworksParams.model_validate(moved))


def test_without_weights_the_report_says_how_to_enable_each(
    pipeline, checkpoint, small_params, holdout
):
    found = evaluated(pipeline, checkpoint, small_params, holdout)
    keys = {"tagger", "clip", "dinov2", "character", "aesthetic", "inception"}
    page = render_report(found, small_params, checkpoint="c", training={})
    for key in keys:
        assert f"evaluate.networks.{key} in params.yaml" in page


WRONG_FILE = {"path": "nowhere.onnx", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("key", "change", "what"),
    [
        ("aesthetic", WRONG_FILE, "there is no file .*nowhere.onnx"),
        ("aesthetic", {"sha256": "0" * 64}, "has the sha256 [0-9a-f]{64}, not 0000"),
        ("tagger", {"tags_sha256": "0" * 64}, "selected_tags.csv has the sha256"),
        ("character", {"differences": "gone.onnx"}, "there is no file .*gone.onnx"),
        ("clip", {"path": "gone"}, "gone is not a folder with config.json"),
        ("dinov2", {"sha256": "1" * 64}, "model.safetensors has the sha256"),
    ],
)
def test_a_wrong_path_or_hash_is_one_error_that_names_the_key(given, key, change, what):
    with pytest.raises(NadirError, match=what) as caught:
        getattr(networks(**{key: given[key] | change}), key)
    assert caught.value.where == f"evaluate.networks.{key}"
    assert caught.value.fix


def test_a_row_that_ends_early_is_one_error(given, tmp_path):
    table = tmp_path / "selected_tags.csv"
    table.write_bytes(Path(given["tagger"]["tags"]).read_bytes() + b"9\n")
    change = {"tags": str(table), "tags_sha256": file_hash(table)}
    with pytest.raises(NadirError, match="not a table with the columns name and category"):
        assert networks(tagger=given["tagger"] | change).tagger


def test_a_hash_in_capitals_is_the_same_hash(given):
    written = given["aesthetic"] | {"sha256": given["aesthetic"]["sha256"].upper()}
    assert networks(aesthetic=written).aesthetic
    assert NetworksParams.model_validate(NONE | {"aesthetic": written}) == (
        NetworksParams.model_validate(NONE | {"aesthetic": given["aesthetic"]})
    )


def test_weights_in_other_files_are_refused(given, tmp_path):
    """Their content could change under the same sha256."""
    import onnx

    file = tmp_path / "aesthetic.onnx"
    model = onnx.load(given["aesthetic"]["path"])
    onnx.save(model, file, save_as_external_data=True, location="weights", size_threshold=0)
    change = {"path": str(file), "sha256": file_hash(file)}
    with pytest.raises(NadirError, match="keeps weights in other files"):
        assert networks(aesthetic=given["aesthetic"] | change).aesthetic


def test_a_wrong_file_is_found_before_anything_is_trained(given, tmp_path, root):
    def check(**one):
        params = tmp_path / "params.yaml"
        shutil.copyfile(root / "params.yaml", params)
        for key, value in one.items():
            set_values([f"evaluate.networks.{key}={json.dumps(value)}"], path=params)
        check_parameters(tmp_path)

    check(**given)
    with pytest.raises(NadirError, match=r"there is no file .*nowhere.onnx"):
        check(aesthetic=WRONG_FILE)
    with pytest.raises(NadirError, match=r"selected_tags.csv has the sha256"):
        check(tagger=given["tagger"] | {"tags_sha256": "0" * 64})
    with pytest.raises(NadirError, match=r"model_metrics.onnx has the sha256"):
        check(character=given["character"] | {"differences_sha256": "0" * 64})
    with pytest.raises(NadirError, match=r"is not a folder with config.json"):
        check(dinov2=given["aesthetic"])


def test_files_of_another_shape_are_refused_before_anything_is_drawn(
    given, tmp_path, pipeline, checkpoint, small_params, holdout, monkeypatch
):
    def begin(**one):
        params = NetworksParams.model_validate({**NONE, **one})
        with pytest.raises(NadirError) as caught:
            evaluated(
                pipeline, checkpoint, small_params.model_copy(update={"networks": params}), holdout
            )
        return caught.value

    monkeypatch.setattr("nadir.evaluation.evaluator._draw", lambda *_: pytest.fail("drawn"))
    wide = small.pooled_network(tmp_path / "wide.onnx", np.ones((3, 5)))
    assert "gives [1, 5], not [1, 1]" in begin(aesthetic=wide).what
    assert "gives [1, 5], not [1, 2048]" in begin(inception=wide).what
    last = {**given["tagger"], "path": wide["path"], "sha256": wide["sha256"]}
    assert "not floats ['batch', 'side', 'side', 3]" in begin(tagger=last).what
    fewer = small.tagger(tmp_path / "fewer", {"red_hair": RED})
    mixed = {**given["tagger"], "tags": fewer["tags"], "tags_sha256": fewer["tags_sha256"]}
    assert "gives [1, 3], not [1, 2]" in begin(tagger=mixed).what
    (tmp_path / "text.onnx").write_text("no network", encoding="utf-8")
    text = {"path": str(tmp_path / "text.onnx"), "sha256": file_hash(tmp_path / "text.onnx")}
    assert "is not an ONNX file that can be run" in begin(aesthetic=text).what
    assert "does not hold a CLIPModel" in begin(clip=given["dinov2"]).what
    assert "does not hold a Dinov2Model" in begin(dinov2=given["clip"]).what
