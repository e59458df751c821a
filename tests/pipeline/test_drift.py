"""A dataset beside the champion's: what is said, kept, sent, and who may listen to it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.server.events.schemas.automations import AutomationCore
from prefect.server.events.schemas.events import ReceivedEvent, Resource
from tests.mini.project import MiniProject
from tests.mini.weights import add_version

from nadir.ground import artifacts
from nadir.ground.files import write_json, write_text
from nadir.pipeline.mlflow_summary import close_in_mlflow
from nadir.pipeline.processes.process import StageResult
from nadir.pipeline.watching.drift import Drift, look_at_drift
from nadir.tracking.runs.pipeline_run import announce_pipeline, pipeline_run
from nadir.tracking.store.connection import connect

EQUAL = {"sizes": {"2^9 px": 1.0}, "luminance": {"0.50": 1.0}}


def profile(**tags: float) -> dict[str, Any]:
    return {"images": 200, "tags": tags, **EQUAL}


def test_a_dataset_is_compared_with_the_champions_wherever_that_was_promoted(
    trained: MiniProject,
) -> None:
    said: list[str] = []
    now = profile(solo=0.5, **{"<b>x</b>\x1b[2J": 0.5})
    write_json(trained.root / artifacts.PROFILE, now)
    assert look_at_drift(trained.root, said.append) is None, "there is no champion"
    client = connect(trained.root)
    add_version(client, trained.root)
    client.set_registered_model_alias("nadir", "champion", "1")
    assert look_at_drift(trained.root, said.append) is None, "its run kept no profile"
    run_id = client.get_model_version("nadir", "1").run_id
    client.log_dict(run_id, profile(solo=0.9, rare=0.1), artifacts.PROFILE.name)
    assert said == []
    found = look_at_drift(trained.root, said.append)
    assert found is not None
    assert found.shares == {"tag_drift": 0.5, "size_drift": 0.0, "luminance_drift": 0.0}
    assert found.over == ["tag_drift"]
    (line,) = said
    assert line.startswith(
        "WARNING drift: 50% of the tag uses differ from the dataset of the champion, version 1 "
        "(validate.tag_drift: 25%); most changed: <b>x</b>"
    )
    assert not (trained.root / "reference/dataset.json").exists(), "it decides nothing"
    _is_kept_by_the_run(trained, found)
    trained.set("tag_drift: {maximum: 0.25", "tag_drift: {maximum: 0.5")
    again = look_at_drift(trained.root, said.append)
    assert again is not None
    assert (again.over, len(said)) == ([], 1), "at the limit nothing is said"


def _is_kept_by_the_run(project: MiniProject, drift: Drift) -> None:
    write_text(project.root / artifacts.VALIDATION_PAGE, "<main><h1>Dataset</h1></main>")
    write_json(project.root / artifacts.VALIDATION, {})
    announced = project.root / "work/run.json"
    announce_pipeline(announced, flow_run_id="f", name="n")
    run_id = pipeline_run(announced, project.root)
    close_in_mlflow(
        run_id,
        "FINISHED",
        results={"validate": StageResult("validate", "executed")},
        registering=None,
        registration=None,
        drift=drift,
        root=project.root,
    )
    client = connect(project.root)
    kept = client.get_run(run_id).data
    assert kept.metrics["drift/tag_drift"] == 0.5
    assert kept.tags["nadir.drift"].startswith("50% of the tag uses")
    page = Path(client.download_artifacts(run_id, "validation.html")).read_text(encoding="utf-8")
    assert "Drift: 50% of the tag uses differ" in page
    assert "&lt;b&gt;x" in page
    assert "<b>" not in page
    assert "Drift" not in (project.root / artifacts.VALIDATION_PAGE).read_text(), "DVC's stays"


def test_a_store_that_is_away_is_told_and_stops_nothing(
    trained: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(trained.root / artifacts.PROFILE, profile(solo=1.0))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said: list[str] = []
    assert look_at_drift(trained.root, said.append) is None
    assert said[0].startswith("warning: drift from the champion's dataset is unknown: ")


def test_the_example_automation_starts_at_this_event_and_at_no_other(root: Path) -> None:
    text = (root / "docs/drift_automation.yaml").read_text(encoding="utf-8")
    automation = AutomationCore.model_validate(yaml.safe_load(text))
    drift = Drift("nadir", 3, {"tag_drift": 0.5}, {"tag_drift": 0.25}, [("solo", 0.1, 0.6)])
    made = drift.event()
    event = ReceivedEvent(
        occurred=datetime.now(UTC),
        event=made["event"],
        resource=Resource.model_validate(made["resource"]),
        payload=made["payload"],
        id=uuid.uuid4(),
    )
    assert automation.trigger.covers(event)
    assert automation.trigger.expects(event.event)
    assert not automation.trigger.expects("nadir.champion.changed")
    assert "50% of the tag uses differ" in made["payload"]["reason"]
    (action,) = automation.actions
    for name in ("model", "reason"):
        assert name in made["payload"]
        assert f"event.payload.{name}" in f"{action.subject} {action.body}"
