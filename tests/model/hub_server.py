"""A little hub: serves one model's files at one commit, the way the real one answers clients."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODEL = "artists/little-xl"
COMMIT = "c0ffee" * 6 + "abcd"
INFO = {"id": MODEL, "sha": COMMIT, "siblings": []}


def tree(folder: Path) -> list[dict[str, object]]:
    """All files, in the form of the hub's tree listing."""
    return [
        {"type": "file", "path": str(p.relative_to(folder)), "size": p.stat().st_size, "oid": "0"}
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    ]


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder on a free port; gives its address and the list of files asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            file = folder / path.partition(f"/resolve/{COMMIT}/")[2]
            if path.startswith(f"/api/models/{MODEL}"):
                content = json.dumps(tree(folder) if "/tree/" in path else INFO).encode()
            elif path.startswith(f"/{MODEL}/resolve/") and file.is_file():
                content = file.read_bytes()
                if body:
                    asked.append(str(file.relative_to(folder)))
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
