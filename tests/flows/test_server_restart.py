"""A Prefect server that is restarted while a deployment's run is at work."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ruamel.yaml import YAML
from tests.mini.project import REPOSITORY, MiniProject
from tests.support.servers import free_port

from nadir.pipeline.processes.process import quiet_environment
from nadir.pipeline.servers import temporary_server

PATIENCE_S = 400
# The stage `base_model` of the test: it goes on when it is told to.
WAITS = """
import pathlib, time
pathlib.Path("started").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.1)
pathlib.Path("models/base/vae").mkdir(parents=True, exist_ok=True)
pathlib.Path("models/base/vae/w").write_text("1")
"""


class Servers:
    """Prefect's server on one port, and a worker, over the project's own database."""

    def __init__(self, project: MiniProject, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, port = project.root, free_port()
        monkeypatch.setattr(temporary_server, "_free_port", lambda: port)
        self._stack = contextlib.ExitStack()
        self.environment = {
            **quiet_environment(self.root),
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "NADIR_TRACKING": "none",
            "PWD": str(self.root),  # as a shell sets it; prefect.yaml takes the folder from it
        }
        self.worker: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._stack.enter_context(temporary_server.temporary_server(self.root, say=print))

    def stop(self) -> None:
        self._stack.close()

    def prefect(self, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start_worker(self) -> None:
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "nadir"]
        with (self.root / "work/worker").open("wb") as log:
            self.worker = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def rows(self, query: str) -> list[Any]:
        path = self.root / "work/prefect/prefect.db"
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
            return database.execute(query).fetchall()

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, what + (self.root / "work/worker").read_text()
            time.sleep(0.2)


@pytest.fixture
def servers(project: MiniProject, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    shutil.copytree(REPOSITORY / "flows", project.root / "flows")
    shutil.copy(REPOSITORY / "prefect.yaml", project.root)
    (project.root / "waits.py").write_text(WAITS, encoding="utf-8")
    path, yaml = project.root / "dvc.yaml", YAML()
    tree = yaml.load(path)
    tree["stages"]["base_model"]["cmd"] = "python waits.py"
    yaml.dump(tree, path)
    made = Servers(project, monkeypatch)
    try:
        yield made
    finally:
        if made.worker is not None:
            made.worker.terminate()
            try:
                made.worker.wait(timeout=30)
            except subprocess.TimeoutExpired:
                # A worker whose request is under way when the signal comes may wait for good.
                made.worker.kill()
                made.worker.wait()
        made.stop()


STATES = "select state_type, id from flow_run order by created"


def test_a_run_outlives_a_restart_of_the_server_and_one_that_meets_it_is_cancelled(
    servers: Servers,
) -> None:
    root = servers.root
    servers.start()
    servers.prefect("work-pool", "create", "nadir", "--type", "process")
    servers.prefect("deploy", "--all")
    assert servers.rows("select name, concurrency_limit_id from deployment order by name") == [
        ("nightly", None),
        ("promote", None),
        ("weekly", None),
    ]
    servers.start_worker()
    run = ("deployment", "run", "training-pipeline/nightly", "--param", "until=base_model")
    servers.prefect(*run)
    servers.until((root / "started").exists, "the stage starts")
    servers.prefect(*run)
    servers.until(lambda: servers.rows(STATES)[-1][0] == "CANCELLED", "the second is cancelled")
    (message,) = servers.rows("select message from flow_run_state where type = 'CANCELLED'")
    assert "nothing done: another pipeline (process " in message[0]
    servers.stop()
    time.sleep(5.0)
    servers.start()
    (root / "go").touch()
    servers.until(lambda: servers.rows(STATES)[0][0] == "COMPLETED", "the first is completed")
    assert [state for state, _ in servers.rows(STATES) if state != "SCHEDULED"] == [
        "COMPLETED",
        "CANCELLED",
    ]
