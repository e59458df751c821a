"""A project in embedded mode with a schedule: `nadir servers` and a worker beside it."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from tests.mini.project import REPOSITORY, MiniProject
from tests.support.servers import free_port, running

from nadir.pipeline.processes.process import quiet_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_S = 600
_NADIR = (sys.executable, "-c", "from nadir.cli import main; main()")
_DATABASES = {"mlflow": "work/mlflow/mlflow.db", "prefect": "work/prefect/prefect.db"}


class Embedded:
    """SQLite databases and files below the project's `work`; one Prefect server and one worker.

    Args:
        project: Gets the flows; its `prefect.yaml` says what is deployed.
    """

    def __init__(self, project: MiniProject) -> None:
        self.project = project
        self.artifacts = f"file://{project.root}/work/mlflow/"
        self.drawn = ""
        self._port = free_port()
        shutil.copytree(REPOSITORY / "flows", project.root / "flows")

    @property
    def login(self) -> dict[str, str]:
        """What the environment of another program says of the stores."""
        return {
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.project.root}/work/mlflow/mlflow.db",
            "NADIR_PROJECT": str(self.project.root),  # whose cache holds the weights
            "PREFECT_API_URL": f"http://127.0.0.1:{self._port}/api",
        }

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The servers, all deployments and a worker, until the block ends."""
        root = self.project.root
        names = ("MLFLOW_TRACKING_URI", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "NADIR_TRACKING")
        environment = {k: v for k, v in quiet_environment(root).items() if k not in names}
        environment |= {"PWD": str(root), "PREFECT_WORKER_QUERY_SECONDS": "1"}
        url = self.login["PREFECT_API_URL"]
        ports = ["--mlflow-port", str(free_port()), "--prefect-port", str(self._port)]
        serve = [*_NADIR, "servers", *ports]
        log = root / "servers.log"
        with running(serve, f"{url}/health", log=log, environment=environment):
            environment["PREFECT_API_URL"] = url
            self._prefect(environment, "work-pool", "create", "nadir", "--type", "process")
            self._prefect(environment, "deploy", "--all")
            with self._worker(environment):
                yield

    def _prefect(self, environment: dict[str, str], *arguments: str) -> None:
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        done = subprocess.run(
            command,
            cwd=self.project.root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @contextlib.contextmanager
    def _worker(self, environment: dict[str, str]) -> Iterator[None]:
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "nadir"]
        with (self.project.root / "worker.log").open("wb") as log:
            worker = subprocess.Popen(
                command, cwd=self.project.root, env=environment, stdout=log, stderr=log
            )
        try:
            yield
        finally:
            worker.send_signal(signal.SIGTERM)
            try:
                worker.wait(timeout=30)
            except subprocess.TimeoutExpired:
                # A worker whose request is under way when the signal comes may wait for good.
                worker.kill()
                worker.wait()

    def rows(self, database: str, query: str) -> list[Any]:
        """What a database of the project answers."""
        path = self.project.root / _DATABASES[database]
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as opened:
            return opened.execute(query).fetchall()

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something; fail with the last words of servers and worker."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, what + self._said()
            time.sleep(0.5)

    def _said(self) -> str:
        logs = [self.project.root / name for name in ("servers.log", "worker.log")]
        return "\n".join(log.read_text(errors="replace")[-3000:] for log in logs)
