"""`nadir export` writes one file that draws as the checkpoint does, and never over another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from nadir.cli import app
from nadir.cli.export import export
from nadir.ground.errors import NadirError


def run(*arguments):
    command = typer.Typer()
    command.command()(export)
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if isinstance(result.exception, NadirError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_file_carries_its_markers_and_draws_what_the_checkpoint_draws(
    checkpoint, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert run("it.safetensors", "--model", checkpoint, "--precision", "fp32") == "it.safetensors\n"
    assert {"v_pred", "ztsnr"} <= set(load_file("it.safetensors"))
    pictures = []
    for model, name in ((checkpoint, "a.png"), ("it.safetensors", "b.png")):
        asked = ["generate", "1girl", "--model", str(model), "--steps", "3", "--output", name]
        assert CliRunner().invoke(app, asked).exit_code == 0
        pictures.append(np.asarray(Image.open(name), np.int16))
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


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
