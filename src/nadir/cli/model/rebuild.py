"""`nadir rebuild`: what a version was made of, in a folder of its own."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nadir.ground.errors import NadirError
from nadir.ground.workspace import expanded

if TYPE_CHECKING:
    from nadir.pipeline.lineage.rebuilding import Rebuilt


def rebuild(
    model: Annotated[
        str,
        typer.Argument(
            help="models:/NAME@ALIAS, models:/NAME/VERSION, a number or an alias.", metavar="MODEL"
        ),
    ] = "champion",
    *,
    check: Annotated[
        bool,
        typer.Option("--check", help="Only see whether it is whole; leaves no folder behind."),
    ] = False,
    into: Annotated[
        Path | None, typer.Option(help="The folder to write, missing or empty.", metavar="FOLDER")
    ] = None,
) -> None:
    """Restore code, parameters and data of a version, and have DVC see that all is there.

    Nothing is run. The version's commit is checked out into a git worktree, fetched from a git
    remote where this clone lacks it; its outputs come from DVC's cache or remote. What is missing
    or not as it was is named, and the exit code is 1.

    With --check the worktree is temporary. With --into it stays: `make install` in it gives it an
    environment of its own, and `nadir run` there finds every stage but the listing unchanged.

    Examples:
      nadir rebuild champion --check
      nadir rebuild models:/nadir/3 --into ~/nadir-3
    """
    if check == (into is not None):
        raise NadirError(
            "give either --check or --into FOLDER",
            where="nadir rebuild",
            fix="`nadir rebuild champion --check` leaves nothing behind",
        )
    from nadir.ground.workspace import project_root
    from nadir.pipeline.lineage.rebuilding import check_rebuilding
    from nadir.pipeline.lineage.rebuilding import rebuild as restore
    from nadir.tracking.registry.versions import version_uri

    root = project_root()
    uri = version_uri(model, root)
    if into is None:
        found = check_rebuilding(uri, root)
    else:
        into = (Path.cwd() / expanded(into)).resolve()
        found = restore(uri, into, root)
    _tell(found, into)
    if found.missing:
        raise typer.Exit(1)


def _tell(found: Rebuilt, into: Path | None) -> None:
    version = found.version
    where = f" in {found.project}" if into else ""
    sys.stdout.write(
        f"{version.name} version {version.version}, commit {found.commit[:12]}: "
        f"{found.outputs} outputs of its stages{where}\n"
    )
    for what in found.missing:
        sys.stdout.write(f"not found: {what}\n")
    if not found.missing:
        sys.stdout.write("DVC finds all of it and would run no stage but the listing\n")
    if into:
        project, folder = (shlex.quote(str(path)) for path in (found.project, into))
        sys.stdout.write(
            f"to work there: cd {project} && make install && . .venv/bin/activate\n"
            f"to remove it: git worktree remove --force {folder}\n"
        )
