"""Real servers on loopback, and a proxy that answers chosen calls in their place."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PATIENCE_S = 240.0
_ROOMY_BYTES = 1 << 30
_HOP = {"connection", "transfer-encoding", "content-length", "host", "content-encoding"}


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder in main memory where the system offers it: SQLite awaits the disk at each commit."""
    memory = Path("/dev/shm")
    # A container has 64 MiB there unless told otherwise.
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOMY_BYTES
    place = memory if roomy else None
    with tempfile.TemporaryDirectory(
        prefix="nadir-test-", dir=place, ignore_cleanup_errors=True
    ) as made:
        yield Path(made)


@contextlib.contextmanager
def running(
    command: Sequence[str], url: str, *, log: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A server until the block ends; it answers at `url` when the block begins."""
    with log.open("wb") as out:
        child = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=log.parent,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await(child, url, log)
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _await(child: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert child.poll() is None, log.read_text(errors="replace")[-4000:]
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.2)
    raise AssertionError(f"no answer from {url}: {log.read_text(errors='replace')[-4000:]}")


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Address of an MLflow server over SQLite that hands out artifacts itself."""
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", f"sqlite:///{folder}/server.db",
        "--artifacts-destination", str(folder / "artifacts"), "--workers", "1",
    ]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    environment |= {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    url = f"http://127.0.0.1:{port}"
    with running(command, f"{url}/health", log=folder / "server.log", environment=environment):
        yield url


OF_LOCK = " of the lock"


@dataclass
class Proxy:
    """A proxy before an HTTP server.

    Attributes:
        url: Its address.
        calls: What was asked through it, as `METHOD /path`, in order; those about the model that
            is MLflow's lock end in `OF_LOCK`.
        fail_at: Number of the call that is answered here, from 0; None passes everything on.
        answer: Status and body of that answer; a status of 0 passes the call on and loses the
            server's answer.
    """

    url: str
    calls: list[str] = field(default_factory=list)
    fail_at: int | None = None
    answer: tuple[int, bytes] = (503, b"")

    def watch(self, fail_at: int | None = None, answer: tuple[int, bytes] = (503, b"")) -> None:
        """Forget the calls so far and answer the one with this number."""
        self.calls.clear()
        self.fail_at, self.answer = fail_at, answer


@contextlib.contextmanager
def proxy_before(target: str) -> Iterator[Proxy]:
    """A proxy on loopback before the server at `target`."""
    host = target.removeprefix("http://")
    proxy = Proxy("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two packets, of which Nagle's algorithm would hold the second back until
        # the client's delayed acknowledgement: 40 ms for each of thousands of calls.
        disable_nagle_algorithm = True

        def pass_on(self) -> None:
            # The client asks for it when it likes, and does without an answer.
            counts = not self.path.endswith("/server-info")
            number = len(proxy.calls) if counts else -1
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if counts:
                lock = ".lock" in self.path or re.search(rb'"name": ?"[^"]+\.lock"', body)
                call = f"{self.command} {self.path.partition('?')[0]}"
                proxy.calls.append(call + OF_LOCK if lock else call)
            status, own = proxy.answer
            if self.command == "PUT" and status == 200:
                status = 503  # the client reads no answer to an upload that went well
            if number == proxy.fail_at and status:
                self.reply(status, own, {})
                return
            upstream = http.client.HTTPConnection(host, timeout=60)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            content = answer.read()
            upstream.close()
            if number == proxy.fail_at:
                self.close_connection = True
                return
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP}
            self.reply(answer.status, content, kept)

        def reply(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

        def log_message(self, *_arguments: object) -> None:
            """Nothing on the console."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
