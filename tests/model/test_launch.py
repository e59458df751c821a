"""What the training and encoding processes are started with."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from nadir.compute.accelerate_launch import accelerate_command
from nadir.config.compute import ComputeParams
from nadir.config.reader import read_section

FSDP = """
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
fsdp_config: {fsdp_version: 2, fsdp_offload_params: true}
mixed_precision: bf16
num_processes: 3
debug: true
"""
PROGRAM = "import json, os; json.dump(dict(os.environ), open('seen.json', 'w'))\n"


def test_the_users_own_default_configuration_of_accelerate_is_not_taken(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home/accelerate").mkdir(parents=True)
    (tmp_path / "home/accelerate/default_config.yaml").write_text(FSDP, encoding="utf-8")
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_bytes((root / name).read_bytes())
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    line = accelerate_command(
        "program", [], compute=read_section("compute", ComputeParams), mixed_precision="no"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads((tmp_path / "seen.json").read_text(encoding="utf-8"))
    assert seen["ACCELERATE_MIXED_PRECISION"] == "no"
    assert seen.get("ACCELERATE_USE_FSDP", "false") == "false"
    assert not [name for name in seen if name.startswith("FSDP_")]
    assert seen.get("ACCELERATE_DEBUG_MODE", "false").lower() in {"false", "0"}
