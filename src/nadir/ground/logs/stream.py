"""Standard output and error where each line is a JSON object, whoever prints it."""

from __future__ import annotations

import json
import re
import sys
import threading
from typing import TYPE_CHECKING, Any

from nadir.ground.logs.entry import entry, read_entry

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

_installed: list[JsonLines] = []
_LINE_ENDS = re.compile(r"\r\n|\n|\r")


class JsonLines:
    """Stands for a stream: each line that is written, with those set in below it, is an entry.

    Args:
        stream: Where the entries go.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._rest = ""
        self._writing = threading.RLock()

    def write(self, text: str) -> int:
        """As the stream's own; a line is kept until its end comes."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._writing:
            *lines, self._rest = _LINE_ENDS.split(self._rest + text)
            for block in _blocks(lines):
                self.put(block if read_entry(block) else entry(block))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Each by `write`."""
        for line in lines:
            self.write(line)

    def put(self, line: str) -> None:
        """Write one entry."""
        with self._writing:
            self.stream.write(line + "\n")
            self.stream.flush()

    def drain(self) -> None:
        """Write what has no end of line yet; for the end of the program."""
        self.write("\n")

    def isatty(self) -> bool:
        """False: neither colours nor rewritten lines are wanted here."""
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def install() -> tuple[JsonLines, JsonLines]:
    """Put such streams in the place of standard output and error, and return them."""
    streams = JsonLines(sys.stdout), JsonLines(sys.stderr)
    sys.stdout, sys.stderr = streams  # type: ignore[assignment]  # stand for text streams
    _installed[:] = streams
    return streams


def json_output() -> JsonLines | None:
    """What stands for standard output, if it does; libraries may have wrapped it since."""
    return _installed[0] if _installed else None


def json_errors() -> JsonLines | None:
    """What stands for standard error, if it does."""
    return _installed[1] if _installed else None


def print_document(value: Any, **form: Any) -> None:
    """Print what a command was asked for as JSON: indented, or on one line where all lines are.

    Args:
        value: Anything that JSON can hold.
        form: More arguments of `json.dumps`.
    """
    if (lines := json_output()) is not None:
        lines.put(json.dumps(value, **form | {"ensure_ascii": True}))
    else:
        sys.stdout.write(json.dumps(value, indent=2, **form) + "\n")


def _blocks(lines: list[str]) -> list[str]:
    """Lines that came together, each with those that are set in below it; empty ones left out."""
    found: list[str] = []
    for line in lines:
        if found and line.startswith((" ", "\t")):
            found[-1] += f"\n{line.rstrip()}"
        elif line.strip():
            found.append(line.strip())
    return found
