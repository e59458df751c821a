"""Prefect's server on loopback and a worker, for tests of deployments."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING, Any

from tests.mini.project import REPOSITORY, MiniProject
from tests.support.prefect_programs import prefect, rows, wait_until, worker
from tests.support.servers import free_port

from nadir.pipeline.processes.process import quiet_environment
from nadir.pipeline.servers import temporary_server

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    import pytest

_PATIENCE_S = 400


class Servers:
    """Prefect's server on one port, and a worker, over the project's own database."""

    def __init__(self, project: MiniProject, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, port = project.root, free_port()
        self.url = f"http://127.0.0.1:{port}/api"
        monkeypatch.setattr(temporary_server, "_free_port", lambda: port)
        self._server, self._workers = contextlib.ExitStack(), contextlib.ExitStack()
        self._log = self.root / "work/worker"
        self.environment = {
            **quiet_environment(self.root),
            "PREFECT_API_URL": self.url,
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "NADIR_TRACKING": "none",
            "PWD": str(self.root),  # as a shell sets it; prefect.yaml takes the folder from it
        }
        self.worker: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._server.enter_context(temporary_server.temporary_server(self.root, say=print))

    def stop(self) -> None:
        """The server alone; the worker stays."""
        self._server.close()

    def stop_workers(self) -> None:
        self._workers.close()

    def prefect(self, *arguments: str) -> None:
        prefect(self.root, self.environment, *arguments)

    def start_worker(self) -> None:
        begun = worker(self.root, self.environment, self._log)
        self.worker = self._workers.enter_context(begun)

    def rows(self, query: str) -> list[Any]:
        return rows(self.root / "work/prefect/prefect.db", query)

    def until(self, condition: Callable[[], object], what: str) -> None:
        wait_until(condition, what, self._log, patience_s=_PATIENCE_S, every_s=0.2)


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
        made.stop_workers()
        made.stop()
