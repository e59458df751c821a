"""Adapters and text encoders in two processes are trained as in one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tests.training.test_trainer import change_params, train
from tests.training.trainable.adapter_cases import RATES
from tests.training.trainable.test_settings import LORA

SETTINGS: dict[str, Any] = {
    "steps": 4,
    "optimizer": "adamw",
    "preview_every": 0,
    "gradient_accumulation": 2,
    "text_encoders": RATES,
    "adapter": LORA | {"text_encoders": True},
}
FILE = "checkpoint/adapter/adapter.safetensors"


def test_two_processes_train_the_adapter_that_one_does(project: Path, tmp_path: Path) -> None:
    train(tmp_path / "one", **SETTINGS)
    change_params(**SETTINGS)
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8").replace("processes: 1", "processes: 2")
    params.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "nadir.stages.train"]
    environment = {**os.environ, "NADIR_TRACKING": "none", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=project, env=environment, check=True)
    one, two = (load_file(f) for f in (tmp_path / "one/output" / FILE, project / "models" / FILE))
    assert any(name.startswith("lora_te2_") and name.endswith("lora_up.weight") for name in one)
    for name, tensor in one.items():
        assert torch.allclose(tensor, two[name], atol=1e-5), name
