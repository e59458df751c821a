"""Structured progress of a stage: JSON lines in the file that `NADIR_EVENTS` names.

Without the variable nothing is written, so a stage behaves the same under `dvc repro`.
Events have a `kind`, a `time` (Unix seconds) and fields of their own:

- `stage_started`: stage
- `progress`: stage, done, total, unit, rate (per second), eta_s
- `result`: stage, and what the stage wants shown in the summary
- `stage_finished`: stage
- `stage_failed`: stage, error
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nadir.ground.logs.entry import entry
from nadir.ground.logs.stream import json_output
from nadir.ground.secrets import masked, masked_tree
from nadir.ground.terminal import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeVar

    T = TypeVar("T")

EVENTS_VARIABLE = "NADIR_EVENTS"


def emit(kind: str, **fields: Any) -> None:
    """Append one event; does nothing when no event file is named."""
    target = os.environ.get(EVENTS_VARIABLE)
    if not target:
        return
    event = {"kind": kind, "time": time.time(), **masked_tree(fields)}
    line = json.dumps(event, sort_keys=True)
    with Path(target).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read_events(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Events from byte `offset` on, and the offset after the last whole line."""
    if not path.is_file():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    whole = data.rfind(b"\n") + 1
    lines = data[:whole].splitlines()
    return [json.loads(line) for line in lines if line.strip()], offset + whole


def say(message: str, **fields: Any) -> None:
    """Print one line of a stage's log, unbuffered.

    Args:
        message: The line.
        fields: Of its entry where lines are JSON (`step=3`); text has none.
    """
    if (lines := json_output()) is not None:
        lines.put(entry(message, **fields))
        return
    sys.stdout.write(harmless(masked(message)) + "\n")
    sys.stdout.flush()


class Progress:
    """Rate and ETA of a loop, as a log line and an event every `every_s` seconds.

    Args:
        stage: The stage's name.
        total: Number of units in all.
        unit: What is counted, plural ("images", "steps").
        every_s: Seconds between two lines.
        done: Units that were finished before (a resumed run).
    """

    def __init__(
        self, stage: str, total: int, unit: str, *, every_s: float = 5.0, done: int = 0
    ) -> None:
        self.stage = stage
        self.total = total
        self.unit = unit
        self.every_s = every_s
        self.done = done
        self._start_done = done
        self._start = self._last = time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more units; says so when it is time or the loop has ended."""
        if not count:
            return
        self.done += count
        now = time.monotonic()
        if now - self._last < self.every_s and self.done < self.total:
            return
        self._last = now
        rate = (self.done - self._start_done) / max(now - self._start, 1e-9)
        eta = (self.total - self.done) / rate if rate > 0 else 0.0
        text = f"{self.stage}: {self.done}/{self.total} {self.unit}, {rate:.1f}/s, ETA {eta:.0f} s"
        say(f"{text}, {note}" if note else text, **self._fields)
        emit(
            "progress",
            stage=self.stage,
            done=self.done,
            total=self.total,
            unit=self.unit,
            rate=rate,
            eta_s=eta,
        )

    @property
    def _fields(self) -> dict[str, Any]:
        """What a line says beside its text: how far it is, in steps where these are counted."""
        far: dict[str, Any] = {"done": self.done, "total": self.total}
        return far | ({"step": self.done} if self.unit == "steps" else {})

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items, counting each when it has been dealt with."""
        for item in items:
            yield item
            self.advance()
