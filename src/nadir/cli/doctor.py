"""`nadir doctor`: what would break a run, and what to do about it."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    names: Annotated[
        list[str] | None, typer.Argument(help="Checks or groups to ask alone.", metavar="[NAME]...")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, whose keys stay.")] = False,
) -> None:
    """Check machine, environment, workspace and servers; each fault is told with its remedy.

    Changes nothing but for short-lived probes in `work`, in DVC's cache and in its remote. Ends
    with 1 when a check failed; a warning stops no run. Where `nadir` itself does not start,
    `python -m nadir.doctor` asks the same.

    Examples:
      nadir doctor
      nadir doctor servers dvc --json
    """
    from nadir.doctor.main import doctor as ask

    raise typer.Exit(ask(names or [], as_json=as_json))
