"""A promotion from end to end: aliases, then pictures drawn by what is live, else all back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nadir.config.gate import GateParams
from nadir.config.reader import read_section
from nadir.ground.workspace import PARAMS_FILE, main_workspace
from nadir.pipeline.processes.told_process import run_told
from nadir.pipeline.promotion import promote
from nadir.tracking.registry.move_log import Move, read_log
from nadir.tracking.registry.promoting.decisions import note, read_decisions
from nadir.tracking.registry.promotion import Promotion, take_back
from nadir.tracking.store.connection import connect, store_faults, tracking_uri
from nadir.tracking.store.lock import registry_lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """What a promotion came to.

    Attributes:
        promotion: The aliases as they are in the end.
        fault: What was wrong with its pictures, so that the champion before is live again; "" where
            nothing was.
    """

    promotion: Promotion
    fault: str = ""

    @property
    def text(self) -> str:
        """In one line."""
        done = self.promotion
        before = f", before it version {done.previous}" if done.previous else ""
        what = "is now" if done.changed else "is already"
        live = f"the champion {what} version {done.champion}{before}"
        if self.fault:
            number = f"version {done.champion}" if done.champion else "none"
            again = f"is {number} again" if done.changed else f"stays {number}"
            live = f"the champion {again}: {self.fault}"
        return f"{done.name}: {live}"


def promote_and_draw(
    root: Path,
    *,
    version: int,
    force_reason: str | None = None,
    flow_run_id: str = "",
    say: Callable[[str], None],
) -> Outcome:
    """Make a version the champion, have it draw, and take it back if it does not draw well.

    Given again after a kill, it goes on where it was: a version that is live without sound pictures
    draws them.

    Args:
        root: The project's root.
        version: Its number.
        force_reason: Promote whatever was judged, and why.
        flow_run_id: Prefect's id of the flow run; "" without one.
        say: Called with lines about what is drawn.

    Raises:
        NadirError: It may not be promoted, or the store refuses.
    """
    done = promote(root, version=version, force_reason=force_reason, flow_run_id=flow_run_id)
    pictures = read_section("gate", GateParams, root / PARAMS_FILE).smoke_pictures
    move = _undrawn(root, done) if pictures else None
    if move is None:
        return Outcome(done)
    say(f"promote: version {done.champion} draws {pictures} pictures, from the registry")
    fault, told = _draw(root, done, pictures)
    _note(root, done, move, fault or told, sound=not fault, flow_run_id=flow_run_id)
    if not fault:
        say(f"promote: {told}")
        return Outcome(done)
    reason = f"pictures of version {done.champion} failed: {fault}"
    return Outcome(take_back(root, move, reason=reason, flow_run_id=flow_run_id), reason)


@store_faults()
def _undrawn(root: Path, done: Promotion) -> Move | None:
    """The move that made a version live, where its pictures are not known to be sound."""
    client = connect(root)
    moves = read_log(client, done.name).moves
    last = next((move for move in moves if move.state == "done"), None)
    if last is None or last.how not in ("promote", "forced"):
        return None
    drawn = {one.move for one in read_decisions(client, done.name) if one.what == "pictures sound"}
    live = last.versions[1] == str(done.champion)
    return last if live and last.key not in drawn else None


def _draw(root: Path, done: Promotion, pictures: int) -> tuple[str, str]:
    """What was wrong with the pictures ("" of sound ones), and what they are like."""
    folder = main_workspace(root) / "work" / "smoke" / f"{done.name}-{done.champion}"
    told = run_told(
        "nadir.stages.registering.smoke",
        [f"models:/{done.name}/{done.champion}", str(pictures), str(folder)],
        root,
        environment={"MLFLOW_TRACKING_URI": tracking_uri(root), "NADIR_PROJECT": str(root)},
    )
    if told.result is None:
        return told.fault, ""
    return "", f"{pictures} of {pictures} pictures sound: {json.dumps(told.result['spread'])}"


@store_faults()
def _note(
    root: Path, done: Promotion, move: Move, reason: str, *, sound: bool, flow_run_id: str
) -> None:
    client = connect(root)
    with registry_lock(client, done.name):
        note(client, done.name, "pictures sound" if sound else "pictures failed", done.champion,
             reason=reason, flow_run=flow_run_id, move=move.key)  # fmt: skip
