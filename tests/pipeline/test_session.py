"""A pipeline run: what it skips, what it leaves in MLflow, and who may run beside it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow.entities import Run
from tests.mini.project import STAGES, MiniProject

from nadir.ground.errors import NadirError
from nadir.ground.files import read_json
from nadir.pipeline.opening import open_session
from nadir.pipeline.processes.lock import workspace_lock
from nadir.pipeline.processes.running import is_held
from nadir.pipeline.session import Session
from nadir.pipeline.status import read_status
from nadir.tracking.store.connection import connect


def run(
    project: MiniProject,
    flow_run_id: str = "one",
    until: str | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Session:
    with open_session(project.root, until=until, flow_run_id=flow_run_id, name="fox") as session:
        for stage in session.stages:
            session.run(stage, on_line=on_line)
        if session.registers:
            session.register()
    return session


def states(session: Session) -> dict[str, str]:
    return {name: result.state for name, result in session.results.items()}


def runs_of(project: MiniProject, kind: str) -> list[Run]:
    client = connect(project.root)
    experiments = [e.experiment_id for e in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.`nadir.kind` = '{kind}'"))


def wait_until_free(project: MiniProject) -> None:
    """On a busy machine a stage that was told to stop may outlive its pipeline while it saves."""
    deadline = time.monotonic() + 300
    while is_held(project.root) and time.monotonic() < deadline:
        time.sleep(0.2)


@pytest.fixture
def quick(trained: MiniProject, monkeypatch: pytest.MonkeyPatch) -> Iterator[MiniProject]:
    """Trained before, and no tracker in the training itself."""
    monkeypatch.setenv("NADIR_TRACKING", "none")
    return trained


def test_a_first_run_executes_all_nests_the_training_and_registers(project: MiniProject) -> None:
    session = run(project)
    assert states(session) == dict.fromkeys(STAGES, "executed")
    assert session.registration is not None
    assert session.registration.version.version == 1
    (parent,) = runs_of(project, "pipeline")
    (training,) = runs_of(project, "training")
    assert parent.info.status == training.info.status == "FINISHED"
    assert training.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.tags["nadir.stage.train"] == "executed"
    assert parent.data.tags["nadir.model_version"] == "nadir/1"
    assert set(parent.data.metrics) == {f"stage_seconds/{stage}" for stage in STAGES}
    check_a_second_run(project, parent)


def check_a_second_run(project: MiniProject, parent: Run) -> None:
    """Continues the test above, whose training takes most of its time."""
    lock = (project.root / "dvc.lock").read_bytes()
    session = run(project, "two")
    assert states(session) == {**dict.fromkeys(STAGES, "unchanged"), "ingest": "executed"}
    assert session.registration is not None
    assert not session.registration.created
    assert [run.info.run_id for run in runs_of(project, "pipeline")] == [parent.info.run_id]
    assert (project.root / "dvc.lock").read_bytes() == lock


def test_only_what_changed_runs_and_the_way_back_is_restored(quick: MiniProject) -> None:
    quick.set("  max_gradient_norm: 1.0", "  max_gradient_norm: 2.0")
    changed = states(run(quick, "two"))
    assert changed["encode"] == "unchanged"
    assert changed["train"] == "executed"
    assert changed["evaluate"] == "unchanged", "the same checkpoint came out"
    quick.set("  max_gradient_norm: 2.0", "  max_gradient_norm: 1.0")
    back = states(run(quick, "three"))
    assert back["train"] == "restored"
    assert len(runs_of(quick, "pipeline")) == 1, "restoring is not a computation"


def test_a_stage_that_ran_and_changed_nothing_starts_no_other(quick: MiniProject) -> None:
    quick.set("store: fp32\n  batch_size: 32", "store: fp32\n  batch_size: 16")
    session = run(quick)
    assert states(session)["encode"] == "executed"
    assert states(session)["train"] == "unchanged"
    assert not (quick.root / "work/logs/train.log").exists(), "DVC was not started for it"


def test_an_output_deleted_by_hand_is_restored(quick: MiniProject) -> None:
    (quick.root / "models/checkpoint/nadir.json").unlink()
    assert states(run(quick))["train"] == "restored"
    assert (quick.root / "models/checkpoint/nadir.json").is_file()


def test_until_stops_there_and_registers_nothing(quick: MiniProject) -> None:
    session = run(quick, until="evaluate")
    assert session.stages == STAGES
    assert session.registration is None
    assert run(quick, until="encode").stages == ["ingest", "encode"]
    assert run(quick, until="register").registration is not None


def test_a_failed_stage_is_named_by_the_error_the_record_and_a_failed_run(
    quick: MiniProject,
) -> None:
    quick.source("broken")
    with pytest.raises(NadirError, match=r"stage `encode` failed: data/listing\.txt: the listing"):
        run(quick)
    record = read_json(quick.root / "work/pipeline/last.json")
    assert record["status"] == "failed"
    assert record["stages"]["encode"]["state"] == "failed"
    (failed,) = runs_of(quick, "pipeline")
    assert failed.info.status == "FAILED"
    assert failed.data.tags["nadir.failed_stage"] == "encode"
    assert "mend source.txt" in failed.data.tags["nadir.error"]
    files = {file.path for file in connect(quick.root).list_artifacts(failed.info.run_id)}
    assert "encode.log" in files


def test_an_interrupted_training_is_killed_in_mlflow_and_resumes_its_run(
    project: MiniProject,
) -> None:
    project.source("slow")

    def interrupt(line: str) -> None:
        if "waiting" in line:
            raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        open_session(project.root, until=None, flow_run_id="one", name="fox") as session,
    ):
        for stage in session.stages:
            session.run(stage, on_line=interrupt)
    (parent,) = runs_of(project, "pipeline")
    (training,) = runs_of(project, "training")
    assert parent.info.status == training.info.status == "KILLED"
    wait_until_free(project)
    assert states(run(project, "two"))["train"] == "executed"
    (resumed,) = runs_of(project, "training")
    assert resumed.info.run_id == training.info.run_id
    assert resumed.info.status == "FINISHED"
    assert resumed.data.tags["mlflow.parentRunId"] != parent.info.run_id
    again = read_json(project.root / "models/run.json")["run_id"]
    assert again == training.info.run_id


def test_what_a_killed_pipeline_left_running_is_closed_by_the_next(quick: MiniProject) -> None:
    client = connect(quick.root)
    quick.source("other pictures")
    with workspace_lock(quick.root / "work/pipeline/lock") as lock:
        killed = Session(quick.root, until=None, flow_run_id="one", name="fox", lock=lock)
        killed.run("ingest")
        killed.run("encode")
    (parent,) = runs_of(quick, "pipeline")
    tags = {"mlflow.parentRunId": parent.info.run_id}
    training = client.create_run(parent.info.experiment_id, tags=tags)
    other = client.create_run(parent.info.experiment_id)
    assert parent.info.status == training.info.status == "RUNNING"

    run(quick, "two", until="encode")

    assert client.get_run(parent.info.run_id).info.status == "KILLED"
    assert client.get_run(training.info.run_id).info.status == "KILLED"
    assert client.get_run(other.info.run_id).info.status == "RUNNING", "not of a dead pipeline"
    assert not list((quick.root / "work/pipeline/runs").iterdir())


def test_a_store_that_goes_away_hides_no_fault_and_is_told_the_end_later(
    quick: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{quick.root}/work/mlflow/mlflow.db"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    quick.source("broken")
    with (
        pytest.raises(NadirError, match="stage `encode` failed: data/listing"),
        open_session(quick.root, until=None, flow_run_id="one", name="fox") as session,
    ):
        for stage in session.stages:
            try:
                session.run(stage)
            finally:
                if stage == "encode":
                    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert read_json(quick.root / "work/pipeline/last.json")["status"] == "failed"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    (parent,) = runs_of(quick, "pipeline")
    assert parent.info.status == "RUNNING"
    run(quick, "two", until="ingest")
    assert runs_of(quick, "pipeline")[0].info.status == "FAILED"


def test_a_clock_that_is_set_back_makes_no_time_negative(
    quick: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(2e9, -60.0)
    monkeypatch.setattr(time, "time", lambda: next(clock))
    run(quick, "back", until="ingest")
    record = read_json(quick.root / "work/pipeline/last.json")
    assert record["started"] > 1.9e9
    assert 0 <= record["stages"]["ingest"]["duration_s"] <= record["duration_s"] < 600


def test_two_pipelines_do_not_share_a_workspace(quick: MiniProject) -> None:
    with (
        workspace_lock(quick.root / "work/pipeline/lock"),
        pytest.raises(NadirError, match=rf"another pipeline \(process {os.getpid()}\) runs"),
    ):
        run(quick)


def test_a_killed_pipelines_stage_keeps_the_workspace_until_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with workspace_lock(path) as lock:
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,)
        )
    path.write_text("999999999\n", encoding="utf-8")
    with (
        pytest.raises(NadirError, match="a stage of a pipeline that was killed still runs"),
        workspace_lock(path),
    ):
        pass
    child.communicate(b"\n", timeout=300)
    with workspace_lock(path):
        pass


def rows(project: MiniProject) -> dict[str, dict[str, Any]]:
    return {stage["name"]: stage for stage in read_status(project.root)["stages"]}


def test_status_before_any_run_is_whole_and_empty(project: MiniProject) -> None:
    status = read_status(project.root)
    assert [stage["name"] for stage in status["stages"]] == [*STAGES, "register"]
    assert {stage["state"] for stage in status["stages"]} == {None}
    assert {stage["up_to_date"] for stage in status["stages"]} == {False}
    assert status["images"] == {"used": None, "quarantined": {}}
    model = {"name": "nadir", "version": None, "aliases": [], "current": False, "error": None}
    assert status["model"] == {**model, "champion": None}
    assert status["training"] == {"steps": None, "images": None, "loss": None}
    assert status["report"] is None
    assert status["metrics"] == {}


def test_status_after_a_run_names_model_metrics_and_outputs(quick: MiniProject) -> None:
    run(quick)
    status: dict[str, Any] = read_status(quick.root)
    assert status["model"] == {
        "name": "nadir",
        "version": 1,
        "aliases": ["challenger", "champion"],
        "current": True,
        "error": None,
        "champion": {"version": 1, "weights": "here"},
    }
    assert set(status["metrics"]) == {"3.5", "4.5"}
    assert status["report"] == "reports/evaluation.html"
    assert status["verdict"] == "promote"
    train = next(stage for stage in status["stages"] if stage["name"] == "train")
    assert train["outputs"] == ["models/checkpoint", "models/run.json", "reports/training.json"]
    assert train["state"] == "unchanged"
    assert status["training"]["loss"] == 0.5


def test_status_tells_what_is_up_to_date_whoever_ran_it_and_what_it_cost(
    quick: MiniProject,
) -> None:
    found = rows(quick)
    assert all(found[name]["up_to_date"] for name in STAGES), "`dvc repro` made them"
    assert found["train"]["state"] is None
    assert not found["register"]["up_to_date"]
    quick.source("other pictures")
    run(quick)
    first = rows(quick)
    assert first["train"]["state"] == "executed"
    assert first["register"]["state"] == "registered"
    run(quick, "two", until="encode")
    again = rows(quick)
    assert [again[name]["up_to_date"] for name in (*STAGES, "register")] == [True] * 6
    assert again["encode"]["state"] == "unchanged"
    assert again["train"]["state"] is None, "the last run did not come that far"
    for name in ("encode", "train"):
        assert again[name]["duration_s"] == first[name]["duration_s"] > 0


def test_status_shows_a_failed_source_and_a_failed_registration(
    quick: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    (quick.root / "reports/evaluation.json").rename(quick.root / "kept.json")
    with (
        pytest.raises(NadirError, match="no evaluated checkpoint"),
        open_session(quick.root, until=None, flow_run_id="one", name="fox") as session,
    ):
        session.register()
    (quick.root / "kept.json").rename(quick.root / "reports/evaluation.json")
    assert rows(quick)["register"]["state"] == "failed"
    assert "no evaluated checkpoint" in rows(quick)["register"]["error"]
    (quick.root / "source.txt").unlink()
    with pytest.raises(NadirError, match="stage `ingest` failed"):
        run(quick, "two")
    assert rows(quick)["ingest"]["state"] == "failed"
    assert not rows(quick)["ingest"]["up_to_date"], "its last result is of another source"


def test_status_says_when_the_registry_cannot_be_asked(
    quick: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    status = read_status(quick.root)
    assert status["model"]["error"].startswith("http://127.0.0.1:9: cannot open the MLflow store")
    assert status["model"]["current"] is None
    assert status["stages"][-1]["up_to_date"] is None


def test_status_counts_images_without_a_bucket_as_quarantined(quick: MiniProject) -> None:
    def table(name: str, reasons: list[str]) -> None:
        columns = {"path": ["x"] * len(reasons), "reason": reasons}
        pq.write_table(pa.table(columns), quick.root / f"data/{name}.parquet")

    table("manifest", ["-"] * 10)
    table("quarantine", ["truncated", "truncated"])
    table("bucket_quarantine", ["aspect", "truncated"])
    images = read_status(quick.root)["images"]
    assert images == {"used": 8, "quarantined": {"aspect": 1, "truncated": 3}}


def test_status_marks_results_that_were_made_of_other_inputs(quick: MiniProject) -> None:
    def outdated() -> list[str]:
        return [stage["name"] for stage in read_status(quick.root)["stages"] if stage["outdated"]]

    run(quick)
    assert outdated() == []
    quick.set("  max_gradient_norm: 1.0", "  max_gradient_norm: 2.0")
    assert outdated() == ["train", "evaluate"]


def test_status_names_outputs_that_are_gone(quick: MiniProject) -> None:
    (quick.root / "models/run.json").unlink()
    train = rows(quick)["train"]
    assert train["missing"] == ["models/run.json"]
    assert not train["up_to_date"]
