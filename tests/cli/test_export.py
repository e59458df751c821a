"""`nadir export` writes one file that draws as the checkpoint does, and never over another."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from tests.support.small_checkpoint import write_checkpoint
from typer.testing import CliRunner

from nadir.cli import app
from nadir.cli.model.export import export
from nadir.ground.errors import NadirError
from nadir.model.load import load_checkpoint_info


def run(*arguments):
    command = typer.Typer()
    command.command()(export)
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if isinstance(result.exception, NadirError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


HABITS = [
    {},
    {"original_size": [256, 280]},
    {"caption": {"underscores": "space", "token_chunks": 3}, "original_size": [256, 280]},
    {"caption": {"underscores": "keep", "token_chunks": 2}, "original_size": [64, 48]},
]
LONG = ", ".join(["1girl", "red_hair", r"saber_\(fate\)", *(f"made_up_{n}" for n in range(20))])


@pytest.fixture
def habitual(checkpoint, tmp_path, root):
    """Checkpoints that were trained to be asked in other ways."""

    def write(caption=None, **training):
        folder = tmp_path / "habitual"
        if caption:
            chances = {"drop_all": 0.1, "drop_tag": 0.1, "shuffle": True}
            training["caption"] = chances | caption
        write_checkpoint(folder, checkpoint.parent / "base", root / "params.yaml", **training)
        return folder

    return write


def drawn(model, name, prompt, folder):
    asked = ["generate", prompt, "--model", str(model), "--steps", "3", "--output", name]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    return np.asarray(Image.open(folder / name), np.int16)


@pytest.mark.parametrize("habits", HABITS, ids=str)
def test_the_file_draws_what_the_checkpoint_draws_however_it_wants_to_be_asked(
    habitual, tmp_path, monkeypatch, habits
):
    monkeypatch.chdir(tmp_path)
    folder = habitual(**habits)
    printed = run("it.safetensors", "--model", folder, "--precision", "fp32")
    assert printed == "it.safetensors\n"
    assert {"v_pred", "ztsnr"} <= set(load_file("it.safetensors"))
    first, second = (
        drawn(model, name, LONG, tmp_path)
        for model, name in ((folder, "a.png"), ("it.safetensors", "b.png"))
    )
    assert np.abs(first - second).max() <= 1
    info = [load_checkpoint_info(model) for model in (folder, tmp_path / "it.safetensors")]
    assert info[0].training == info[1].training


def test_people_are_told_how_to_ask(habitual, tmp_path):
    folder = habitual(**HABITS[2])
    run(tmp_path / "it.safetensors", "--model", folder)
    with safe_open(tmp_path / "it.safetensors", framework="pt") as opened:
        metadata = opened.metadata()
    hint = metadata["modelspec.usage_hint"]
    for words in ("spaces in their words (red hair)", "225 tokens", "280x256", "not ddim_uniform"):
        assert words in hint
    assert metadata["modelspec.date"][:2] == "20"


def test_a_model_that_only_nadir_opens_is_told_so(checkpoint, tmp_path):
    command = typer.Typer()
    command.command()(export)
    asked = [str(tmp_path / "tiny.safetensors"), "--model", str(checkpoint)]
    result = CliRunner().invoke(command, asked)
    assert result.exit_code == 0
    assert "ComfyUI, A1111 and Forge know models by their sizes" in result.stderr
    assert "unet has block_out_channels 16, 32, SDXL 320, 640, 1280" in result.stderr


def test_half_precision_is_the_default(checkpoint, tmp_path):
    file = tmp_path / "half.safetensors"
    run(file, "--model", checkpoint)
    weights = load_file(file)
    assert {tensor.dtype for tensor in weights.values() if tensor.numel()} == {torch.float16}


def test_what_is_there_stays_unless_it_is_forced(checkpoint, tmp_path):
    file = tmp_path / "base.safetensors"
    file.write_bytes(b"years of work")
    with pytest.raises(NadirError, match="something of this name"):
        run(file, "--model", checkpoint)
    assert file.read_bytes() == b"years of work"
    run(file, "--model", checkpoint, "--force")
    assert file.stat().st_size > 1000


@pytest.mark.parametrize(
    ("file", "model", "message"),
    [
        ("model.ckpt", "here", "does not end in .safetensors"),
        ("nowhere/model.safetensors", "here", "no such folder"),
        ("model.safetensors", "missing", "no such model"),
        ("model.safetensors", "single.safetensors", "a single file already"),
    ],
)
def test_a_request_that_makes_no_sense_writes_nothing(tmp_path, monkeypatch, file, model, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "single.safetensors").touch()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(NadirError, match=message):
        run(file, "--model", model)
    assert sorted(tmp_path.iterdir()) == before


def header(file):
    with safe_open(file, framework="pt") as opened:
        return opened.metadata()


def test_what_its_maker_says_is_in_the_header(checkpoint, tmp_path):
    said = {"title": "Night sky 3", "author": "somebody", "licence": "openrail++"}
    said |= {"description": "Skies = nights.", "tags": "anime, , night sky"}
    options = [word for pair in said.items() for word in ("--say", "=".join(pair))]
    run(tmp_path / "it.safetensors", "--model", checkpoint, *options)
    found = header(tmp_path / "it.safetensors")
    assert found["modelspec.title"] == "Night sky 3"
    assert found["modelspec.author"] == "somebody"
    assert found["modelspec.license"] == "openrail++"
    assert found["modelspec.description"] == "Skies = nights."
    assert found["modelspec.tags"] == "anime, night sky"
    assert "modelspec.thumbnail" not in found


def test_a_yaml_and_a_picture_of_its_name_lie_beside_it(checkpoint, tmp_path):
    file, given = tmp_path / "it.safetensors", tmp_path / "given.webp"
    Image.new("RGB", (300, 200), (200, 30, 30)).save(given)
    printed = run(file, "--model", checkpoint, "--yaml", "--preview", given)
    assert printed == f"{file}\n{file.with_suffix('.png')}\n{file.with_suffix('.yaml')}\n"
    assert "denoiser_scaling.VScaling" in file.with_suffix(".yaml").read_text()
    assert Image.open(file.with_suffix(".png")).size == (300, 200)
    kind, _, data = header(file)["modelspec.thumbnail"].partition(",")
    small = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (kind, small.format, small.size) == ("data:image/jpeg;base64", "JPEG", (256, 256))
    assert max(abs(a - b) for a, b in zip(small.getpixel((9, 9)), (200, 30, 30), strict=True)) < 9
    before = file.read_bytes()
    for place in (".yaml", ".png"):
        file.unlink(missing_ok=True)
        with pytest.raises(NadirError, match="something of this name") as caught:
            run(file, "--model", checkpoint, "--yaml", "--preview", given)
        assert caught.value.where.endswith(place)
        file.with_suffix(place).unlink()
    run(file, "--model", checkpoint, "--yaml", "--preview", given)
    assert file.read_bytes() == before


def test_a_prompt_is_drawn_for_the_preview(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("it.safetensors", "--model", checkpoint, "--preview", "1girl, red_hair")
    asked = ["generate", "1girl, red_hair", "--model", str(checkpoint), "--output", "b.png"]
    assert CliRunner().invoke(app, asked).exit_code == 0
    assert (np.asarray(Image.open("it.png")) == np.asarray(Image.open("b.png"))).all()


def test_eight_bits_are_smaller_than_sixteen(checkpoint, tmp_path):
    for precision in ("fp8", "fp16"):
        run(tmp_path / f"{precision}.safetensors", "--model", checkpoint, "--precision", precision)
    small, large = ((tmp_path / f"{p}.safetensors").stat().st_size for p in ("fp8", "fp16"))
    assert small < large


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--say", "artist=me"], "'artist=me' says nothing of a model"),
        (["--say", "title"], "'title' says nothing of a model"),
        (["--say", "title= "], "says nothing of a model"),
        (["--adapter", "--yaml"], "--yaml is of whole models"),
        (["--adapter", "--precision", "fp8"], "--precision fp8 is of whole models"),
        (["--preview", " "], "nothing is named"),
        (["--preview", "missing.png"], "not a picture that can be read"),
        (["--preview", "text.png"], "not a picture that can be read"),
        (["--adapter"], "trained without an adapter"),
    ],
)
def test_an_option_that_makes_no_sense_writes_nothing(
    checkpoint, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("no picture")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(NadirError, match=message):
        run("it.safetensors", "--model", checkpoint, *options)
    assert sorted(tmp_path.iterdir()) == before


def test_epsilon_needs_no_yaml(checkpoint, tmp_path):
    with pytest.raises(NadirError, match="predicts epsilon, for which A1111 needs no"):
        run(tmp_path / "it.safetensors", "--model", checkpoint.parent / "base", "--yaml")
