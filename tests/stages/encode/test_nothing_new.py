"""Where every image has its latent, the stage says so without PyTorch, and misses no new VAE."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.support.encode_project import latents, read_index

from nadir.ground.files import read_json
from nadir.model.sdxl.hashing import encoder_hash
from nadir.model.sdxl.networks import load_vae
from nadir.stages.encode import main

AGAIN = """
import sys
from nadir.stages.encode import main
main()
print(*({"torch", "diffusers", "transformers"} & set(sys.modules)), "loaded")
"""


def test_a_run_without_news_loads_no_network_and_gives_the_same_index(project: Path) -> None:
    main()
    before = read_index(project)
    done = subprocess.run(
        [sys.executable, "-c", AGAIN],
        cwd=project,
        env={**os.environ},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "5 images, 0 encoded, 5 reused" in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].split() == ["loaded"]
    assert read_index(project).equals(before)


def test_other_weights_of_the_encoder_are_noticed(project: Path) -> None:
    main()
    before = latents(project)
    (file,) = (project / "models/base/vae").glob("*.safetensors")
    weights = load_file(file)
    weights["quant_conv.bias"] = weights["quant_conv.bias"] + 1
    save_file(weights, file, metadata={"format": "pt"})
    main()
    found = read_json(project / "data/latents/encoder.json")["encoder_hash"]
    assert found == encoder_hash(load_vae(project / "models/base"))
    after = latents(project)
    assert all(not torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("content", ["", "[]", '{"x": 1}', "\x00"])
def test_what_is_known_of_encoders_may_be_damaged(project: Path, content: str) -> None:
    main()
    before = read_json(project / "data/latents/encoder.json")
    (project / "work/latents/encoders.json").write_text(content, encoding="utf-8")
    main()
    assert read_json(project / "data/latents/encoder.json") == before
