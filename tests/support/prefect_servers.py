"""Prefect's server on loopback and a worker, for tests of deployments."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from tests.mini.project import REPOSITORY, MiniProject
from tests.support.servers import free_port

from nadir.pipeline.processes.process import quiet_environment
from nadir.pipeline.servers import temporary_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

PATIENCE_S = 400


class Servers:
    """Prefect's server on one port, and a worker, over the project's own database."""

    def __init__(self, project: MiniProject, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, port = project.root, free_port()
        self.url = f"http://127.0.0.1:{port}/api"
        monkeypatch.setattr(temporary_server, "_free_port", lambda: port)
        self._stack = contextlib.ExitStack()
        self.environment = {
            **quiet_environment(self.root),
            "PREFECT_API_URL": self.url,
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


@contextlib.contextmanager
def prefect_servers(project: MiniProject, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    """The flows and deployments in a project, and what runs them, which the test starts."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    shutil.copytree(REPOSITORY / "flows", project.root / "flows")
    shutil.copy(REPOSITORY / "prefect.yaml", project.root)
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
