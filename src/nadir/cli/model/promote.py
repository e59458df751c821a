"""`nadir promote`: choose which version of the registered model is live."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from nadir.ground.errors import NadirError


def promote(
    version: Annotated[
        int | None, typer.Option(help="Which one; else the challenger.", metavar="N", min=1)
    ] = None,
    back: Annotated[
        bool, typer.Option("--back", help="Make the champion before this one live again.")
    ] = False,
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

    The dataset it was trained on becomes the one that drift is measured against:
    reference/dataset.json, to be committed. Going back moves the alias and leaves that file.

    Examples:
      nadir promote
      nadir promote --version 3
      nadir promote --version 3 --judge
      nadir promote --force --reason "the customer likes its colours"
      nadir promote --back
    """
    from nadir.pipeline import promotion

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
    if judge:
        _judge(version)
    done = (
        promotion.rollback()
        if back
        else promotion.promote(version=version, force_reason=reason if force else None)
    )
    before = f", before it version {done.previous}" if done.previous else ""
    what = "is now" if done.changed else "is already"
    sys.stdout.write(f"{done.name}: the champion {what} version {done.champion}{before}\n")


def _judge(version: int | None) -> None:
    """Compare a version, or the challenger, with the champion, and say what came out."""
    from nadir.ground.workspace import project_root
    from nadir.pipeline.judging import judge
    from nadir.tracking.registry.versions import CHALLENGER, model_name

    name = model_name(project_root())
    uri = f"models:/{name}/{version}" if version is not None else f"models:/{name}@{CHALLENGER}"

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    done = judge(uri, say=say)
    sys.stdout.write(f"{done.verdict}: {done.reason}\n")
    if done.page is not None:
        sys.stdout.write(f"report: {done.page}\n")
