"""What a pipeline says in a terminal: one tidy line per stage, its own words below."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

from nadir.ground.logs.entry import entry
from nadir.ground.logs.stream import json_output
from nadir.ground.terminal import harmless

if TYPE_CHECKING:
    from nadir.pipeline.processes.process import StageResult

_PROGRESS = re.compile(r"^\w+: \d+/\d+ ")
_MARKS = {"executed": "✓", "restored": "↺", "unchanged": "·", "failed": "✗"}
_PLAIN_MARKS = {"executed": "+", "restored": "<", "unchanged": ".", "failed": "x"}
_COLOURS = {"executed": 32, "restored": 36, "unchanged": 2, "failed": 31}
_CLEAR_LINE = "\r\033[K"


class PipelineConsole:
    """Prints stages and their lines; in a terminal, progress rewrites its line.

    Where lines are JSON, those of a stage that are entries already stay as they are.

    Args:
        silent: Print nothing, where somebody else shows the log.
    """

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self._entries = json_output() is not None
        self._terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = self._terminal and "NO_COLOR" not in os.environ
        encoding = (sys.stdout.encoding or "").lower().replace("-", "")
        self._marks = _MARKS if encoding == "utf8" else _PLAIN_MARKS
        self._rewriting = False

    def line(self, text: str) -> None:
        """One line of a stage's log."""
        text = harmless(text)
        if self._entries:
            self._write(f"{text.strip()}\n")
            return
        progress = bool(_PROGRESS.match(text))
        if self._terminal and progress:
            width = os.get_terminal_size(sys.stdout.fileno()).columns
            self._write(f"{_CLEAR_LINE}  {text[: width - 3]}")
            self._rewriting = True
            return
        self._end_rewriting()
        self._write(f"  {text}\n")

    def ended(self, result: StageResult) -> None:
        """What became of a stage."""
        if self._entries:
            self._write(_entry_of(result) + "\n")
            return
        self._end_rewriting()
        mark = self._marks.get(result.state, " ")
        seconds = f"{result.duration_s:8.1f} s" if result.duration_s else ""
        text = f"{mark} {result.stage:<18} {result.state:<9} {seconds}".rstrip()
        code = _COLOURS.get(result.state)
        self._write(f"\033[{code}m{text}\033[0m\n" if self._colour and code else f"{text}\n")

    def note(self, text: str) -> None:
        """A line of the pipeline itself."""
        self._end_rewriting()
        self._write(f"{harmless(text)}\n")

    def _end_rewriting(self) -> None:
        if self._rewriting:
            self._write(_CLEAR_LINE)
            self._rewriting = False

    def _write(self, text: str) -> None:
        if not self._silent:
            sys.stdout.write(text)
            sys.stdout.flush()


def _entry_of(result: StageResult) -> str:
    level = "error" if result.state == "failed" else "info"
    text = f"{result.stage}: {result.state}" + (f": {result.error}" if result.error else "")
    seconds = round(result.duration_s, 2)
    return entry(text, level=level, stage=result.stage, state=result.state, duration_s=seconds)
