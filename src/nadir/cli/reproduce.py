"""`nadir reproduce`: the paper's claims, measured on this machine."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from nadir.ground.errors import NadirError
from nadir.ground.workspace import project_root

_PRESET = "presets/tiny.yaml"


def reproduce(
    claims: Annotated[
        str | None,
        typer.Option(help="Names or numbers of claims, with commas between; all when left out."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each arm.")] = 3,
    budget: Annotated[
        str, typer.Option(help="Time of all arms, kept ones among them, such as 45m or 2h.")
    ] = "2h",
) -> None:
    """Train small arms that differ in one thing each, judge 23 claims, write the page.

    Killed, it goes on when called again, with the same numbers: every arm is kept in
    work/reproduction by its settings, code and data. What does not fit the budget is named in
    docs/reproduction.md as not run. Every arm is an MLflow run.

    Examples:
      nadir reproduce
      nadir reproduce --claims ladder,start --budget 45m
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    from nadir.reproduction.page import write_page
    from nadir.reproduction.reproduction import Reproduction

    root = project_root()
    if not (root / _PRESET).is_file():
        raise NadirError(
            f"{_PRESET} is missing, and the arms are made from it",
            where=str(root),
            fix=f"`git checkout {_PRESET}` brings it back",
        )
    names = None if claims is None else [name.strip() for name in claims.split(",") if name.strip()]
    reproduction = Reproduction.planned(root, claims=names, seeds=seeds, budget=budget)
    chosen = "" if claims is None else f" --claims {claims}"
    command = f"nadir reproduce{chosen} --seeds {seeds} --budget {budget}"
    with reproduction.alone():
        for job in reproduction.jobs:
            reproduction.run(job, say=_say)
        page = write_page(reproduction, root / "docs", command=command)
    sys.stdout.write(f"{page}\n")


def _say(text: str) -> None:
    sys.stdout.write(f"reproduce: {text}\n")
    sys.stdout.flush()
