"""Servers that answer, refuse, are others, or keep what they are given damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.doctor.asking import found
from tests.support.mlflow_server import Door, MlflowServer, quick_mlflow
from tests.support.prefect_database import give_prefect_its_tables

from nadir.pipeline.processes.process import quiet_environment
from nadir.pipeline.servers.temporary_server import temporary_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.mini.project import MiniProject


@pytest.fixture(scope="module")
def server() -> Iterator[MlflowServer]:
    """A real MLflow."""
    with quick_mlflow() as made:
        yield made


def test_a_real_mlflow_is_told_with_its_version(server: MlflowServer, project: MiniProject) -> None:
    environment = {**quiet_environment(project.root), "MLFLOW_TRACKING_URI": server.uri}
    seen = found("mlflow", project.root, environment)
    assert (seen.state, seen.told) == ("ok", f"MLflow 3.17.2 at {server.uri}")
    wrong = {**environment, "MLFLOW_TRACKING_URI": "", "PREFECT_API_URL": f"{server.uri}/api"}
    seen = found("prefect", project.root, wrong)
    assert (seen.state, "is not Prefect" in seen.told) == ("failed", True)


@pytest.mark.parametrize(
    ("status", "body", "told", "fix"),
    [
        (503, "", "is away: HTTP 503", "start it"),
        (401, "who are you", "refuses (HTTP 401)", "MLFLOW_TRACKING_USERNAME"),
        (403, "Invalid Host header", "Invalid Host header", "--allowed-hosts"),
        (200, "<html>" + "x" * 99, "is not MLflow", "correct MLFLOW_TRACKING_URI"),
        (200, "1.0.0", "what one of them does not know", "mlflow==3.17.2"),
    ],
)
def test_what_stands_before_mlflow_is_told_apart(
    status: int, body: str, told: str, fix: str, project: MiniProject
) -> None:
    door = Door(0)
    door.fail(status, body)
    environment = {**quiet_environment(project.root), "MLFLOW_TRACKING_URI": door.uri}
    seen = found("mlflow", project.root, environment)
    door.shut()
    assert told in seen.told
    assert fix in seen.fix
    assert (seen.state == "warning") == (body == "1.0.0")


def test_a_real_prefect_and_its_database_are_told(
    project: MiniProject, prefect_database: Path
) -> None:
    give_prefect_its_tables(project.root, prefect_database)
    environment = quiet_environment(project.root)
    with temporary_server(project.root, say=print) as url:
        seen = found("prefect", project.root, {**environment, "PREFECT_API_URL": url})
    assert (seen.state, seen.told) == ("ok", f"Prefect 3.8.8 at {url}")
    seen = found("prefect", project.root, environment)
    assert (seen.state, "prefect 3.8.8, schema " in seen.told) == ("ok", True)


def test_a_store_is_asked_by_a_file_that_goes_and_comes_back(
    project: MiniProject, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.dvc("remote", "add", "--default", "s3", f"s3://{bucket}/dvc")
    seen = found("dvc-remote", project.root)
    assert (seen.state, "gave the same back" in seen.told) == ("ok", True), seen
    assert s3.list_objects_v2(Bucket=bucket).get("KeyCount") == 0
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert found("dvc-remote", project.root).state == "failed"


def test_a_store_that_corrupts_is_found_out(
    project: MiniProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """A disk that keeps the length and loses the content, under DVC's local remote."""
    from dvc_objects.fs.local import LocalFileSystem

    from nadir.pipeline.storage.probe import probe

    project.dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    assert probe(project.root)["fault"] == ""
    put = LocalFileSystem.put_file

    def lossy(self: Any, source: str, target: str, **options: Any) -> None:
        put(self, source, target, **options)
        with Path(target).open("r+b") as file:
            file.write(b"\0")

    monkeypatch.setattr(LocalFileSystem, "put_file", lossy)
    assert "corrupts" in json.dumps(probe(project.root))
    assert list((tmp_path / "store").glob(".nadir*")) == []
