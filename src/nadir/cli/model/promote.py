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
) -> None:
    """Make a version the champion, if the gate of its evaluation said `promote`.

    The dataset it was trained on becomes the one that drift is measured against:
    reference/dataset.json, to be committed. Going back moves the alias and leaves that file.

    Examples:
      nadir promote
      nadir promote --version 3
      nadir promote --back
    """
    from nadir.pipeline import promotion

    if back and version is not None:
        raise NadirError(
            "--version and --back exclude each other", where="nadir promote", fix="give one of them"
        )
    done = promotion.rollback() if back else promotion.promote(version=version)
    before = f", before it version {done.previous}" if done.previous else ""
    what = "is now" if done.changed else "is already"
    sys.stdout.write(f"{done.name}: the champion {what} version {done.champion}{before}\n")
