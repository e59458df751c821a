"""A run that lists the source first, and ends there when nothing is new.

Prefect's server and MLflow cost seconds to start. They are started when a stage has to run, or a
registration is due. With a Prefect server of the user's own every run is a flow run of it.
"""

from __future__ import annotations

import os
import tomllib
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nadir.ground.logs.entry import bind
from nadir.ground.workspace import main_workspace
from nadir.pipeline.console import PipelineConsole
from nadir.pipeline.freshness import change_of_inputs
from nadir.pipeline.opening import open_session
from nadir.pipeline.processes.signals import interrupted_when_told_to_stop
from nadir.pipeline.status import read_status
from nadir.tracking.lock_file import read_lock, stage_definitions

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.pipeline.processes.process import StageResult
    from nadir.pipeline.session import Session

# Files beside the project from which Prefect takes the address of a server, too; the last one has
# much else in it.
_SETTINGS, _PYPROJECT = ("prefect.toml", ".env"), "pyproject.toml"


@dataclass
class Earlier:
    """What ran before the flow, for the flow to tell.

    Attributes:
        results: By stage.
        lines: What each printed.
    """

    results: dict[str, StageResult] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)


def run_without_news(root: Path, until: str | None, earlier: Earlier) -> dict[str, Any] | None:
    """Run what always runs, which lists the source; the whole run, when that has no news.

    Args:
        root: The project's root.
        until: Run only this stage and what it needs; None runs all and registers.
        earlier: Gets what ran.

    Returns:
        `read_status` afterwards; None when the flow has to do the rest.

    Raises:
        NadirError: The source cannot be listed, or another pipeline holds the workspace.
    """
    if _names_a_server(root) or not _may_have_no_news(root):
        return None
    console = PipelineConsole()
    with (
        interrupted_when_told_to_stop(),
        open_session(root, until=until, flow_run_id=str(uuid.uuid4()), name="listing") as session,
    ):
        for note in session.notes:
            console.note(note)
        if not (_passes_over_stages(session, console, earlier) and _registers(session, console)):
            return None
    bind(stage=None)
    return read_status(root, outputs_are_known=until is None)


def _passes_over_stages(session: Session, console: PipelineConsole, earlier: Earlier) -> bool:
    """Whether no stage has anything to do, but those that always run."""
    for stage in session.stages:
        if session.always_runs(stage):
            lines = earlier.lines.setdefault(stage, [])

            def say(line: str, lines: list[str] = lines) -> None:
                lines.append(line)
                console.line(line)

            result: StageResult | None = session.run(stage, on_line=say)
        else:
            result = session.pass_over(stage, console.line)
        if result is None:
            return False
        console.ended(result)
        earlier.results[stage] = result
    return True


def _registers(session: Session, console: PipelineConsole) -> bool:
    """Whether registering would do nothing, or is not asked for."""
    if not session.registers:
        return True
    lines = session.registering.pass_over()
    for line in lines or ():
        console.note(line)
    return lines is not None


def _may_have_no_news(root: Path) -> bool:
    """Whether code and parameters of every stage are those of `dvc.lock`; its data is not read."""
    lock = read_lock(root)
    return all(
        name in lock and (definition.get("always_changed") or not _changed(name, root, lock))
        for name, definition in stage_definitions(root).items()
    )


def _changed(stage: str, root: Path, lock: dict[str, dict[str, Any]]) -> bool:
    return bool(change_of_inputs(stage, root, lock[stage]))


def _names_a_server(root: Path) -> bool:
    """Whether Prefect may have been told of a server; its own settings take seconds to read."""
    names = ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH")
    if any(os.environ.get(name) for name in names):
        return True
    home = os.environ.get("PREFECT_HOME") or main_workspace(root) / "work" / "prefect"
    return (
        (main_workspace(root) / home / "profiles.toml").exists()
        or any((root / name).exists() for name in _SETTINGS)
        or _is_of_prefect(root / _PYPROJECT)
    )


def _is_of_prefect(file: Path) -> bool:
    """Whether a TOML file has a table of Prefect's, or cannot be read, which Prefect then says."""
    try:
        return "prefect" in tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {})
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
