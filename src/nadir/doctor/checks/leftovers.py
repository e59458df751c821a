"""What killed runs left: locks, half-written files, processes, records that were not sent."""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.doctor.finding import Check, Finding, none, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil

    from nadir.doctor.scene import Scene

_OLD_S = 60.0  # a file that is being written is younger, or grows
_SHOWN = 5
# Processes that always have something above them which waits for their end.
_SUPERVISED = ("nadir.stages.", "nadir.training.", "nadir.compute.worker", "accelerate.commands")


def _workspace(scene: Scene) -> Finding:
    """A lock that outlives its pipeline is held by a stage of it."""
    import psutil

    from nadir.ground.locks import holder_of, is_held

    path = scene.work / "pipeline" / "lock"
    if not is_held(path):
        return ok("no pipeline holds the workspace")
    holder = holder_of(path)
    if holder is not None and psutil.pid_exists(holder):
        return none(f"a pipeline (process {holder}) is at work")
    stages = _holders(path)
    listed = " ".join(str(pid) for pid in stages)
    return warning(
        f"the pipeline was killed, and what it started holds the workspace (processes {listed})",
        f"wait until the stage has saved its work (see work/logs), or `kill -INT {listed}`",
    )


def _holders(path: Path) -> list[int]:
    """Processes that have the file open; of others' one may see none."""
    wanted = path.resolve()
    return [p.pid for p in _processes() if wanted in _open_files(p)]


def _open_files(process: psutil.Process) -> set[Path]:
    folder = Path(f"/proc/{process.pid}/fd")
    found = set()
    try:
        for link in folder.iterdir():
            found.add(link.readlink())
    except OSError:
        return found
    return found


def _orphans(scene: Scene) -> Finding:
    """Stages whose supervisor is gone: whatever started them adopts them no more."""
    root = scene.root.resolve()
    lost = [process for process in _processes() if _is_lost(process, root)]
    if not lost:
        return ok("no process of this workspace has lost what started it")
    told = ", ".join(str(process.pid) for process in lost)
    return warning(
        f"processes of this workspace run on though what started them is gone: {told}",
        f"`kill -INT {told.replace(',', '')}`, upon which they save their work",
    )


def _is_lost(process: psutil.Process, root: Path) -> bool:
    import psutil

    try:
        command = " ".join(process.cmdline())
        if not any(name in command for name in _SUPERVISED):
            return False
        inside = Path(process.cwd()).resolve().is_relative_to(root)
        parent = process.parent()
        adopted = parent is None or parent.pid == 1 or parent.name() in {"systemd", "init", "tini"}
    except psutil.Error:
        return False
    return inside and adopted


def _processes() -> Iterator[psutil.Process]:
    import psutil

    mine = os.getuid()
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and mine in {0, process.uids().real}:
                yield process
        except psutil.Error:
            continue


def _dvc_lists(scene: Scene) -> Finding:
    """DVC's list of who reads and writes what, which it reads before everything else."""
    import psutil

    path = scene.root / ".dvc" / "tmp" / "rwlock"
    if not path.is_file():
        return ok("nothing is locked in DVC")
    remove = "`rm .dvc/tmp/rwlock`, or `nadir run`, which mends it"
    try:
        entries = json.loads(path.read_bytes())
        writers = list(entries.get("write", {}).values())
        readers = [entry for listed in entries.get("read", {}).values() for entry in listed]
        numbers = {int(entry["pid"]) for entry in (*writers, *readers)}
    except (ValueError, AttributeError, KeyError, TypeError):
        return warning("DVC's list of locks is cut off; `dvc` refuses to work", remove)
    gone = sorted(number for number in numbers if not psutil.pid_exists(number))
    if gone:
        return warning(f"DVC's list names processes that are gone: {gone}", remove)
    return none(f"DVC works: processes {sorted(numbers)}") if numbers else ok("nothing is locked")


def _git_lock(scene: Scene) -> Finding:
    path = scene.root / ".git" / "index.lock"
    if not path.is_file() or time.time() - path.stat().st_mtime < _OLD_S:
        return ok("git is not locked")
    return warning(
        "a git command was killed, and no other can write: .git/index.lock",
        "if no git command runs, `rm .git/index.lock`",
    )


def _half_written(scene: Scene) -> Finding:
    """What `nadir.ground.files` writes beside a file before it moves it into place."""
    left = [path for name in ("data", "models", "reports", "work") for path in _torn(scene, name)]
    if not left:
        return ok("no half-written files")
    listed = " ".join(shlex.quote(str(path.relative_to(scene.root))) for path in left[:_SHOWN])
    more = f" ({len(left)} in all)" if len(left) > _SHOWN else ""
    return warning(
        f"half-written, by processes that were killed: {listed}{more}",
        f"when nothing runs, `rm -r {listed}`",
    )


def _torn(scene: Scene, name: str) -> Iterator[Path]:
    # Sorted, so that of many the same are named each time.
    for path in sorted((scene.root / name).rglob(".*.tmp")):
        if time.time() - path.stat().st_mtime > _OLD_S:
            yield path


def _records(scene: Scene) -> Finding:
    from nadir.ground.locks import is_held

    if is_held(scene.work / "pipeline" / "lock"):
        return none("a pipeline is at work")
    runs = [*(scene.work / "pipeline" / "runs").glob("*.json")]
    unsent = [p for p in (scene.work / "mlflow" / "unsent").glob("*") if p.is_dir()]
    if not runs and not unsent:
        return ok("MLflow has been told everything")
    return warning(
        f"{len(runs)} MLflow runs were left open, and {len(unsent)} have records to be sent",
        "`nadir run`, which closes and sends them",
    )


LEFTOVERS = (
    Check("workspace-lock", "leftovers", _workspace),
    Check("orphans", "leftovers", _orphans),
    Check("dvc-locks", "leftovers", _dvc_lists),
    Check("git-lock", "leftovers", _git_lock),
    Check("half-written", "leftovers", _half_written),
    Check("mlflow-records", "leftovers", _records),
)
