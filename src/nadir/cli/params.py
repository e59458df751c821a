"""`nadir params`: look at, check and change `params.yaml`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nadir.ground.logs.stream import print_document

app = typer.Typer(no_args_is_help=True, help="Look at, check and change params.yaml.")

ParamsFile = Annotated[Path, typer.Option("--params", help="The file.", metavar="FILE")]


@app.command()
def schema() -> None:
    """Print the JSON Schema of params.yaml: every key, its meaning, its allowed values."""
    from nadir.config.schema import params_schema

    print_document(params_schema())


@app.command()
def check(params: ParamsFile = Path("params.yaml")) -> None:
    """Check a parameter file; every fault is listed at once, with its line."""
    from nadir.config.edit import read_params

    read_params(params)
    sys.stdout.write(f"{params}: valid\n")


@app.command("set")
def set_(
    assignments: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...")],
    params: ParamsFile = Path("params.yaml"),
) -> None:
    """Change values in a parameter file; comments stay, and so does the file if one is wrong."""
    from nadir.config.edit import set_values

    for change in set_values(assignments, params):
        sys.stdout.write(change + "\n")
