"""One DVC stage as a supervised process: streamed, interruptible, never left half-done.

DVC decides whether a stage runs. It and everything it starts form one process group, which is
asked to stop by SIGINT: DVC ignores it while a command runs, waits for the command and releases its
locks, whereas SIGTERM would kill DVC and orphan the command.
"""

from __future__ import annotations

import getpass
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError, disk_full_error, killed_error
from nadir.ground.events import EVENTS_VARIABLE, read_events
from nadir.ground.inherited import PYTHON_SWITCHES
from nadir.ground.logs.entry import message_of
from nadir.ground.loopback import ask_loopback_directly
from nadir.ground.secrets import masked
from nadir.ground.workspace import main_workspace, project_root
from nadir.pipeline.freshness import StageState, state_by_dvc
from nadir.pipeline.processes.dvc_process import start_dvc
from nadir.pipeline.processes.stage_faults import plain_fault
from nadir.pipeline.processes.supervise import follow, run_group
from nadir.pipeline.processes.whole_lock_file import lock_file_stays_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# `DO_NOT_TRACK=true` in this very spelling is the one that every tool here honours.
_QUIET = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "MPLBACKEND": "agg",  # a notebook's own backend exists in the notebook only
}
# Prefect's own records go to its server, and libraries' bars nowhere: the console belongs to the
# pipeline's lines. Set these to see them.
_DEFAULTS = {
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}
# Variables that this process was started with and does without, for the processes it starts.
withheld: dict[str, str] = {}
_CHATTER = (
    "Running stage ",
    "> ",
    "Generating lock file",
    "Updating lock file",
    "To track the changes with git, run:",
    "git add ",
    "To enable auto staging, run:",
    "dvc config core.autostage",
    "Use `dvc push`",
    "Data and pipelines are up to date",
    "Stage '",
    "ERROR: ",
    "Having any troubles?",
)


@dataclass(frozen=True)
class StageResult:
    """What became of a stage.

    Attributes:
        stage: Its name.
        state: `executed` (its command ran), `restored` (DVC had the result), `unchanged`, `failed`;
            `registered` is of the registry's step, which is not a stage of DVC.
        duration_s: Wall time in seconds.
        log: File with everything it printed.
        error: What went wrong, for `failed`.
        facts: The fields of its `result` event.
    """

    stage: str
    state: StageState
    duration_s: float = 0.0
    log: Path | None = None
    error: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def quiet_environment(root: Path | None = None) -> dict[str, str]:
    """The environment for every process of the pipeline.

    Telemetry is off, this interpreter is the `python` of `dvc.yaml`, Prefect's files lie in
    `work/prefect` unless `PREFECT_HOME` says otherwise, servers on loopback are asked without a
    proxy, and neither an MLflow run nor Python's switches for tests are inherited.

    Raises:
        NadirError: `work` cannot be written.
    """
    home = main_workspace(root or project_root()) / "work" / "prefect"
    try:
        home.mkdir(parents=True, exist_ok=True)  # Prefect would not make the folders above it
    except OSError as error:
        raise disk_full_error(error, where=str(home)) or NadirError(
            f"the folder cannot be made ({error.strerror})",
            where=str(home),
            fix="let `work` in the project be a folder that you may write",
        ) from error
    environment = {**_DEFAULTS, "PREFECT_HOME": str(home), **os.environ, **withheld, **_QUIET}
    ask_loopback_directly(environment)
    for name in ("MLFLOW_RUN_ID", *PYTHON_SWITCHES):
        environment.pop(name, None)
    folders = environment.get("PATH", os.defpath).split(os.pathsep)
    own = str(Path(sys.executable).parent)
    environment["PATH"] = os.pathsep.join([own, *(f for f in folders if f != own)])
    return environment


def run_dvc(
    arguments: Sequence[str],
    root: Path,
    *,
    environment: Mapping[str, str],
    log: Path,
    on_line: Callable[[str], None],
    on_tick: Callable[[], None],
    inherit: Sequence[int] = (),
) -> int:
    """Run DVC with this interpreter in a process group of its own; it waits for its lock.

    Args:
        arguments: What `dvc` takes.
        root: The project's root.
        environment: Variables to add to `quiet_environment`.
        log: File for its standard output and error; replaced.
        on_line: Called with each line.
        on_tick: Called after each look at the log, and once at the end.
        inherit: File descriptors that DVC keeps open.

    Returns:
        The exit code, negative for a signal.

    Raises:
        NadirError: The user has no name, as in a container that runs as a bare number.
    """
    require_user_name()
    arguments = ["--wait-for-lock", *arguments]
    whole = {**quiet_environment(root), **environment}
    with log.open("wb") as out:
        child = start_dvc(arguments, cwd=root, environment=whole, log=out, inherit=inherit)
    with lock_file_stays_whole(root):
        if child is not None:
            return follow(child, log, on_line=on_line, on_tick=on_tick)
        return run_group(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=root,
            environment=whole,
            inherit=inherit,
            log=log,
            on_line=on_line,
            on_tick=on_tick,
        )


def require_user_name() -> None:
    """DVC puts the user's name into every path of its scratch files, and ends without one.

    Raises:
        NadirError: Neither the environment nor the system knows a name.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError) as error:
        raise NadirError(
            f"user {os.getuid()} has no name on this system, and DVC needs one",
            where="the environment",
            fix="set USER to any name, e.g. `export USER=nadir`",
        ) from error


def run_stage(
    stage: str,
    root: Path,
    *,
    environment: Mapping[str, str] | None = None,
    inherit: Sequence[int] = (),
    on_line: Callable[[str], None] | None = None,
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> StageResult:
    """`dvc repro --single-item` of one stage, watched.

    Args:
        stage: Name of the stage.
        root: The project's root.
        environment: Variables to add to `quiet_environment`.
        inherit: File descriptors that DVC keeps open, such as a lock's.
        on_line: Called with each line of the stage's log as it appears, DVC's chatter left out; by
            `NADIR_LOG=json` the stage's own are entries (`ground.logs.entry`).
        on_event: Called with each event of the stage.

    Returns:
        What became of it. An exception or signal in the caller stops the stage, gives it time to
        save, and goes on.
    """
    folder = main_workspace(root) / "work" / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    watch = _Watch(folder / f"{stage}.events", on_line, on_event)
    log = folder / f"{stage}.log"
    start = time.monotonic()
    code = run_dvc(
        ["repro", "--single-item", stage],
        root,
        environment={EVENTS_VARIABLE: str(watch.events), **(environment or {})},
        inherit=inherit,
        log=log,
        on_line=watch.line,
        on_tick=watch.tick,
    )
    duration = time.monotonic() - start
    if code:
        error = watch.fault(stage, code, log, root)
        return StageResult(stage, "failed", duration, log, error=error)
    return StageResult(stage, watch.state, duration, log, facts=watch.facts)


class _Watch:
    """Follows a stage's lines and events and knows in the end what they amount to."""

    def __init__(
        self,
        events: Path,
        on_line: Callable[[str], None] | None,
        on_event: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        self.events = events
        self.state: StageState = "unchanged"
        self.facts: dict[str, Any] = {}
        self._on_line = on_line
        self._on_event = on_event
        self._offset = 0
        self._error = ""
        self._dvc_errors: list[str] = []
        self._told = False
        self._last_words = ""
        events.unlink(missing_ok=True)

    def line(self, line: str) -> None:
        whole = masked(line).rstrip()
        line = message_of(whole)
        self.state = state_by_dvc(line) or self.state
        if line.startswith("ERROR: "):
            self._dvc_errors.append(line.removeprefix("ERROR: "))
        text = line.strip()
        # The stage's last words come back as the result's `error`; they are not said twice.
        self._told = self._told or line.startswith("error: ")
        if not text or self._told or text.startswith(_CHATTER):
            return
        self._last_words = text
        if self._on_line:
            self._on_line(whole)

    def tick(self) -> None:
        events, self._offset = read_events(self.events, self._offset)
        for event in events:
            if event["kind"] == "stage_failed":
                self._error = str(event["error"])
            if event["kind"] == "result":
                self.facts = {k: v for k, v in event.items() if k not in {"kind", "time", "stage"}}
            if self._on_event:
                self._on_event(event)

    def fault(self, stage: str, code: int, log: Path, root: Path) -> str:
        """The stage's own words, else its last line and DVC's reason, else the exit code."""
        if self._error:
            return self._error
        words = [*self._dvc_errors, self._last_words]
        if plain := plain_fault(stage, words, root) or killed_error("DVC", code, where=stage):
            return str(plain)
        guess = "; ".join(filter(None, [self._last_words, *self._dvc_errors]))
        return guess or f"exit code {code}, see {log}"
