"""The whole server stack, started by its own command for a project of the tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg2
from tests.mini.project import REPOSITORY, MiniProject
from tests.support.servers import free_port

from nadir.pipeline.servers.stack.settings import read_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_S = 600
_PROGRAMS = {"postgres": "postgres", "s3": "weed", "mlflow": "mlflow", "prefect": "prefect"}
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
        self.artifacts = "mlflow-artifacts:/"  # no client needs the keys of the store
        self.drawn = ""  # a picture by the version that was live, for later tests of a story
        self.said: list[str] = []  # the lines of the command that started it
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
        self.said.clear()
        ready = threading.Event()
        self._listener = threading.Thread(target=self._listen, args=[ready], daemon=True)
        self._listener.start()
        while not ready.wait(0.1):
            if not self._listener.is_alive() and not ready.is_set():
                raise AssertionError(self.log.read_text(errors="replace")[-6000:])

    def _listen(self, ready: threading.Event) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.said.append(line.decode(errors="replace").rstrip())
                if line.startswith(b"all are ready"):
                    ready.set()

    def members(self, service: str) -> list[psutil.Process]:
        """The processes of a service, without the one that keeps them."""
        assert self._process is not None
        word = _PROGRAMS[service]
        for keeper in psutil.Process(self._process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # it ends just now
                words = keeper.cmdline()[3:]  # behind `python -c` and the keeper's own text
                if any(Path(each).name.startswith(word) for each in words[:5]):
                    return keeper.children(recursive=True)
        return []

    @contextlib.contextmanager
    def away(self, service: str) -> Iterator[None]:
        """Kill a service (SIGKILL); inside the block its port is taken, so that none comes back.

        When the block ends, the stack's own restart brings it; it answers then.
        """
        before = len([line for line in self.said if line.startswith(f"{service} ended")])
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            while not self._is_taken_from(service, taken):
                assert self._process is not None
                assert self._process.poll() is None
            yield
        self.until(lambda: self.answers(service), f"{service} is back")
        told = [line for line in self.said if line.startswith(f"{service} ended")]
        assert len(told) > before

    def _is_taken_from(self, service: str, taken: socket.socket) -> bool:
        """Kill a service and take its port; false where the stack was quicker to start another."""
        for victim in self.members(service):
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        for _ in range(40):
            with contextlib.suppress(OSError):
                taken.bind(("127.0.0.1", self.ports[service]))
                return True
            time.sleep(0.005)
        return False

    def answers(self, service: str) -> bool:
        """Whether a service does what it is asked."""
        paths = {"s3": "/healthz", "mlflow": "/health", "prefect": "/api/health"}
        try:
            if service == "postgres":
                return self.rows("mlflow", "select 1") == [(1,)]
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.ports[service]}{paths[service]}", timeout=5
            ):
                return True
        except (OSError, psycopg2.OperationalError):
            return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal; returns its exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        self._process.wait(timeout=120)
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
