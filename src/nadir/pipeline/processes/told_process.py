"""A module that runs in a process of its own and tells its result by an event."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import killed_error
from nadir.ground.events import EVENTS_VARIABLE, read_events
from nadir.ground.workspace import main_workspace
from nadir.pipeline.processes.process import quiet_environment
from nadir.pipeline.processes.supervise import run_group

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Told:
    """What became of it.

    Attributes:
        result: Its event `result`; None when it failed.
        fault: Why it failed; "" when it did not.
        log: What it printed.
    """

    result: Mapping[str, Any] | None
    fault: str
    log: Path


def run_told(
    module: str,
    arguments: Sequence[str],
    root: Path,
    *,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] = lambda _line: None,
) -> Told:
    """Run a module of `stages` that is no stage of DVC, as a supervised process group.

    Args:
        module: Its full name; log and events in `work/logs` have the last part of it.
        arguments: What it takes.
        root: The project's root, its working directory.
        environment: Variables of its own.
        on_line: Called with each line it prints.
    """
    logs = main_workspace(root) / "work" / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    name = module.rpartition(".")[2]
    events, log = logs / f"{name}.events", logs / f"{name}.log"
    events.unlink(missing_ok=True)
    own = {EVENTS_VARIABLE: str(events), **(environment or {})}
    code = run_group(
        [sys.executable, "-m", module, *arguments],
        cwd=root,
        environment={**quiet_environment(root), **own},
        log=log,
        on_line=on_line,
        on_tick=lambda: None,
    )
    told = read_events(events)[0] if events.is_file() else []
    results = [event for event in told if event["kind"] == "result"]
    if code == 0 and results:
        return Told(results[0], "", log)
    failed = [str(event["error"]) for event in told if event["kind"] == "stage_failed"]
    killed = killed_error("the process", code, where=name)
    return Told(None, failed[0] if failed else str(killed or f"exit code {code}, see {log}"), log)
