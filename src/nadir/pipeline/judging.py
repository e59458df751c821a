"""Challenger against champion: what is not kept is drawn by a process of its own, then judged."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.ground.workspace import project_root
from nadir.pipeline.processes.told_process import run_told
from nadir.pipeline.storage.cache import materialise
from nadir.tracking.registry.card import describe
from nadir.tracking.registry.evaluations import evaluation_folder
from nadir.tracking.registry.judgements import Judged, judge_version
from nadir.tracking.registry.versions import Version, resolve_version

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def judge(uri: str, root: Path | None = None, *, say: Callable[[str], None]) -> Judged:
    """Judge a version beside the champion of this moment.

    Args:
        uri: Such as `models:/nadir/3`.
        root: The project's root.
        say: Called with lines about what is drawn.

    Raises:
        NadirError: No such version, or the store refuses.
    """
    root = root or project_root()
    return judge_known(resolve_version(uri, root), root, say=say)


def judge_known(version: Version, root: Path, *, say: Callable[[str], None]) -> Judged:
    """As `judge`, of a version at hand."""

    def draw(champion: Version, candidate: Version, protocol_id: str | None) -> str:
        plan_of = materialise(candidate.md5, root, version=candidate)
        drawn = protocol_id
        for one in (champion, candidate):
            kept = drawn and evaluation_folder(root, drawn, one.md5).is_dir()
            if not kept:
                say(f"judge: draws version {one.version} by the candidate's protocol")
                drawn = _redraw(
                    materialise(one.md5, root, version=one), plan_of, one.md5, root, say
                )
        return drawn or ""

    judged = judge_version(root, version, draw=draw)
    describe(version, root)  # with the verdict
    return judged


def _redraw(folder: Path, plan_of: Path, md5: str, root: Path, say: Callable[[str], None]) -> str:
    """Run `nadir.stages.registering.redraw`; returns the protocol.

    Raises:
        NadirError: It failed.
    """
    start = time.monotonic()
    told = run_told(
        "nadir.stages.registering.redraw",
        [str(folder), str(plan_of), md5],
        root,
        on_line=lambda line: say(line.rstrip()) if line.startswith("evaluate: ") else None,
    )
    if told.result is None:
        raise NadirError(
            f"drawing it failed: {told.fault}",
            where=str(told.log),
            fix="correct what it says; `nadir promote --judge` judges again",
        )
    say(f"judge: drawn in {time.monotonic() - start:.0f} s")
    return str(told.result["protocol_id"])
