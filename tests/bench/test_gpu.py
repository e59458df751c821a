"""The bench for GPUs runs, on a small network and the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from bench.gpu import CASES, PEER_CASES, ceiling, measure, tiny_batch, tiny_unet
from bench.gpu_peers import PEERS


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    """Another file's test of this process may have left it in another precision."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize(
    "case",
    [
        "full fp32, AdamW",
        "LoRA 16, no checkpointing",
        "diffusers' script",
        "a bare compiled loop, no checkpointing",
    ],
)
def test_a_case_is_measured(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    # A processor may have no bfloat16.
    monkeypatch.setattr("bench.gpu._WARM_UP", 1)
    monkeypatch.setattr("bench.gpu._MEASURED", 1)
    # Graphs take minutes to make here; what they compute is tested in tests/training.
    with torch.compiler.set_stance("force_eager"):
        found = list(measure(case, [1, 2], tiny=True, device="cpu"))
    assert [size["images"] for size in found] == [1, 2]
    assert all(size["images_per_s"] > 0 for size in found)
    # Three forward passes, two where the weights are frozen.
    assert found[0]["flops_per_image"] > 1e5


def test_cases_are_named_once_and_the_ceiling_is_measured() -> None:
    assert not set(CASES) & set(PEER_CASES)
    assert 1e3 < ceiling("cpu") < 1e15


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_a_peer_trains(peer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights change, and what they predict comes nearer to the target."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr("bench.gpu_peers._RATE", 1e-3)
    unet = tiny_unet()
    batch = tiny_batch(unet)
    with torch.compiler.set_stance("force_eager"):
        loop = peer(unet, checkpointing=False, device="cpu")
        losses = [loop.step(batch) for _ in range(4)]
    assert losses[-1] < losses[0]


def test_a_machine_needs_no_more_than_the_bench_names(root: Path) -> None:
    """A GPU machine without network has what was carried there."""
    absent = ["boto3", "mlflow", "prefect", "dvc", "great_expectations", "dask", "moto", "sklearn"]
    program = f"""
import sys
sys.modules.update(dict.fromkeys({absent!r}))
import bench.gpu, nadir.training.main
import nadir.training.trainable.adapters.adapted, nadir.training.trainable.full_unet
import torchao, peft, duckdb, pydantic, pandas
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    assert done.returncode == 0, done.stderr
