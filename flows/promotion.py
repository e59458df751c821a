"""Promotion as a Prefect flow: considered, approved where the policy says so, moved, drawn by.

A run for each new challenger is started by the deployment `challenger`; others by hand:

    prefect deployment run promotion/promote --param version=3
    prefect deployment run promotion/promote --param go_back=true
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from nadir.config.gate import GateParams
from nadir.config.reader import read_section
from nadir.ground.errors import NadirError
from nadir.ground.logs.setup import begin
from nadir.ground.secrets import mask_logs
from nadir.ground.workspace import PARAMS_FILE, project_root
from nadir.pipeline.promoting.announcing import champion_event
from nadir.pipeline.promoting.approving import Policy, answer, consider
from nadir.pipeline.promoting.operation import Outcome, promote_and_draw
from nadir.pipeline.promotion import rollback
from nadir.pipeline.servers.temporary_server import prefect_environment
from nadir.tracking.registry.promotion import Promotion  # noqa: TC001 - Prefect reads annotations

# Before Prefect is imported, which reads its settings and announces itself while it loads.
os.environ.update(prefect_environment())

from prefect import flow, get_run_logger, suspend_flow_run, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.exceptions import ObjectNotFound
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Failed
from pydantic import Field

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from nadir.pipeline.promoting.approving import Considered

mask_logs()
begin()

NOT_PROMOTED = "NotPromoted"
"""Name of the state of a run that ended well, and by which nothing went live."""


class Approval(RunInput):  # type: ignore[misc]  # its metaclass is not typed
    """The form that a suspended run shows."""

    decision: Literal["approve", "reject"] = Field(description="Whether it goes live.")
    reason: str = Field(default="", description="Why; it stays in the registry's log.")
    who: str = Field(default="", description="Your name, for the registry's log.")


@flow(name="promotion", persist_result=False)
def promotion(
    version: int | None = None,
    *,
    go_back: bool = False,
    force_reason: str | None = None,
    policy: Policy | None = None,
) -> int | State[Any]:
    """Make a version the champion, or the last champion live again.

    Under the policy `approve` the run is suspended with a form, and freed; it goes on here or
    elsewhere when the form is sent, on Prefect's page or by `nadir approve`.

    Args:
        version: The version to promote; None is the challenger.
        go_back: Bring the previous champion back instead.
        force_reason: Promote whatever was judged, and why; it stays on the version.
        policy: `auto` or `approve`; None is that of params.yaml.

    Returns:
        The version that is live now; a state `NotPromoted` with the reason where nothing moved, and
        a failed one where the version was live and was taken back.
    """
    if go_back and version is not None:
        raise NadirError(
            "a version and a rollback exclude each other", fix="give one of the two parameters"
        )
    if go_back:
        done = Outcome(move_back())
    else:
        found = look(
            version,
            forced=force_reason is not None,
            policy=policy,
            resumed=(flow_run.run_count or 0) > 1,
        )
        if found.state == "waits" and deployment.id:
            _ask(found)
            found = look(version, forced=False, policy=policy)
        if found.state != "ready":
            return _not_promoted(found)
        done = move_and_draw(found.number, force_reason)
    get_run_logger().info("%s", done.text)
    create_markdown_artifact(done.text, key="promotion")
    emit_event(**champion_event(done))
    return Failed(message=done.text) if done.fault else done.promotion.champion


def _ask(found: Considered) -> None:
    """Suspend the run, which ends this process, until a person answers; note the answer.

    A run that no deployment started cannot be suspended: its request is open all the same.
    """
    form = Approval.with_initial_data(description=_told(found))
    create_markdown_artifact(_told(found), key="approval")
    hours = read_section("gate", GateParams, project_root() / PARAMS_FILE).answer_within_h
    said: Any = suspend_flow_run(
        wait_for_input=form, timeout=max(1, int(hours * 3600)), key="approval"
    )
    who = f"{said.who or 'somebody'} (flow run {flow_run.name})"
    if found.request is not None:
        yes = said.decision == "approve"
        answer(project_root(), found.request, approve=yes, reason=said.reason, who=who)


def _told(found: Considered) -> str:
    """What a person is shown before the answer."""
    seen = found.examined
    beside = f"beside the champion, version {seen.champion}" if seen.champion else "alone"
    name = f"**{seen.candidate.name} version {found.number}**"
    lines = [
        f"{name}, {beside}: **{seen.verdict}**: {seen.reason}",
        f"Report: {seen.report}" if seen.report else "It has no report.",
    ]
    if found.request is not None:
        lines.append(f"Without an answer until {found.request.until} it is not promoted.")
    return "\n\n".join(lines)


def _not_promoted(found: Considered) -> State[Any]:
    text = f"version {found.number} is not promoted: {found.reason}"
    if found.state == "waits" and found.request is not None:
        text = (
            f"version {found.number} waits for `nadir approve {found.number}` until "
            f"{found.request.until}"
        )
    get_run_logger().info("%s", text)
    create_markdown_artifact(text, key="promotion")
    return Completed(name=NOT_PROMOTED, message=text)


@task(name="consider", cache_policy=NO_CACHE, persist_result=False)
def look(
    version: int | None, *, forced: bool, policy: Policy | None, resumed: bool = False
) -> Considered:
    """Ask gate and policy; a run that is resumed finds what it asked and was answered."""
    return consider(
        project_root(),
        version=version,
        forced=forced,
        policy=policy,
        flow_run_id=str(flow_run.id or "") if deployment.id else "",
        resumed=resumed,
    )


@task(name="aliases", cache_policy=NO_CACHE, persist_result=False)
def move_and_draw(version: int, force_reason: str | None) -> Outcome:
    """The one step that changes the registry; repeating a promotion changes nothing."""
    return promote_and_draw(
        project_root(),
        version=version,
        force_reason=force_reason,
        flow_run_id=str(flow_run.id or ""),
        say=get_run_logger().info,
    )


@task(name="back", cache_policy=NO_CACHE, persist_result=False)
def move_back() -> Promotion:
    """The previous champion goes live again."""
    return rollback(project_root(), flow_run_id=str(flow_run.id or ""))


def tell(done: Outcome) -> None:
    """Send a promotion's event to the Prefect server, for commands that are no flow run.

    Args:
        done: What it came to.
    """
    emit_event(**champion_event(done))


def resume(flow_run_id: str, *, approve: bool, reason: str, who: str) -> bool:
    """Send the form of a suspended run, as Prefect's page does.

    Args:
        flow_run_id: Of the run.
        approve: Or reject.
        reason: Why.
        who: Who says so.

    Returns:
        Whether the run took it; false where there is no such run any more, or it has ended.

    Raises:
        NadirError: No Prefect server is named, or the run has been answered.
    """
    if not PREFECT_API_URL.value():
        raise NadirError(
            f"a flow run of Prefect waits for this answer ({flow_run_id})",
            where="PREFECT_API_URL",
            fix="set it to the address of that server, or answer on Prefect's page",
        )
    form = {"decision": "approve" if approve else "reject", "reason": reason, "who": who}
    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(UUID(flow_run_id))
        except ObjectNotFound:
            return False
        if run.state is None or run.state.is_final():
            return False
        if not run.state.is_paused():
            raise NadirError(
                "the flow run was answered already and goes on",
                where=f"flow run {run.name}",
                fix="see Prefect's page, or `nadir registry log`",
            )
        client.resume_flow_run(run.id, run_input=form)
    return True
