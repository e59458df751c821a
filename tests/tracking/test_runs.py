"""Runs: made once, nested, resumed, and closed with the truth."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from PIL import Image
from tests.mini.project import MiniProject

from nadir.ground.errors import NadirError
from nadir.ground.run_record import read_run
from nadir.tracking.runs.pipeline_run import (
    announce_pipeline,
    finish_pipeline_run,
    parent_from_environment,
    pipeline_run,
)
from nadir.tracking.runs.reporter import MlflowReporter
from nadir.tracking.runs.training_run import RUN_VARIABLE, close_run, open_run
from nadir.tracking.store.connection import connect, experiment_id, is_transient, tracking_uri
from nadir.tracking.store.faults import store_error

DIRECTORY_MD5 = "90299d1d92c946ffdf1c1552e7844412.dir"


@pytest.fixture
def client(project: MiniProject) -> MlflowClient:
    return connect(project.root)


@pytest.fixture
def announced(project: MiniProject, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = project.root / "work/pipeline/runs/abc.json"
    announce_pipeline(path, flow_run_id="abc", name="amber-fox")
    monkeypatch.setenv("NADIR_PIPELINE_RUN", str(path))
    return path


def lock_with_latents(project: MiniProject) -> None:
    text = (
        "schema: '2.0'\nstages:\n  encode:\n    cmd: x\n    outs:\n"
        f"    - path: data/latents\n      hash: md5\n      md5: {DIRECTORY_MD5}\n"
    )
    (project.root / "dvc.lock").write_text(text, encoding="utf-8")


def test_the_default_store_is_an_absolute_sqlite_file(
    project: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking_uri() == f"sqlite:///{project.root}/work/mlflow/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert tracking_uri() == "http://mlflow:5000"


def test_artifacts_lie_beside_the_database_whatever_the_current_folder(
    project: MiniProject, client: MlflowClient
) -> None:
    experiment = client.get_experiment(experiment_id(client))
    assert experiment.name == "nadir"
    assert experiment.artifact_location == (project.root / "work/mlflow/artifacts").as_uri()


def test_an_experiment_that_was_deleted_in_the_ui_comes_back(client: MlflowClient) -> None:
    first = experiment_id(client)
    client.delete_experiment(first)
    assert experiment_id(client) == first


def test_a_store_without_disk_space_is_told_with_what_to_do() -> None:
    error = sqlite3.OperationalError("database or disk is full")
    told = store_error(error, what="cannot register", where="sqlite:///work/mlflow/mlflow.db")
    assert "cannot register: no disk space left" in told.what
    assert "`nadir clean`" in told.fix


@pytest.mark.parametrize("tear", [lambda _: b"no database" * 99, lambda data: data[:9000]])
def test_a_damaged_database_is_told_with_what_to_do(
    project: MiniProject, tear: Callable[[bytes], bytes]
) -> None:
    path = project.root / "work/mlflow/mlflow.db"
    path.write_bytes(tear(path.read_bytes()))
    with pytest.raises(NadirError, match="the database is damaged") as told:
        connect(project.root, patience_s=0)
    assert "backup" in told.value.fix
    path.unlink()  # as it says
    # A process of its own, as the command is: MLflow keeps the file that a process opened first.
    project.command(
        sys.executable, "-c", "from nadir.tracking.store.connection import *; connect()"
    )
    with contextlib.closing(sqlite3.connect(path)) as store:
        assert store.execute("SELECT count(*) FROM experiments").fetchone() == (1,)


def test_a_store_that_cannot_be_opened_is_named(
    project: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    with pytest.raises(NadirError, match=r"nonsense://nowhere: cannot open the MLflow store"):
        connect(project.root)


def test_whoever_asks_first_makes_the_pipelines_run_and_others_get_it(
    announced: Path, client: MlflowClient
) -> None:
    assert read_run(announced).run_id is None
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(pipeline_run(announced))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    run = client.get_run(found[0])
    assert run.info.run_name == "amber-fox"
    assert run.data.tags["prefect.flow_run_id"] == "abc"
    assert read_run(announced).run_id == found[0]


def test_a_pipelines_run_is_closed_with_durations_tags_and_files(
    project: MiniProject, announced: Path, client: MlflowClient
) -> None:
    run_id = pipeline_run(announced)
    finish_pipeline_run(
        run_id,
        "FAILED",
        tags={"nadir.failed_stage": "train"},
        durations={"train": 12.5},
        numbers={"decoder/blockiness_after": 1.25},
        files=(project.root / "params.yaml", project.root / "no-such-file"),
    )
    run = client.get_run(run_id)
    assert run.info.status == "FAILED"
    assert run.data.metrics == {"stage_seconds/train": 12.5, "decoder/blockiness_after": 1.25}
    assert run.data.tags["nadir.failed_stage"] == "train"
    assert [file.path for file in client.list_artifacts(run_id)] == ["params.yaml"]


def test_without_a_pipeline_a_training_run_stands_alone(
    project: MiniProject, client: MlflowClient, tmp_path: Path
) -> None:
    assert parent_from_environment() == (None, "")
    run_id = open_run(tmp_path, "f" * 64)[RUN_VARIABLE]
    assert "mlflow.parentRunId" not in client.get_run(run_id).data.tags


def test_a_training_run_knows_its_parameters_lineage_dataset_and_parent(
    project: MiniProject, announced: Path, client: MlflowClient, tmp_path: Path
) -> None:
    lock_with_latents(project)
    variables = open_run(tmp_path, "f" * 64)
    run = client.get_run(variables[RUN_VARIABLE])
    assert variables["NADIR_REPORTER"] == "nadir.tracking.runs.reporter:MlflowReporter"
    assert variables["MLFLOW_TRACKING_URI"] == tracking_uri()
    assert run.data.params["train.max_gradient_norm"] == "1.0"
    assert run.data.params["noise.prediction"] == "v"
    assert not any(key.startswith("compute.") for key in run.data.params)
    assert run.data.tags["mlflow.parentRunId"] == pipeline_run(announced)
    assert run.data.tags["dvc.stage_fingerprint"] == "f" * 64
    assert run.data.tags["git.commit"] == project.git("rev-parse", "HEAD")
    assert run.data.tags["git.dirty"] == "false"
    assert run.data.tags["prefect.flow_run_id"] == "abc"
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.digest == DIRECTORY_MD5
    experiments = [run.info.experiment_id]
    assert client.search_runs(experiments, f"dataset.digest = '{DIRECTORY_MD5}'")


def test_a_resumed_training_goes_on_in_its_run_under_the_new_pipeline(
    project: MiniProject,
    client: MlflowClient,
    tmp_path: Path,
    announced: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = open_run(tmp_path, "f" * 64)[RUN_VARIABLE]
    close_run(tmp_path, "KILLED")
    assert client.get_run(first).info.status == "KILLED"
    again = announced.with_name("def.json")
    announce_pipeline(again, flow_run_id="def", name="blue-owl")
    monkeypatch.setenv("NADIR_PIPELINE_RUN", str(again))
    assert open_run(tmp_path, "f" * 64)[RUN_VARIABLE] == first
    run = client.get_run(first)
    assert run.info.status == "RUNNING"
    assert run.data.tags["mlflow.parentRunId"] == pipeline_run(again)


def test_a_run_that_the_store_no_longer_has_is_replaced(
    project: MiniProject, client: MlflowClient, tmp_path: Path
) -> None:
    first = open_run(tmp_path, "f" * 64)[RUN_VARIABLE]
    client.delete_run(first)
    assert open_run(tmp_path, "f" * 64)[RUN_VARIABLE] != first


def test_closing_does_not_touch_a_run_that_closed_itself(
    project: MiniProject, client: MlflowClient, tmp_path: Path
) -> None:
    run_id = open_run(tmp_path, "f" * 64)[RUN_VARIABLE]
    client.set_terminated(run_id, "FINISHED")
    close_run(tmp_path, "FAILED")
    assert client.get_run(run_id).info.status == "FINISHED"
    close_run(tmp_path / "never-started", "FAILED")


def test_the_reporter_writes_curves_images_files_and_the_end(
    project: MiniProject, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = open_run(tmp_path, "f" * 64)[RUN_VARIABLE]
    monkeypatch.setenv(RUN_VARIABLE, run_id)
    reporter = MlflowReporter()
    reporter.started({"device": "cpu", "parameters": 12})
    for step in range(1, 301):
        reporter.step(step, 32 * step, {"loss": 1.0 / step, "learning_rate": 1e-3})
    reporter.preview(300, "1girl, red_hair", Image.new("RGB", (8, 8)))
    (tmp_path / "note.txt").write_text("kept", encoding="utf-8")
    reporter.artifact(tmp_path / "note.txt")
    reporter.finished("FINISHED")
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    losses = client.get_metric_history(run_id, "loss")
    assert [metric.step for metric in losses] == list(range(1, 301))
    assert run.data.metrics["images"] == 9600
    assert run.data.tags["training.device"] == "cpu"
    names = {file.path for file in client.list_artifacts(run_id)}
    assert {"note.txt", "images"} <= names
    assert client.list_artifacts(run_id, "images")


def test_system_metrics_reach_the_training_run(
    project: MiniProject, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    run_id = open_run(tmp_path, "f" * 64)[RUN_VARIABLE]
    monkeypatch.setenv(RUN_VARIABLE, run_id)
    reporter = MlflowReporter()
    reporter.started({})
    deadline = time.monotonic() + 300
    while not measures_cpu(client, run_id) and time.monotonic() < deadline:
        time.sleep(0.5)
    reporter.finished("FINISHED")
    assert measures_cpu(client, run_id)


def measures_cpu(client: MlflowClient, run_id: str) -> bool:
    return any(name.startswith("system/cpu") for name in client.get_run(run_id).data.metrics)


def test_the_reporter_needs_a_run(project: MiniProject) -> None:
    with pytest.raises(NadirError, match="NADIR_TRAINING_RUN names no MLflow run"):
        MlflowReporter()


def test_only_faults_that_pass_by_themselves_are_worth_a_retry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outer = RuntimeError("outer")
    outer.__cause__ = ConnectionError("refused")
    assert is_transient(outer)
    assert is_transient(Exception("(sqlite3) database is locked"))
    # MLflow's own way: a new error while the network's is being handled.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    client = MlflowClient("http://127.0.0.1:9")
    with pytest.raises(MlflowException) as refused:
        client.get_experiment("0")
    assert is_transient(refused.value)
    assert not is_transient(NadirError("no evaluated checkpoint"))
    assert is_transient(OSError(errno.ENETUNREACH, "no network"))
    assert not is_transient(OSError(errno.ENOSPC, "No space left on device"))
    assert not is_transient(FileNotFoundError("no file"))
