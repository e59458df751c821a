"""A model's story against the whole stack, and what only the stack has.

The tests of this module run in order: each starts where the last one ended.
"""

from __future__ import annotations

import os
from pathlib import Path

import boto3
import pytest
from mlflow import MlflowClient
from tests.support.stack import RunningStack
from tests.support.stack_search import holders
from tests.support.told_story import Story

pytestmark = [pytest.mark.servers, pytest.mark.story]


class TestStory(Story):
    """Postgres, SeaweedFS, MLflow and Prefect over HTTP with passwords."""


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
