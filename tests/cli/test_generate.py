"""`nadir generate` draws what it is asked for, and says so when it cannot."""

from __future__ import annotations

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from nadir.cli.model.generate import generate
from nadir.ground.errors import NadirError
from nadir.ground.pages.pictures import read_facts
from nadir.model.load import load_checkpoint_info
from nadir.serving.draw_request import DrawRequest
from nadir.serving.drawer import Drawer

PROMPT = "1girl, red_hair"


@pytest.fixture
def draw(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(generate)

    def run(*arguments, model=checkpoint):
        options = ["--model", str(model), "--steps", "2", *arguments]
        result = CliRunner().invoke(app, [PROMPT, *options], catch_exceptions=True)
        if isinstance(result.exception, NadirError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return [tmp_path / line for line in result.stdout.split()]

    return run


def test_it_prints_the_path_of_a_picture_of_the_size_the_model_is_made_for(draw):
    (path,) = draw()
    assert path.name == "1girl-red_hair-seed-1.png"
    assert Image.open(path).size == (64, 64)


def test_a_picture_says_how_it_was_drawn(draw, checkpoint):
    (path,) = draw("--seed", "3", "--cfg", "5")
    assert read_facts(path) == {
        "prompt": PROMPT,
        "seed": 3,
        "cfg_scale": 5.0,
        "steps": 2,
        "guidance_rescale": 0.0,
        "sampler": "euler",
        "spacing": "native",
        "prediction": "v",
        "start_sigma": None,
        "schedule": load_checkpoint_info(checkpoint).schedule.fingerprint,
    }


def test_it_draws_what_the_served_model_draws(draw, checkpoint):
    asked = {"negative_prompt": "smile", "sampler": "dpmpp_2m_sde", "seed": 3, "steps": 2}
    options = ["--negative", "smile", "--sampler", "dpmpp_2m_sde", "--seed", "3"]
    (path,) = draw(*options)
    served = Drawer(checkpoint)
    request = DrawRequest(prompt=PROMPT, **asked)
    assert served.draw(request, served.sizes.usual) == path.read_bytes()
    assert read_facts(path)["negative_prompt"] == "smile"
    (plain,) = draw("--seed", "3", "--sampler", "dpmpp_2m_sde", "--output", "plain")
    assert plain.read_bytes() != path.read_bytes()


def test_an_unknown_sampler_names_those_that_there_are(draw):
    with pytest.raises(NadirError, match=r"'dpm' is not a sampler(.|\n)*euler, euler_ancestral"):
        draw("--sampler", "dpm")


def test_equal_calls_draw_equal_pictures_and_another_seed_another(draw):
    one, two = (path.read_bytes() for path in draw("--output", "a", "--count", "2"))
    again = draw("--output", "b")[0].read_bytes()
    second = draw("--seed", "2", "--output", "c.png")[0].read_bytes()
    assert one == again
    assert two == second
    assert one != two


def test_several_pictures_never_share_a_file(draw, tmp_path):
    paths = draw("--count", "3", "--output", "deep/picture.png", "--size", "48x32")
    assert [path.name for path in paths] == [f"picture-seed-{seed}.png" for seed in (1, 2, 3)]
    assert all(Image.open(path).size == (48, 32) for path in paths)


@pytest.mark.parametrize("size", ["big", "64", "64x", "0x64"])
def test_a_size_that_is_none_is_refused_before_the_model_loads(draw, size):
    with pytest.raises(NadirError, match=rf"'{size}' is not a size"):
        draw("--size", size, model="nowhere")


def test_a_size_that_the_model_cannot_draw_names_the_step(draw):
    with pytest.raises(NadirError, match="use multiples of 8"):
        draw("--size", "33x32")


def test_an_unknown_model_is_told_with_what_to_name_instead(draw):
    with pytest.raises(NadirError, match=r"no such model: nowhere(.|\n)*models:/nadir@champion"):
        draw(model="nowhere")


def test_a_folder_that_is_no_model_is_told(draw, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NadirError, match="no diffusers model here"):
        draw(model=tmp_path / "empty")
