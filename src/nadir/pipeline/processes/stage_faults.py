"""Why a stage ended that could not say so itself: DVC's words and exit status, made plain."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError, disk_full_error, killed_error
from nadir.ground.workspace import fullest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_STATUS = re.compile(r"exited with (-?\d+)")
# DVC tries links and copies, and forgets why the copy failed, too.
_NO_COPY = "No possible cache link types"


def plain_fault(stage: str, words: Sequence[str], root: Path) -> NadirError | None:
    """The fault behind what DVC and the stage printed last; None where it is none of these.

    Args:
        stage: Its name.
        words: The stage's last line, and DVC's errors.
        root: The project's root.

    Returns:
        That a disk is full, with the one that has least room; that DVC can neither link nor copy
        the outputs; or that the system killed the stage's process.
    """
    for text in words:
        if full := disk_full_error(OSError(text), where=stage, written=[_cache(root)]):
            return full
        if _NO_COPY in text:
            return NadirError(
                "DVC could neither link nor copy the outputs between its cache and the project; "
                f"least room has {fullest(_cache(root))}",
                where=stage,
                fix="free space on the disks of the project and of DVC's cache (old runs: `nadir "
                "clean`) and let both be writable; then run again: finished stages are kept",
            )
        found = _STATUS.search(text)
        if found and (killed := killed_error("its process", int(found[1]), where=stage)):
            return killed
    return None


def _cache(root: Path) -> Path:
    """DVC's cache, which may be on a disk of its own."""
    from nadir.pipeline.graph import closed_repository

    named = "cache"
    with contextlib.suppress(NadirError):
        named = str(closed_repository(root).config["cache"].get("dir", named))
    return root / ".dvc" / named
