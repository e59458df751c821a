"""Whether a version goes live: the gate's word, then, where the policy says so, a person's.

Requests and answers are in the registry's log, so it does not matter where they are given, and a
process that was killed finds what was said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from nadir.config.gate import GateParams
from nadir.config.reader import read_section
from nadir.ground.errors import NadirError
from nadir.ground.workspace import PARAMS_FILE
from nadir.tracking.registry.move_log import read_log
from nadir.tracking.registry.promoting.decisions import (
    last_word,
    note,
    open_request,
    read_decisions,
    settle_requests,
)
from nadir.tracking.registry.promoting.examination import Examined, examine
from nadir.tracking.registry.versions import model_name
from nadir.tracking.store.connection import connect, store_faults
from nadir.tracking.store.lock import registry_lock

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient

    from nadir.tracking.registry.promoting.decisions import Decision

Policy = Literal["auto", "approve"]
_SAID = ("asked", "approved", "rejected", "timed out", "refused")


@dataclass(frozen=True)
class Considered:
    """What is to become of a version.

    Attributes:
        examined: The version, and what stands against it.
        state: `ready` to go live, `waits` for an answer, or `no`.
        reason: Of `no`: why.
        request: Of `waits`: the request.
    """

    examined: Examined
    state: Literal["ready", "waits", "no"]
    reason: str = ""
    request: Decision | None = None

    @property
    def number(self) -> int:
        """Of the version."""
        return self.examined.candidate.version


@store_faults()
def consider(
    root: Path,
    *,
    version: int | None = None,
    forced: bool = False,
    policy: Policy | None = None,
    flow_run_id: str = "",
    resumed: bool = False,
) -> Considered:
    """Ask gate and policy about a version; a refusal and a request are written into the log, once.

    A flow run that asked before stays with the version it asked for, and with the answer it got.

    Args:
        root: The project's root.
        version: Its number; None is the challenger.
        forced: Whether a person promotes it whatever was judged, which is an approval too.
        policy: None is that of params.yaml.
        flow_run_id: Prefect's id of the flow run; "" without one.
        resumed: Whether that run goes on with an answer which it has not read yet: given in time,
            it counts, however late a worker took the run.

    Raises:
        NadirError: No such version, no challenger, or the store refuses.
    """
    params = read_section("gate", GateParams, root / PARAMS_FILE)
    name, client = model_name(root), connect(root)
    with registry_lock(client, name):
        known = (read_decisions if resumed else settle_requests)(client, name)
        mine = [one for one in known if flow_run_id and one.flow_run == flow_run_id]
        mine = [one for one in mine if one.what in _SAID]
        examined = examine(root, version=mine[0].version if mine else version)
        number, last = examined.candidate.version, last_word(known, examined.candidate.version)
        if mine and mine[0].what in ("rejected", "timed out"):
            return Considered(examined, "no", mine[0].reason)
        if forced or examined.is_live:
            return Considered(examined, "ready")
        if examined.refusal is not None:
            if last is None or (last.what, last.reason) != ("refused", examined.reason):
                note(client, name, "refused", number, verdict=examined.verdict,
                     reason=examined.reason, flow_run=flow_run_id)  # fmt: skip
            return Considered(examined, "no", examined.reason)
        approved = last is not None and last.what == "approved"
        if (policy or params.policy) == "auto" or (approved and _holds(client, name, last)):
            return Considered(examined, "ready")
        request = open_request(known, number)
        if request is None or flow_run_id not in ("", request.flow_run):
            request = note(client, name, "asked", number, hours=params.answer_within_h,
                           verdict=examined.verdict, reason=examined.reason,
                           flow_run=flow_run_id)  # fmt: skip
        return Considered(examined, "waits", request=request)


@store_faults()
def waiting_request(root: Path, version: int) -> Decision:
    """The request for an approval that is open, or that was approved and not carried out yet.

    Raises:
        NadirError: There is none, its time is over, or the store refuses.
    """
    name, client = model_name(root), connect(root)
    with registry_lock(client, name):
        known = settle_requests(client, name)
        last = last_word(known, version)
        request = open_request(known, version)
        if request is None and last is not None and last.what == "approved":
            request = last if _holds(client, name, last) else None
    if request is None:
        said = f"; it is {last.what}: {last.reason}" if last else ""
        raise NadirError(
            f"no approval of version {version} is asked for{said}",
            where=str(client.tracking_uri),
            fix=f"`nadir promote --version {version}` asks for one where `gate.policy` is approve, "
            "and else promotes",
        )
    return request


@store_faults()
def answer(root: Path, request: Decision, *, approve: bool, reason: str, who: str = "") -> Decision:
    """Write the answer to a request into the log; given again, it stays one.

    Args:
        root: The project's root.
        request: As `consider` or `waiting_request` gave it.
        approve: Or reject.
        reason: Why.
        who: Who says so; "" is this account on this machine.

    Raises:
        NadirError: Somebody has answered otherwise meanwhile, or the store refuses.
    """
    name, client = model_name(root), connect(root)
    what: Literal["approved", "rejected"] = "approved" if approve else "rejected"
    with registry_lock(client, name):
        # Its time was looked at when it was taken up.
        known = read_decisions(client, name)
        last = last_word(known, request.version)
        if last is not None and last.what == what and last.flow_run == request.flow_run:
            return last
        if last is None or last.key != request.key:
            said = f"{last.what} by {last.who}: {last.reason}" if last else "removed"
            raise NadirError(
                f"the request for version {request.version} is answered already: {said}",
                where=str(client.tracking_uri),
                fix="`nadir registry log` shows it",
            )
        return note(client, name, what, request.version, who=who, verdict=request.verdict,
                    reason=reason, flow_run=request.flow_run,
                    move=_last_move(client, name))  # fmt: skip


def _last_move(client: MlflowClient, name: str) -> str:
    log = read_log(client, name)
    return next((move.key for move in log.moves if move.state == "done"), "")


def _holds(client: MlflowClient, name: str, approved: Decision | None) -> bool:
    """Whether an approval still is one: for one promotion, beside the champion of then."""
    return approved is not None and approved.move == _last_move(client, name)
