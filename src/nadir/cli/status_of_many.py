"""`nadir status FOLDER...`: the workspaces of a server side by side, a line each."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError
from nadir.ground.workspace import expanded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.table import Table

_STYLES = {"finished": "green", "failed": "bold red", "killed": "yellow", "running": "bold cyan"}


def read_workspaces(folders: Sequence[str]) -> list[dict[str, Any]]:
    """What `nadir status --json` prints of several folders.

    A workspace that cannot be read is told by its `error` and hides no other.

    Args:
        folders: Each the root of a clone.

    Returns:
        For each `workspace` (its path), `error` (None or why it cannot be read), `last_run`
        (status, started in Unix seconds, duration_s; empty before the first) and what `nadir
        status --json` prints of it alone.

    Raises:
        NadirError: A folder is no clone.
    """
    roots = [_root(folder) for folder in folders]
    return [_read(root) for root in roots]


def print_workspaces(found: Sequence[dict[str, Any]]) -> None:
    """Print them as a table, and why one could not be read below it."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 160
    console.print(_table(found))
    for row in found:
        if row["error"]:
            console.print(f"[bold red]{escape(row['workspace'])}[/]: {escape(row['error'])}")


def _root(folder: str) -> Path:
    root = expanded(folder).resolve()
    if not (root / "dvc.yaml").is_file() or not (root / "params.yaml").is_file():
        raise NadirError(
            "no clone of Nadir: `dvc.yaml` or `params.yaml` is missing",
            where=folder,
            fix="give the folders that `nadir run` is called in",
        )
    return root


def _read(root: Path) -> dict[str, Any]:
    from nadir.pipeline.record import last_run
    from nadir.pipeline.status import read_status

    os.chdir(root)
    keys = ("status", "started", "duration_s")
    last = {key: value for key, value in last_run(root).items() if key in keys}
    row: dict[str, Any] = {"workspace": str(root), "error": None, "last_run": last}
    try:
        return row | read_status(root)
    except NadirError as error:
        return row | {"error": str(error)}


def _table(found: Sequence[dict[str, Any]]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for name in ("workspace", "last run", "stages", "images", "training", "gate", "model"):
        table.add_column(name, overflow="fold", no_wrap=name != "workspace")
    for row in found:
        table.add_row(*_cells(row))
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    from rich.markup import escape

    last = row["last_run"]
    state = "running" if row.get("running") else str(last.get("status") or "-")
    told = f"[{_STYLES.get(state, 'dim')}]{escape(state)}[/]"
    if last.get("started"):
        told += f" {time.strftime('%Y-%m-%d %H:%M', time.gmtime(last['started']))} UTC"
    if row["error"]:
        return [escape(row["workspace"]), told, "[bold red]unknown[/]", "-", "-", "-", "-"]
    model, images, steps = row["model"], row["images"]["used"], row["training"]["steps"]
    aliases = ", ".join(model["aliases"])
    version = "-" if model["version"] is None else f"{model['name']} {model['version']} {aliases}"
    return [
        escape(row["workspace"]),
        told,
        _stages(row["stages"]),
        "-" if images is None else f"{images:,}",
        "-" if steps is None else f"{steps:,} steps",
        escape(row["verdict"] or "-"),
        "[yellow]unknown[/]" if model["error"] else escape(version),
    ]


def _stages(rows: Sequence[dict[str, Any]]) -> str:
    """How many are up to date, and the first that is not."""
    waiting = [row["name"] for row in rows if not row["up_to_date"]]
    told = f"{len(rows) - len(waiting)} of {len(rows)}"
    return f"[yellow]{told}, next {waiting[0]}[/]" if waiting else f"[green]{told}[/]"
