"""`nadir promote`, `rollback` and `approve`: which version of the registered model is live."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.pipeline.promoting.operation import Outcome


def promote(
    version: Annotated[
        int | None, typer.Option(help="Which one; else the challenger.", metavar="N", min=1)
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="The same as `nadir rollback`.")] = False,
    judge: Annotated[
        bool, typer.Option("--judge", help="First compare it with the present champion.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Whatever the verdict; needs --reason.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option(help="Why it is forced; stays on the version.", metavar="TEXT")
    ] = None,
) -> None:
    """Make a version the champion, if it was judged better than the one that is live.

    Registration judges each version beside the champion of that moment. One that was judged beside
    another is refused; --judge compares the two again, and draws only what is not kept.

    Once live, the version draws pictures from the registry (gate.smoke_pictures); if one fails, the
    champion before is live again. With `gate.policy: approve` somebody has to `nadir approve` it
    first; --force is an approval.

    The dataset it was trained on becomes the one that drift is measured against:
    reference/dataset.json, to be committed.

    Examples:
      nadir promote
      nadir promote --version 3
      nadir promote --version 3 --judge
      nadir promote --force --reason "the customer likes its colours"
    """
    from nadir.ground.workspace import project_root
    from nadir.pipeline.promoting.approving import consider

    _check(version, back=back, judge=judge, force=force, reason=reason)
    if back:
        rollback()
        return
    root = project_root()
    if judge:
        _judge(root, version)
    found = consider(root, version=version, forced=force)
    if found.state == "no":
        raise found.examined.refusal or NadirError(found.reason)
    if found.state == "waits" and found.request is not None:
        raise NadirError(
            f"version {found.number} waits for an approval until {found.request.until} "
            f"({found.examined.verdict}: {found.examined.reason})",
            where=found.examined.report,
            fix=f"`nadir approve {found.number}`, or `nadir approve {found.number} --reject "
            "--reason TEXT`",
        )
    _promote(root, found.number, reason if force else None)


def rollback() -> None:
    """Make the champion before this one live again; given twice, it changes nothing in the end.

    The version that was live becomes `previous`. The reference that drift is measured against
    stays; `nadir data accept` writes it anew.

    Examples:
      nadir rollback
    """
    from nadir.ground.workspace import project_root
    from nadir.pipeline import promotion
    from nadir.pipeline.promoting.operation import Outcome

    _tell(project_root(), Outcome(promotion.rollback()))


def approve(
    version: Annotated[int, typer.Argument(help="Its number.", metavar="VERSION", min=1)],
    reject: Annotated[bool, typer.Option("--reject", help="Do not promote it.")] = False,
    reason: Annotated[str, typer.Option(help="Why; stays in the log.", metavar="TEXT")] = "",
) -> None:
    """Answer for a version that waits for an approval, and promote it.

    A flow run of Prefect that waits for this answer goes on with it (PREFECT_API_URL); its page
    takes the same answer. Without one the version is promoted here. Who has answered, when and why
    is in `nadir registry log`.

    Examples:
      nadir approve 3 --reason "colours are right again"
      nadir approve 3 --reject --reason "hands"
    """
    from nadir.cli.run import load_flow
    from nadir.ground.workspace import project_root
    from nadir.pipeline.promoting.approving import answer, waiting_request
    from nadir.tracking.store.lock import account

    if reject and not reason.strip():
        raise NadirError(
            "a rejection needs a reason", where="nadir approve", fix='write --reason "why"'
        )
    root = project_root()
    request, who = waiting_request(root, version), f"{account()}@{socket.gethostname()}"
    said = {"approve": not reject, "reason": reason}
    if request.flow_run and request.what == "asked":
        flow = load_flow(root, "promotion")
        if flow.resume(request.flow_run, **said, who=who):
            sys.stdout.write(f"answered; flow run {request.flow_run} goes on with it\n")
            return
    answer(root, request, approve=not reject, reason=reason)
    if reject:
        sys.stdout.write(f"version {version} is rejected\n")
        return
    _promote(root, version, None)


def _check(
    version: int | None, *, back: bool, judge: bool, force: bool, reason: str | None
) -> None:
    if back and version is not None:
        raise NadirError(
            "--version and --back exclude each other", where="nadir promote", fix="give one of them"
        )
    if back and (judge or force):
        raise NadirError(
            "--back takes neither --judge nor --force", where="nadir promote", fix="give it alone"
        )
    if force != bool((reason or "").strip()):
        raise NadirError(
            "--force and --reason belong together",
            where="nadir promote",
            fix='write --force --reason "why the verdict does not count"',
        )


def _promote(root: Path, version: int, force_reason: str | None) -> None:
    from nadir.pipeline.promoting.operation import promote_and_draw

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    _tell(root, promote_and_draw(root, version=version, force_reason=force_reason, say=say))


def _tell(root: Path, done: Outcome) -> None:
    """Say what it came to, to a Prefect server too where one is named."""
    from nadir.cli.run import load_flow

    if os.environ.get("PREFECT_API_URL") and done.promotion.changed:
        load_flow(root, "promotion").tell(done)
    if done.fault:
        raise NadirError(
            done.text,
            where="work/logs/smoke.log, work/smoke",
            fix="correct the version or its weights; `nadir registry log` shows what was moved",
        )
    sys.stdout.write(f"{done.text}\n")


def _judge(root: Path, version: int | None) -> None:
    """Compare a version, or the challenger, with the champion, and say what came out."""
    from nadir.pipeline.judging import judge
    from nadir.tracking.registry.versions import CHALLENGER, model_name

    name = model_name(root)
    uri = f"models:/{name}/{version}" if version is not None else f"models:/{name}@{CHALLENGER}"

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    done = judge(uri, say=say)
    sys.stdout.write(f"{done.verdict}: {done.reason}\n")
    if done.page is not None:
        sys.stdout.write(f"report: {done.page}\n")
