"""The hub's own client against a server on this machine, in a process with its own cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.model.hub_server import COMMIT, MODEL, serve
from tests.model.test_fetch import with_variant

from nadir.ground.files import read_json
from nadir.model.sdxl.hashing import unet_hash
from nadir.model.sdxl.networks import load_unet

PROGRAM = """
import sys
from pathlib import Path
from nadir.config.base_model import BaseModelParams
from nadir.ground.errors import NadirError
from nadir.model.fetch import fetch_base

model, revision, variant, folder = sys.argv[1:]
params = BaseModelParams.model_construct(
    source=model, revision=revision or None, variant=variant or None, tiny=None
)
try:
    fetch_base(params, Path(folder))
except NadirError as error:
    sys.exit(f"{error}")
"""


def fetch(
    cache: Path, address: str, folder: Path, *, revision: str = COMMIT, variant: str = ""
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(cache)}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
    project = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, MODEL, revision, variant, str(folder)],
        env=environment,
        cwd=project,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def hub_folder(base: Path, tmp_path: Path) -> Path:
    """A model as people publish it: fp16 safetensors beside files nobody should fetch."""
    folder = with_variant(base, tmp_path / "hub", "fp16")
    torch.save({}, folder / "unet" / "diffusion_pytorch_model.bin")
    (folder / "unet" / "model.onnx").write_bytes(b"large")
    (folder / "model.safetensors").write_bytes(b"the single-file form")
    return folder


def test_a_pinned_hub_model_is_fetched_once_and_needs_no_network_again(
    hub_folder: Path, base: Path, tmp_path: Path
) -> None:
    cache, target = tmp_path / "cache", tmp_path / "base"
    with serve(hub_folder) as (address, asked):
        done = fetch(cache, address, target, variant="fp16")
        assert done.returncode == 0, done.stderr
    assert not {"unet/diffusion_pytorch_model.bin", "unet/model.onnx", "model.safetensors"} & {
        *asked
    }
    facts = read_json(target / "base.json")
    assert (facts["source"], facts["model"], facts["revision"]) == ("hub", MODEL, COMMIT)
    assert facts["unet_hash"] == unet_hash(load_unet(base))
    # The server is gone.
    again = fetch(cache, address, tmp_path / "again", variant="fp16")
    assert again.returncode == 0, again.stderr


def test_without_a_commit_the_current_one_is_advised(hub_folder: Path, tmp_path: Path) -> None:
    with serve(hub_folder) as (address, _):
        done = fetch(tmp_path / "cache", address, tmp_path / "base", revision="")
    assert done.returncode == 1
    assert f"{MODEL} is not pinned to a commit" in done.stderr
    assert f"fix: set it to {COMMIT}" in done.stderr
