"""The MLflow server of docker-compose.yml, installed as its image is, on a real Postgres."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from tests.support.other_environments import cache_folder
from tests.support.servers import free_port, running

from nadir.tracking.lock_file import load_yaml

_PASSWORD = "se-cret_1"
_NO_INDEX = ("Failed to establish a new connection", "Temporary failure in name resolution")


def binaries() -> Path:
    """The newest Postgres of this machine; Debian puts no server on the path."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3])
    )
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("no Postgres server here: install Debian's package `postgresql`")
    return found[-1].parent if found else Path(str(on_path)).parent


@pytest.fixture(scope="module")
def postgres() -> Iterator[int]:
    """Port of a database server of its own, with the role and database of the stack."""
    programs = binaries()
    folder = Path(tempfile.mkdtemp(prefix="nadir-pg-"))
    # It refuses to run as root, and root's temporary folders let nobody else in.
    become: list[str] = []
    if os.getuid() == 0:
        become = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    (folder / "password").write_text(_PASSWORD)
    (folder / "password").chmod(0o644)
    data, port = folder / "data", free_port()
    try:
        subprocess.run(
            [*become, programs / "initdb", "--pgdata", data, "--username", "nadir", "--no-locale",
             "--encoding", "UTF8", "--auth", "scram-sha-256", "--pwfile", folder / "password"],
            check=True, capture_output=True, cwd=folder,
        )  # fmt: skip
        start = [programs / "pg_ctl", "--pgdata", data, "--log", folder / "log", "--wait"]
        settings = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
        subprocess.run(
            [*become, *start, "--timeout", "120", "--options", settings, "start"],
            check=True, cwd=folder, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield port
        finally:
            subprocess.run([*become, *start, "--mode", "immediate", "stop"], check=True, cwd=folder)
    finally:
        shutil.rmtree(folder)


def query(port: int, text: str, database: str = "mlflow") -> list[tuple[object, ...]]:
    connection = psycopg2.connect(
        host="127.0.0.1", port=port, user="nadir", password=_PASSWORD, dbname=database
    )
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


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
    postgres: int, installed: Path, root: Path, tmp_path: Path
) -> None:
    query(postgres, "CREATE DATABASE mlflow", "postgres")
    service = load_yaml(root / "docker-compose.yml")["services"]["mlflow"]
    address = service["environment"]["MLFLOW_BACKEND_STORE_URI"]
    assert "@postgres:5432/" in address
    store = address.replace("${POSTGRES_PASSWORD}", _PASSWORD)
    store = store.replace("@postgres:5432/", f"@127.0.0.1:{postgres}/")
    port = free_port()
    command = shlex.split(service["command"].replace("0.0.0.0", "127.0.0.1"))
    command[command.index("--port") + 1] = str(port)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PYTHON"))},
        "PATH": f"{installed}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_BACKEND_STORE_URI": store,
        "MLFLOW_ARTIFACTS_DESTINATION": str(tmp_path / "artifacts"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    url = f"http://127.0.0.1:{port}"
    command[0] = str(installed / command[0])
    with running(command, f"{url}/health", log=tmp_path / "log", environment=environment):
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
