"""The whole server stack, started by its own command for a project of the tests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
from tests.mini.project import REPOSITORY, MiniProject
from tests.support.servers import free_port

from nadir.pipeline.servers.stack.settings import read_variables

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 600
_FILES = ("docker-compose.yml", "mlflow", "postgres", "flows", "prefect.yaml")


class RunningStack:
    """The servers of a project's compose file on free ports.

    Args:
        project: Gets the stack's files, and secrets of its own unless it has some.
    """

    def __init__(self, project: MiniProject) -> None:
        self.project = project
        for name in _FILES:
            if (REPOSITORY / name).is_dir():
                shutil.copytree(REPOSITORY / name, project.root / name, dirs_exist_ok=True)
            elif not (project.root / name).exists():
                shutil.copy(REPOSITORY / name, project.root)
        if not (project.root / ".env").exists():
            script = REPOSITORY / "scripts/make_secrets.py"
            project.command(sys.executable, str(script), str(project.root / ".env"))
        self.secrets = read_variables(project.root / ".env")
        # Not below pytest's own folder, which lets in nobody but its owner: root's Postgres is not.
        self.state = Path(tempfile.mkdtemp(prefix="nadir-stack-"))
        self.state.chmod(0o711)
        self.ports = {name: free_port() for name in ("postgres", "s3", "mlflow", "prefect")}
        self.log = self.state / "log"
        self.drawn = ""  # a picture by the version that was live, for later tests of a story
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """The command that started it; None when it was stopped."""
        return self._process

    @property
    def login(self) -> dict[str, str]:
        """What a client's environment says of the servers."""
        return {
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self.ports['mlflow']}",
            "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": self.secrets["MLFLOW_ADMIN_PASSWORD"],
            "PREFECT_API_URL": f"http://127.0.0.1:{self.ports['prefect']}/api",
            "PREFECT_API_AUTH_STRING": f"nadir:{self.secrets['PREFECT_PASSWORD']}",
        }

    @property
    def s3(self) -> dict[str, str]:
        """What boto3's environment says of the store."""
        return {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.ports['s3']}",
            "AWS_ACCESS_KEY_ID": self.secrets["S3_ACCESS_KEY"],
            "AWS_SECRET_ACCESS_KEY": self.secrets["S3_SECRET_KEY"],
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    @property
    def postgres(self) -> dict[str, str]:
        """What libpq's environment says of the databases."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.ports["postgres"]),
            "PGUSER": "nadir",
            "PGPASSWORD": self.secrets["POSTGRES_PASSWORD"],
        }

    def start(self, *services: str) -> None:
        """Start these with what they need, or all; return when all are ready."""
        ports = [word for n, port in self.ports.items() for word in ("--port", f"{n}={port}")]
        # A shell's background ignores Ctrl-C, and so would this.
        command = ["env", "--default-signal=INT", sys.executable]
        command += ["-m", "nadir.pipeline.servers.stack", "--state", str(self.state)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *ports, *services],
                cwd=self.project.root,
                env={**os.environ, "MLFLOW_WORKERS": "1", "PREFECT_WORKER_QUERY_SECONDS": "2"},
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(b"all are ready"):
                return
        raise AssertionError(self.log.read_text(errors="replace")[-6000:])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal; returns its exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        self._process.communicate(timeout=120)
        status, self._process = self._process.returncode, None
        return status

    def remove(self) -> None:
        """End it and take its stores away."""
        self.stop()
        shutil.rmtree(self.state, ignore_errors=True)

    def rows(self, database: str, query: str) -> list[Any]:
        """What a database of the servers answers."""
        mine = {"host": "127.0.0.1", "port": self.ports["postgres"], "user": "nadir"}
        connection = psycopg2.connect(
            **mine, password=self.secrets["POSTGRES_PASSWORD"], dbname=database
        )
        try:
            with connection.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall()
        finally:
            connection.close()

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something; fail with the servers' last words."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, what + self.log.read_text(errors="replace")[-6000:]
            assert self._process is not None
            assert self._process.poll() is None, self.log.read_text(errors="replace")[-6000:]
            time.sleep(0.5)
