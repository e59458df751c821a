"""`nadir inspect` prints what a stranger's file says without obeying it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from nadir.cli import app
from nadir.ground.errors import NadirError


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    file = tmp_path / "style.safetensors"
    tensors = {"lora_unet_mid_block_1_to_q.lora_down.weight": torch.zeros(4, 8)}
    title = "\x1b[31m[red]my style[/red]\r\n\x07"
    save_file(tensors, file, metadata={"modelspec.title": title, "ss_network_dim": "4"})
    return file


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["inspect", *arguments])
    if isinstance(result.exception, NadirError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_text_of_a_strangers_header_is_shown_and_not_obeyed(adapter: Path) -> None:
    text = run(str(adapter))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert r"\x1b[31m[red]my style[/red]\x0d" in text
    assert "its base's" in text


def test_json_has_all_that_is_printed(adapter: Path) -> None:
    found = json.loads(run(str(adapter), "--json"))
    assert found["what"].startswith("a LoRA")
    assert found["said"]["rank"] == "4"
    assert found["treatments"] == []


def test_no_such_file_is_one_error() -> None:
    with pytest.raises(NadirError, match="no such file or folder"):
        run("nowhere.safetensors")
