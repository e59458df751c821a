"""A project in embedded mode with a schedule: `nadir servers` and a worker beside it."""

from __future__ import annotations

import contextlib
import shutil
import sys
from typing import TYPE_CHECKING, Any

from tests.mini.project import REPOSITORY, MiniProject
from tests.support.prefect_programs import prefect, rows, wait_until, worker
from tests.support.servers import free_port, running

from nadir.pipeline.processes.process import quiet_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PATIENCE_S = 600
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
            prefect(root, environment, "work-pool", "create", "nadir", "--type", "process")
            prefect(root, environment, "deploy", "--all")
            with worker(root, environment, root / "worker.log"):
                yield

    def rows(self, database: str, query: str) -> list[Any]:
        """What a database of the project answers."""
        return rows(self.project.root / _DATABASES[database], query)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something; fail with the last words of servers and worker."""
        logs = (self.project.root / name for name in ("servers.log", "worker.log"))
        wait_until(condition, what, *logs, patience_s=_PATIENCE_S, every_s=0.5)
