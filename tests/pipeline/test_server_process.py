"""What a server said last names its fault, whatever it prints after that."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from nadir.pipeline.servers.server_process import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

FATAL = "F1129 02:06:06.966110 s3.go:434 listen tcp 127.0.0.1:8333: bind: address already in use"


def last_lines(text: str, folder: Path) -> list[str]:
    command = [sys.executable, "-c", f"print({text!r})"]
    return ServerProcess("s3", command, environment=os.environ, cwd=folder).last_lines()


def test_the_last_lines_are_those_that_were_said_last(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(20)]
    assert last_lines("\n\n".join(lines), tmp_path) == lines[-12:]


def test_what_the_store_says_of_its_threads_does_not_hide_why_it_ended(tmp_path: Path) -> None:
    threads = [f"goroutine {number} [select]:" for number in range(40)]
    text = "\n".join(["I1129 02:06:05.100000 starting", FATAL, *threads])
    assert last_lines(text, tmp_path) == ["I1129 02:06:05.100000 starting", FATAL]
