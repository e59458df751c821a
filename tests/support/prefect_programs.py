"""Prefect's command line and its worker, for tests that start them."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_PREFECT = (sys.executable, "-m", "prefect")


def prefect(root: Path, environment: Mapping[str, str], *arguments: str) -> None:
    """Run a command of Prefect's in a project; fail with what it said."""
    done = subprocess.run(
        [*_PREFECT, "--no-prompt", *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def worker(
    root: Path, environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of the pool `nadir`, until the block ends."""
    command = [*_PREFECT, "worker", "start", "--pool", "nadir"]
    with log.open("wb") as out:
        started = subprocess.Popen(command, cwd=root, env=environment, stdout=out, stderr=out)
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(timeout=30)
        except subprocess.TimeoutExpired:
            # A worker whose request is under way when the signal comes may wait for good.
            started.kill()
            started.wait()


def rows(database: Path, query: str) -> list[Any]:
    """What an SQLite database that a server writes to answers."""
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as opened:
        return opened.execute(query).fetchall()


def wait_until(
    condition: Callable[[], object], what: str, *logs: Path, patience_s: float, every_s: float
) -> None:
    """Wait for something; fail with the last words of `logs`."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "\n".join([what, *map(_last_words, logs)])
        time.sleep(every_s)


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:] if log.exists() else f"{log.name}: not begun"
