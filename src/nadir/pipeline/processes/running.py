"""What runs in the workspace now: who holds it, and which stage is being computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from nadir.ground import locks
from nadir.pipeline.record import last_run, pipeline_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DVC_LOCKS = Path(".dvc/tmp/rwlock")


def is_held(root: Path) -> bool:
    """Whether a pipeline, or a stage that one left behind, holds the workspace."""
    return locks.is_held(pipeline_folder(root) / "lock")


def running_stages(root: Path, outputs: Mapping[str, Sequence[str]]) -> dict[str, int | None]:
    """Stages that are computed now, whatever started them, with the process where it is known.

    Args:
        root: The project's root.
        outputs: Paths that each stage writes, relative to the root.
    """
    written = _written(root)
    running: dict[str, int | None] = {}
    for stage, paths in outputs.items():
        pids = [written[path] for path in paths if path in written]
        if pids:
            running[stage] = pids[0]
    current = last_run(root).get("current") if is_held(root) else None
    return running if current is None else {str(current): None, **running}


def _written(root: Path) -> dict[str, int]:
    """Paths that a living DVC writes, with its process; DVC's own record, whatever it holds."""
    try:
        entries: dict[str, Any] = json.loads((root / _DVC_LOCKS).read_text(encoding="utf-8"))
        writers = {str(path): int(info["pid"]) for path, info in entries["write"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    inside = {Path(path): pid for path, pid in writers.items() if _is_dvc(pid)}
    return {
        str(path.relative_to(root) if path.is_relative_to(root) else path): pid
        for path, pid in inside.items()
    }


def _is_dvc(pid: int) -> bool:
    """A number may have been given to another process since, whose files may be named after DVC."""
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    # `dvc …`, `python -m dvc …`, or forked off the process that has DVC loaded.
    return any(Path(word).stem == "dvc" or word.endswith(".dvc_launcher") for word in words)
