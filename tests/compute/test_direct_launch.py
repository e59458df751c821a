"""One process that is started by itself has all that `accelerate launch` would give it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nadir.compute.accelerate_launch import (
    accelerate_command,
    direct_command,
    direct_environment,
    is_direct,
    launch_environment,
)
from nadir.config.compute import ComputeParams
from nadir.config.reader import read_section

SHOW = "import json, os, sys\nprint(json.dumps([dict(os.environ), sys.argv]))\n"


@pytest.mark.parametrize("threads", [None, "3", "2,1"])
@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_environment_and_arguments_are_those_of_the_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, threads: str | None
) -> None:
    (tmp_path / "show_environment.py").write_text(SHOW, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if threads is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    compute = read_section("compute", ComputeParams)
    compute = compute.model_copy(update={"processes": 1, "accelerate_config": None})
    assert is_direct(compute)
    arguments = ["--work", "a b", "--check"]
    launched = accelerate_command(
        "show_environment", arguments, compute=compute, mixed_precision=precision
    )
    environment = launch_environment(compute)
    found = [
        json.loads(subprocess.run(line, env=env, check=True, capture_output=True).stdout)
        for line, env in (
            (launched, environment),
            (
                direct_command("show_environment", arguments),
                {**environment, **direct_environment(precision)},
            ),
        )
    ]
    assert found[0] == found[1]


def test_several_processes_and_a_configuration_have_the_launcher() -> None:
    compute = read_section("compute", ComputeParams)
    one = compute.model_copy(update={"processes": 1, "accelerate_config": None})
    assert is_direct(one)
    assert not is_direct(one.model_copy(update={"processes": 2}))
    assert not is_direct(one.model_copy(update={"accelerate_config": "fsdp.yaml"}))
