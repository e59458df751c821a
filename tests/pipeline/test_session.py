"""A pipeline run: what it skips, what it leaves in MLflow, and who may run beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from tests.mini.project import STAGES, MiniProject

from nadir.ground.errors import NadirError
from nadir.ground.files import read_json
from nadir.pipeline.lock import workspace_lock
from nadir.pipeline.session import Session, open_session
from nadir.pipeline.status import read_status
from nadir.tracking.store import connect


def run(project: MiniProject, flow_run_id: str = "one", until: str | None = None) -> Session:
    with open_session(project.root, until=until, flow_run_id=flow_run_id, name="fox") as session:
        for stage in session.stages:
            session.run(stage)
        if session.registers:
            session.register()
    return session


def states(session: Session) -> dict[str, str]:
    return {name: result.state for name, result in session.results.items()}


def runs_of(project: MiniProject, kind: str) -> list[Run]:
    client = connect(project.root)
    experiments = [e.experiment_id for e in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.`nadir.kind` = '{kind}'"))


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
    quick.set("  learning_rate: 0.002", "  learning_rate: 0.003")
    changed = states(run(quick, "two"))
    assert changed["encode"] == "unchanged"
    assert changed["train"] == "executed"
    assert changed["evaluate"] == "unchanged", "the same checkpoint came out"
    quick.set("  learning_rate: 0.003", "  learning_rate: 0.002")
    back = states(run(quick, "three"))
    assert back["train"] == "restored"
    assert len(runs_of(quick, "pipeline")) == 1, "restoring is no computation"


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
    child.communicate(b"\n", timeout=60)
    with workspace_lock(path):
        pass


def test_status_before_any_run_is_whole_and_empty(project: MiniProject) -> None:
    status = read_status(project.root)
    assert [stage["name"] for stage in status["stages"]] == STAGES
    assert {stage["state"] for stage in status["stages"]} == {None}
    assert status["images"] == {"used": None, "quarantined": {}}
    assert status["model"] == {"name": "nadir", "version": None, "aliases": []}
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
    }
    assert set(status["metrics"]) == {"3.5", "4.5"}
    assert status["report"] == "reports/evaluation.html"
    assert status["verdict"] == "promote"
    train = next(stage for stage in status["stages"] if stage["name"] == "train")
    assert train["outputs"] == ["models/checkpoint", "models/run.json", "reports/training.json"]
    assert train["state"] == "unchanged"
    assert status["training"]["loss"] == 0.5


def test_status_marks_results_that_were_made_of_other_inputs(quick: MiniProject) -> None:
    def outdated() -> list[str]:
        return [stage["name"] for stage in read_status(quick.root)["stages"] if stage["outdated"]]

    run(quick)
    assert outdated() == []
    quick.set("  learning_rate: 0.002", "  learning_rate: 0.003")
    assert outdated() == ["train", "evaluate"]
