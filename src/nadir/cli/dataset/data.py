"""`nadir data`: decisions about the dataset."""

from __future__ import annotations

import sys

import typer

app = typer.Typer(no_args_is_help=True, help="Decide about the dataset.")


@app.callback()
def group() -> None:
    """Decide about the dataset."""


@app.command()
def accept() -> None:
    """Accept the present dataset: from now on drift is measured against it.

    Writes reference/dataset.json, which git tracks; commit it. Promotion does the same with the
    dataset of the promoted model.
    """
    from nadir.data.gate.accepted_profile import REFERENCE, accept
    from nadir.ground import artifacts
    from nadir.ground.workspace import project_root

    root = project_root()
    changed = accept(root / artifacts.PROFILE, root)
    done = "now describes the present dataset; commit it" if changed else "describes it already"
    sys.stdout.write(f"{REFERENCE}: {done}\n")
