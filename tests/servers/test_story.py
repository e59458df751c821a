"""A model's story against the whole stack: scheduled, skipped, cancelled, resumed, live and back.

The tests of this module tell one story and run in order: each starts where the last one ended.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import urllib.request
from pathlib import Path
from uuid import UUID

import boto3
import pytest
from mlflow import MlflowClient
from prefect.client.orchestration import get_client
from prefect.states import Cancelling
from tests.support.servers import free_port, running
from tests.support.stack import RunningStack
from tests.support.stack_search import holders
from tests.support.story import ASKED, aliases, nadir, runs, states, under_way

pytestmark = [pytest.mark.servers, pytest.mark.story]


def test_a_schedule_makes_a_registered_version_with_nobody_touching_it(
    stack: RunningStack,
) -> None:
    stack.until(lambda: "COMPLETED" in states(stack), "a scheduled run ends well")
    assert aliases(stack) == {"challenger": 1, "champion": 1}
    ((made_by,),) = stack.rows("prefect", "select distinct created_by ->> 'type' from flow_run "
                               "where state_type = 'COMPLETED'")  # fmt: skip
    assert made_by == "SCHEDULE"
    (source,) = [
        row[0]
        for row in stack.rows("mlflow", "select source from model_versions where name = 'nadir'")
    ]
    assert source.startswith("mlflow-artifacts:/"), "no client needs the keys of the store"


def test_a_run_that_meets_another_is_skipped(stack: RunningStack) -> None:
    stack.project.source("slow new pictures")
    log = stack.project.root / "work/logs/train.log"
    stack.until(lambda: log.is_file() and "train: waiting" in log.read_text(), "it trains")
    before = states(stack).count("CANCELLED")
    stack.until(lambda: states(stack).count("CANCELLED") > before, "the next is skipped")
    query = "select message from flow_run_state where type = 'CANCELLED'"
    for (message,) in stack.rows("prefect", query):
        assert message.startswith("nothing done: another pipeline (process ")


def test_a_cancelled_training_saves_and_its_runs_are_closed(stack: RunningStack) -> None:
    with get_client(sync_client=True) as client:
        nightly = client.read_deployment_by_name("training-pipeline/nightly")
        (schedule,) = nightly.schedules
        client.update_deployment_schedule(nightly.id, schedule.id, active=False)
        stack.until(lambda: under_way(stack) == ["RUNNING"], "the training is alone")
        run_id, _ = next((r, s) for r, s in runs(stack).items() if s == "RUNNING")
        client.set_flow_run_state(UUID(run_id), Cancelling())
    stack.until(lambda: not under_way(stack), "it ends")
    assert runs(stack)[run_id] == "CANCELLED"
    (saved,) = (stack.project.root / "work/training").glob("*/saved")
    assert saved.read_text() == "yes"
    assert not stack.rows("mlflow", "select * from runs where status = 'RUNNING'")
    assert aliases(stack)["challenger"] == 1


def test_the_next_run_goes_on_from_there_and_registers_a_challenger(stack: RunningStack) -> None:
    before = states(stack).count("COMPLETED")
    with get_client(sync_client=True) as client:
        nightly = client.read_deployment_by_name("training-pipeline/nightly")
        client.create_flow_run_from_deployment(nightly.id)
    stack.until(lambda: states(stack).count("COMPLETED") > before, "it ends well")
    assert aliases(stack) == {"challenger": 2, "champion": 1}


def test_a_person_approves_it_and_it_is_promoted(stack: RunningStack) -> None:
    stack.until(lambda: states(stack, "challenger") == ["PAUSED"], "a person is asked")
    assert aliases(stack)["champion"] == 1
    assert "goes on with it" in nadir("approve", "2", "--reason", "sharper")
    stack.until(lambda: states(stack, "challenger") == ["COMPLETED"], "it is promoted")
    assert aliases(stack) == {"champion": 2, "previous": 1}
    move = json.loads(nadir("registry", "log", "--json"))["moves"][0]
    assert (move["how"], move["from"], move["to"]) == ("promote", "1", "2")


def test_the_champion_is_served_over_http(stack: RunningStack, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["-m", "models:/nadir@champion", "-h", "127.0.0.1", "-p", str(port), "-w", "1"]
    address = f"http://127.0.0.1:{port}"
    with running(command, f"{address}/ping", log=tmp_path / "log", environment=os.environ):
        body = {"inputs": ASKED}
        request = urllib.request.Request(
            f"{address}/invocations",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            (picture,) = json.loads(answer.read())["predictions"]
    assert base64.b64decode(picture)[:4] == b"\x89PNG"
    stack.drawn = picture


def test_the_champion_before_comes_back(stack: RunningStack) -> None:
    nadir("rollback")
    assert aliases(stack)["champion"] == 1
    assert aliases(stack)["previous"] == 2


def test_a_large_artifact_goes_in_parts_and_comes_back_whole(
    stack: RunningStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", str(6 << 20))
    monkeypatch.setenv("MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE", str(5 << 20))
    content = os.urandom(11 << 20)
    (tmp_path / "weights").write_bytes(content)
    client = MlflowClient()
    run = client.create_run("0")
    client.log_artifact(run.info.run_id, str(tmp_path / "weights"))
    client.set_terminated(run.info.run_id)
    for name, value in stack.s3.items():
        monkeypatch.setenv(name, value)
    api = boto3.client("s3")
    (key,) = [o["Key"] for o in objects(api, "mlflow") if o["Key"].endswith("/weights")]
    kept = api.get_object(Bucket="mlflow", Key=key)
    assert kept["ETag"].strip('"').endswith("-3"), "three parts"
    assert kept["Body"].read() == content
    back = Path(client.download_artifacts(run.info.run_id, "weights", str(tmp_path / "back")))
    assert back.read_bytes() == content


def objects(api: object, bucket: str) -> list[dict[str, object]]:
    pages = api.get_paginator("list_objects_v2").paginate(Bucket=bucket)  # type: ignore[attr-defined]
    return [found for page in pages for found in page.get("Contents", [])]


def test_no_store_and_no_log_holds_a_secret(stack: RunningStack) -> None:
    # The S3 key's name is none: SeaweedFS says it when it starts, as AWS' own logs do.
    named = {"S3_ACCESS_KEY", "NADIR_UID", "NADIR_GID"}
    secrets = {name: text for name, text in stack.secrets.items() if name not in named}
    assert len(secrets) == 5
    # What is there to be found is found, in each kind of place.
    known = {"reason": "sharper", "stage": "train: waiting", "file": "slow new pictures"}
    places = holders(stack, {**secrets, **known})
    assert ("reason", "database mlflow") in places
    assert ("stage", "database prefect") in places
    assert ("file", "data/listing.txt") in places
    assert [place for place in sorted(places) if place[0] in secrets] == []
