from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.support.training_project import TRAIN, make_base, write_project

from nadir.ground.events import read_events
from nadir.ground.files import read_json
from nadir.model.checkpoint.decoder_weights import write_decoder
from nadir.model.sdxl.networks import load_vae
from nadir.pipeline.freshness import Change, change_of_training
from nadir.stages.train import main

ENVIRONMENT = {"NADIR_TRACKING": "none", "OMP_NUM_THREADS": "1"}
SETTINGS: dict[str, Any] = {"steps": 120, "checkpoint_every": 5, "preview_every": 0}

MakeProject = Callable[..., Path]


@pytest.fixture(scope="module")
def make_project(tmp_path_factory: pytest.TempPathFactory) -> MakeProject:
    base = make_base(tmp_path_factory.mktemp("base") / "base")
    params = (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")

    def make(**train: Any) -> Path:
        folder = tmp_path_factory.mktemp("project")
        return write_project(folder, base=base, params_text=params, **SETTINGS | train)

    return make


@pytest.fixture(scope="module")
def whole(make_project: MakeProject) -> Path:
    """A project whose training ran through at once."""
    project = make_project()
    status, log = run(project)
    assert status == 0, log
    return project


# Where a mount of one's own is allowed, as it is to root, /dev/shm is full for what comes behind.
FULL = "mount -t tmpfs -o size=4k full /dev/shm && head -c 4096 /dev/zero > /dev/shm/all"
FULL_SHARED_MEMORY = ("unshare", "--mount", "sh", "-c", f'{FULL} && exec "$@"', "sh")


def start(project: Path, *around: str) -> subprocess.Popen[str]:
    """The stage as DVC starts it, in a process group of its own."""
    with (project / "log.txt").open("a") as log:
        return subprocess.Popen(
            [*around, sys.executable, "-m", "nadir.stages.train"],
            cwd=project,
            env={**os.environ, **ENVIRONMENT, "NADIR_EVENTS": str(project / "events.jsonl")},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )


def run(project: Path, *around: str) -> tuple[int, str]:
    (project / "log.txt").unlink(missing_ok=True)
    return start(project, *around).wait(600), log_of(project)


def log_of(project: Path) -> str:
    return (project / "log.txt").read_text(encoding="utf-8")


def run_folder(project: Path) -> Path:
    (folder,) = (project / "work/training").iterdir()
    return folder


def wait_until(process: subprocess.Popen[str], project: Path, ready: Callable[[], bool]) -> None:
    for _ in range(6000):
        if ready():
            return
        assert process.poll() is None, log_of(project)
        time.sleep(0.05)
    raise AssertionError(log_of(project))


def has_checkpoint(project: Path) -> bool:
    return bool(list(project.glob("work/training/*/checkpoints/step-*")))


def group_is_empty(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def published(project: Path) -> dict[str, torch.Tensor]:
    return load_file(project / "models/checkpoint/unet/diffusion_pytorch_model.safetensors")


def assert_same_result(first: Path, second: Path) -> None:
    other = published(second)
    assert all(torch.equal(tensor, other[name]) for name, tensor in published(first).items())
    for name in ("loss.csv", "training.json"):
        assert (first / "reports" / name).read_bytes() == (second / "reports" / name).read_bytes()


def test_the_stage_publishes_its_outputs_and_keeps_no_optimizer_state(whole: Path) -> None:
    fingerprint = run_folder(whole).name
    assert read_json(whole / "models/run.json") == {"run_id": None, "fingerprint": fingerprint}
    steps = SETTINGS["steps"]
    assert read_json(whole / "models/checkpoint/nadir.json")["training"]["steps"] == steps
    assert read_json(whole / "reports/training.json")["images"] == steps * TRAIN["batch_size"]
    header = (whole / "reports/loss.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header.split(",")[1:3] == ["images", "loss"]
    assert not (run_folder(whole) / "checkpoints").exists()
    assert {path.name for path in (whole / "models").iterdir()} == {
        "base",
        "checkpoint",
        "run.json",
    }


def test_the_stage_tells_its_progress_and_its_result(whole: Path) -> None:
    events, _ = read_events(whole / "events.jsonl")
    kinds = [event["kind"] for event in events if event["kind"] != "progress"]
    assert kinds[:3] == ["stage_started", "result", "stage_finished"]
    result = next(event for event in events if event["kind"] == "result")
    assert result["steps"] == SETTINGS["steps"]
    assert result["run_id"] is None
    progress = [event for event in events if event["kind"] == "progress"]
    assert (progress[-1]["done"], progress[-1]["unit"]) == (SETTINGS["steps"], "steps")


def test_a_finished_training_is_published_again_without_training(whole: Path) -> None:
    before = published(whole)
    (whole / "models/run.json").unlink()
    shutil.rmtree(whole / "models/checkpoint")
    status, log = run(whole)
    assert status == 0
    assert "publishing that result again" in log
    assert "parameters" not in log
    assert all(torch.equal(tensor, before[name]) for name, tensor in published(whole).items())
    assert (whole / "models/run.json").is_file()


def publish_again(project: Path) -> None:
    """The stage in this process, for a training that has ended."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("NADIR_TRACKING", "none")
        assert change_of_training(run_folder(project)) is Change.OUTPUTS
        main()


def test_another_decoder_is_published_without_training_and_without_it_all_is_as_before(
    whole: Path,
) -> None:
    folder = whole / "models/checkpoint"
    files = [path for path in folder.rglob("*") if path.is_file()]
    before = {path.relative_to(folder): path.read_bytes() for path in files}
    tuned = load_vae(whole / "models/base")
    tuned.decoder.conv_out.bias.data += 0.1
    (whole / "models/decoder").mkdir()
    write_decoder(tuned, whole / "models/decoder", torch.float32)
    publish_again(whole)
    changed = {name for name, text in before.items() if (folder / name).read_bytes() != text}
    assert {str(name) for name in changed} == {
        "nadir.json",
        "vae/diffusion_pytorch_model.safetensors",
    }
    (whole / "models/decoder/decoder.safetensors").unlink()
    publish_again(whole)
    assert {name: (folder / name).read_bytes() for name in before} == before
    shutil.rmtree(whole / "models/decoder")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_stage_fails_saves_leaves_no_process_and_resumes_to_the_same_bits(
    whole: Path, make_project: MakeProject, number: signal.Signals
) -> None:
    project = make_project()
    process = start(project)
    wait_until(process, project, lambda: has_checkpoint(project))
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # what Ctrl-C and the pipeline's supervisor do
    else:
        process.send_signal(number)  # to the launcher alone
    assert process.wait(300) == 1
    assert group_is_empty(process.pid)
    log = log_of(project)
    assert "stopped on request after step" in log
    assert "Traceback" not in log
    assert log.count("error:") == 1
    assert not (project / "models/checkpoint").exists()
    assert not (project / "models/run.json").exists()
    status, log = run(project)
    assert status == 0, log
    assert "resuming from step" in log
    assert_same_result(project, whole)


def test_one_trainer_at_a_time_even_when_it_outlives_its_launcher_and_a_kill_costs_little(
    make_project: MakeProject,
) -> None:
    project = make_project(steps=100_000)
    first = start(project)
    try:
        wait_until(first, project, lambda: has_checkpoint(project))
        for launcher_is_dead in (False, True):
            if launcher_is_dead:
                os.kill(first.pid, signal.SIGKILL)
                first.wait()
            status, log = run(project)
            assert status == 1
            assert "is training here" in log
            assert "wait for it, or end it" in log
    finally:
        os.killpg(first.pid, signal.SIGKILL)
    second = start(project)
    try:
        wait_until(second, project, lambda: "resuming from step" in log_of(project))
    finally:
        os.killpg(second.pid, signal.SIGKILL)
        second.wait()


def test_a_fault_in_training_is_told_once_with_its_fix(make_project: MakeProject) -> None:
    project = make_project()
    path = project / "data/latent_statistics.json"
    path.write_text(path.read_text(encoding="utf-8").replace("3.0", "0.0"), encoding="utf-8")
    status, log = run(project)
    assert status == 1
    assert log.count("error:") == 1
    assert "std or factor that is not positive" in log
    assert "Traceback" not in log
    assert not (project / "models/checkpoint").exists()


def test_two_processes_train_what_one_does(whole: Path, make_project: MakeProject) -> None:
    """Neither do they need shared memory, of which a container has 64 MiB or none."""
    may_mount = shutil.which("unshare") and not subprocess.call([*FULL_SHARED_MEMORY, "true"])
    around = FULL_SHARED_MEMORY if may_mount else ()
    project = make_project()
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8").replace("processes: 1", "processes: 2")
    params.write_text(text, encoding="utf-8")
    status, log = run(project, *around)
    assert status == 0, log
    assert "2 x cpu" in log
    assert run_folder(project).name == run_folder(whole).name
    losses = [read_json(p / "reports/training.json")["loss_last_100"] for p in (whole, project)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_two_processes_learn_one_loss_weight(make_project: MakeProject) -> None:
    learned = {"channels": 32, "learning_rate": 0.3}
    weight = {"name": "snr_plus_one", "gamma": 5.0, "learned": learned}
    found = []
    for processes in (1, 2):
        project = make_project(steps=12, warmup_steps=1, loss_weight=weight)
        params = project / "params.yaml"
        text = params.read_text(encoding="utf-8")
        params.write_text(text.replace("processes: 1", f"processes: {processes}"), encoding="utf-8")
        status, log = run(project)
        assert status == 0, log
        rows = (project / "reports/loss.csv").read_text(encoding="utf-8").splitlines()[1:]
        found.append([float(row.split(",")[2]) for row in rows])
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_other_parameters_train_anew_and_forget_the_finished_run(
    make_project: MakeProject,
) -> None:
    project = make_project(steps=6, warmup_steps=1)
    assert run(project)[0] == 0
    first = run_folder(project)
    params = project / "params.yaml"
    text = params.read_text(encoding="utf-8")
    params.write_text(text.replace("seed: 0\n\nevaluate", "seed: 1\n\nevaluate"), encoding="utf-8")
    assert run(project)[0] == 0
    assert run_folder(project).name != first.name
