"""The MLflow server of docker-compose.yml, installed as its image is, on a real Postgres."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from tests.support.other_environments import cache_folder
from tests.support.postgres import PASSWORD, postgres, query
from tests.support.servers import free_port, running

from nadir.pipeline.servers.stack.native import PORTS, Native
from nadir.pipeline.servers.stack.settings import read_services

__all__ = ["postgres"]
ADMIN = "of-the-test-alone"
_NO_INDEX = ("Failed to establish a new connection", "Temporary failure in name resolution")


@pytest.fixture(scope="module")
def installed() -> Path:
    """Programs of a clean environment after the pip line of the image; kept in the user's cache."""
    root = Path(__file__).resolve().parents[2]
    text = (root / "mlflow/Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"^RUN (pip install [^&]*)", text, re.MULTILINE)
    key = hashlib.sha256(f"{sys.version} {sys.base_prefix} {line}".encode()).hexdigest()[:12]
    folder = cache_folder() / f"mlflow-image-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "whole").is_file():
            install(line, folder)
            (folder / "whole").touch()
    return folder / "bin"


def install(line: str, folder: Path) -> None:
    """Over what a killed run left: an environment cannot be moved to where it belongs."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    arguments = [word for word in shlex.split(line)[1:] if word != "--no-cache-dir"]
    done = subprocess.run(
        [folder / "bin/pip", *arguments, "--quiet", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and any(words in done.stderr for words in _NO_INDEX):
        pytest.skip("the package index cannot be reached, and the image installs from it")
    assert done.returncode == 0, done.stderr


def test_the_mlflow_server_of_the_stack_starts_on_postgres_and_keeps_its_records_there(
    postgres: int, installed: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mlflow", "mlflow_auth"):
        query(postgres, f"CREATE DATABASE {name}", "postgres")
    names = ("S3_ACCESS_KEY", "S3_SECRET_KEY", "MLFLOW_SECRET_KEY", "PREFECT_PASSWORD")
    secrets = {**dict.fromkeys(names, "not-used"), "MLFLOW_WORKERS": "1"}
    secrets.update(
        zip(("POSTGRES_PASSWORD", "MLFLOW_ADMIN_PASSWORD"), (PASSWORD, ADMIN), strict=True)
    )
    port = free_port()
    native = Native(root, tmp_path, {**PORTS, "postgres": postgres, "mlflow": port})
    service = read_services(root, secrets)["mlflow"]
    environment = native.environment(service) | {
        "PATH": f"{installed}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_ARTIFACTS_DESTINATION": str(tmp_path / "artifacts"),
    }
    command = native.command(service)
    command[0] = str(installed / Path(command[0]).name)
    url = f"http://127.0.0.1:{port}"
    with running(command, f"{url}/health", log=tmp_path / "log", environment=environment):
        with pytest.raises(MlflowException, match="401"):
            MlflowClient(url, url).search_experiments()
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN)
        client = MlflowClient(url, url)
        run = client.create_run(client.create_experiment("nadir"), tags={"nadir.gate": "promote"})
        client.log_text(run.info.run_id, "kept", "note.txt")
        # On a busy machine the server's patience with a silent connection may end before its
        # answer is read; the client then asks again.
        try:
            client.create_registered_model("nadir")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        client.create_model_version("nadir", run.info.artifact_uri, run.info.run_id)
        client.set_registered_model_alias("nadir", "champion", "1")
    assert query(postgres, "SELECT name, alias, version FROM registered_model_aliases") == [
        ("nadir", "champion", 1)
    ]
    assert query(postgres, "SELECT value FROM tags WHERE key = 'nadir.gate'") == [("promote",)]
