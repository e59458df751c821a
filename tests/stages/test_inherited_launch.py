"""What a notebook, SLURM, MPI or Kubeflow leaves in the environment decides nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests.support.servers import free_port
from tests.support.training_project import make_base, write_project

from nadir.compute.child_fault import left_fault
from nadir.ground.files import read_json

# As pods of Kubeflow's PyTorchJob, `srun`, `mpirun` and `accelerate launch` have them.
INHERITED = """
RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 MASTER_ADDR=127.0.0.1 NODE_RANK=0
GROUP_RANK=0 ROLE_RANK=0 ROLE_WORLD_SIZE=2 PET_NNODES=2 PET_NODE_RANK=1 PET_NPROC_PER_NODE=3
TORCHELASTIC_RUN_ID=x TORCHELASTIC_USE_AGENT_STORE=True FORK_LAUNCHED=1
PMI_SIZE=2 PMI_RANK=1 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=1 MV2_COMM_WORLD_SIZE=2
SLURM_NTASKS=2 SLURM_PROCID=1 SLURM_NNODES=2 OMP_NUM_THREADS=1,1
ACCELERATE_USE_FSDP=true ACCELERATE_USE_DEEPSPEED=true FSDP_OFFLOAD_PARAMS=true
ACCELERATE_MIXED_PRECISION=fp16 ACCELERATE_GRADIENT_ACCUMULATION_STEPS=2
ACCELERATE_TORCH_DEVICE=meta ACCELERATE_DYNAMO_BACKEND=inductor
ACCELERATE_USE_PARALLELISM_CONFIG=true
"""
TWO_MACHINES = """
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU
num_machines: 2
machine_rank: 0
num_processes: 2
main_process_ip: 127.0.0.1
main_process_port: {port}
"""

MakeProject = Callable[..., Path]


@pytest.fixture(scope="module")
def make_project(tmp_path_factory: pytest.TempPathFactory) -> MakeProject:
    base = make_base(tmp_path_factory.mktemp("base") / "base")
    params = (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")

    def make(**compute: object) -> Path:
        text = params
        for name, value in compute.items():
            (line,) = [line for line in text.splitlines() if line.startswith(f"  {name}:")]
            text = text.replace(line, f"  {name}: {value}")
        folder = tmp_path_factory.mktemp("project")
        return write_project(folder, base=base, params_text=text, steps=4, preview_every=0)

    return make


def start(project: Path, *command: str, **inherited: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=project,
        env={**os.environ, "NADIR_TRACKING": "none", "OMP_NUM_THREADS": "1", **inherited},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_training_starts_the_processes_that_compute_names_and_no_other(
    make_project: MakeProject, processes: int
) -> None:
    project = make_project(processes=processes)
    inherited = dict(pair.split("=") for pair in INHERITED.split())
    stage = start(project, "nadir.stages.train", MASTER_PORT=str(free_port()), **inherited)
    log, _ = stage.communicate(timeout=300)
    assert stage.returncode == 0, log
    assert f"{processes} x cpu" in log
    assert read_json(project / "reports/training.json")["steps"] == 4
    assert read_json(project / "models/checkpoint/nadir.json")["training"]["steps"] == 4


def wait_for_a_listener(process: psutil.Process, port: int) -> None:
    """Until the process, or one below it, waits for others on a port."""
    for _ in range(1200):
        family = [process, *process.children(recursive=True)]
        if any(c.laddr.port == port for p in family for c in p.net_connections() if c.laddr):
            return
        time.sleep(0.1)
    raise AssertionError(f"nobody listens on {port}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_trainer_ends_at_a_stop_while_it_waits_for_one_that_never_comes(
    make_project: MakeProject, tmp_path: Path, number: signal.Signals
) -> None:
    port = free_port()
    places = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    command = ("nadir.training.main", "--work", str(tmp_path), "--fingerprint", "f")
    trainer = start(make_project(), *command, MASTER_PORT=str(port), **places)
    try:
        wait_for_a_listener(psutil.Process(trainer.pid), port)
        trainer.send_signal(number)
        log, _ = trainer.communicate(timeout=300)
    finally:
        trainer.kill()
    assert trainer.returncode == 1, log
    assert "stopped on request before the first step" in str(left_fault(tmp_path))


def test_a_stage_ends_at_a_stop_while_it_waits_for_a_machine_that_never_comes(
    make_project: MakeProject, tmp_path: Path
) -> None:
    port, config = free_port(), tmp_path / "accelerate.yaml"
    config.write_text(TWO_MACHINES.format(port=port), encoding="utf-8")
    stage = start(make_project(accelerate_config=config), "nadir.stages.train")
    family: list[psutil.Process] = []
    try:
        wait_for_a_listener(psutil.Process(stage.pid), port)
        family = psutil.Process(stage.pid).children(recursive=True)
        os.killpg(stage.pid, signal.SIGINT)
        log, _ = stage.communicate(timeout=300)
    finally:
        if stage.poll() is None:
            os.killpg(stage.pid, signal.SIGKILL)
    assert stage.returncode == 1
    assert log.count("error:") == 1
    assert "error: train: stopped on request before the first step" in log
    assert family
    assert not [process for process in family if process.is_running()]
