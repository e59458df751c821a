"""Two processes train as one: adapters, text encoders, and steps inside backward."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training.test_trainer import change_params, train, weights
from tests.training.trainable.adapter_cases import RATES
from tests.training.trainable.test_settings import LORA

from nadir.training.text_states.store import StateStore

SHARED: dict[str, Any] = {
    "steps": 4,
    "optimizer": "adamw",
    "preview_every": 0,
    "gradient_accumulation": 2,
}
ADAPTER = SHARED | {"text_encoders": RATES, "adapter": LORA | {"text_encoders": True}}
INSIDE = SHARED | {"step_in_backward": True, "learning_rate": 0.0005, "text_cache": 2}
BF16 = {"optimizer": "adamw_8bit", "mixed_precision": "bf16", "weights": "bf16"}
FILE = "checkpoint/adapter/adapter.safetensors"


def train_in_two(project: Path, settings: dict[str, Any]) -> None:
    """The stage, whose outputs lie in the project's `models`."""
    change_params(**settings)
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8").replace("processes: 1", "processes: 2")
    params.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "nadir.stages.train"]
    environment = {**os.environ, "NADIR_TRACKING": "none", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=project, env=environment, check=True)


def test_two_processes_train_the_adapter_that_one_does(project: Path, tmp_path: Path) -> None:
    train(tmp_path / "one", **ADAPTER)
    train_in_two(project, ADAPTER)
    one, two = (load_file(f) for f in (tmp_path / "one/output" / FILE, project / "models" / FILE))
    assert any(name.startswith("lora_te2_") and name.endswith("lora_up.weight") for name in one)
    for name, tensor in one.items():
        assert torch.allclose(tensor, two[name], atol=1e-5), name


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_processes_step_inside_backward_as_one_does(
    project: Path, base: Path, tmp_path: Path, precision: str
) -> None:
    """In fp32 to 1e-5; in bf16 on average, as a weight may be rounded to the other side.

    Text states are kept; two processes make them together.
    """
    settings = INSIDE | (BF16 if precision == "bf16" else {})
    train(tmp_path / "one", **settings)
    (states,) = (project / "work/text_states").iterdir()
    states.rename(tmp_path / "states")
    train_in_two(project, settings)
    assert len([*states.glob("*.safetensors")]) == 2  # one by each
    assert StateStore(states).places.keys() == StateStore(tmp_path / "states").places.keys()
    one = weights(tmp_path / "one")
    two = load_file(project / "models/checkpoint/unet/diffusion_pytorch_model.safetensors")
    (path,) = (base / "unet").glob("*.safetensors")
    start = load_file(path)
    first, own, other = (
        torch.cat([found[name].float().flatten() for name in one]) for found in (start, one, two)
    )
    apart = (own - other).abs()
    if precision == "fp32":
        # AdamW makes a whole step of a gradient that is nothing but rounding: a few differ.
        assert (apart > 1e-5).float().mean() < 0.02
        assert apart.mean() < 1e-6
    assert abs(float((own - other).mean())) < 1e-5
    assert apart.mean() < 0.05 * (own - first).abs().mean()
