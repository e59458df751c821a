"""`nadir registry`: what is registered, and who made which version live."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from nadir.tracking.registry.move_log import Move

app = typer.Typer(no_args_is_help=True, help="Look into the registry.")

JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


@app.callback()
def group() -> None:
    """Look into the registry."""


@app.command()
def log(*, as_json: JsonOption = False) -> None:
    """Print who made which version live, when and why, newest first.

    The log lies with the registered model (tags `nadir.log.*`), so every clone sees the same; it
    holds the last 200 moves. A move that was cut off is said to be, and the same command given
    again completes it.
    """
    from nadir.ground.workspace import project_root
    from nadir.tracking.registry.move_log import read_log
    from nadir.tracking.registry.versions import model_name
    from nadir.tracking.store.connection import connect, store_faults

    root = project_root()
    with store_faults(root):
        found = read_log(connect(root), model_name(root))
    if as_json:
        entries = [{**_entry(move), "ended": move.key not in found.unended} for move in found.moves]
        _print_json({"moves": entries, "fault": found.fault, "unreadable": found.unreadable})
        return
    for move in found.moves:
        sys.stdout.write(_line(move, ended=move.key not in found.unended))
    if not found.moves:
        sys.stdout.write("no version was made live yet, or none since Nadir keeps this log\n")
    for key in found.unreadable:
        sys.stdout.write(f"the entry {key} cannot be read: somebody changed it\n")
    if found.fault:
        sys.stdout.write(f"warning: {found.fault}\n")


@app.command("list")
def list_versions(
    *,
    last: Annotated[
        int, typer.Option(help="How many, the newest; 0 is all.", metavar="N", min=0)
    ] = 20,
    as_json: JsonOption = False,
) -> None:
    """Print the versions with aliases, verdict, time, the metric that decides, and their weights.

    Weights are `here` (in DVC's cache), where they were sent to, or `not here`; no remote is asked.
    """
    from nadir.ground.workspace import project_root
    from nadir.pipeline.lineage.versions import version_rows

    rows = version_rows(project_root(), newest=last or None)
    if as_json:
        _print_json(rows)
        return
    head = ("version", "created (UTC)", "gate", "judged", "metric", "weights", "aliases")
    table = [head, *(_cells(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


@app.command()
def show(
    version: Annotated[
        str,
        typer.Argument(
            help="A number, an alias, models:/NAME/N or models:/NAME@ALIAS.", metavar="VERSION"
        ),
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Print what the registry knows of one version, and whether its weights can be had.

    With --json also every metric of its run.

    Examples:
      nadir registry show 3
      nadir registry show champion --json
    """
    from nadir.ground.workspace import project_root
    from nadir.pipeline.lineage.versions import version_facts
    from nadir.tracking.registry.versions import version_uri

    root = project_root()
    facts = version_facts(version_uri(version, root), root)
    if as_json:
        _print_json(facts)
        return
    facts["metrics"] = f"{len(facts['metrics'])} (--json prints them)"
    moves = {
        move["at"]: f"{move['number']} {move['how']} {move['from'] or 'none'} -> {move['to']}"
        for move in facts.pop("moves")
    }
    groups = {"moves": moves, "tags": facts.pop("tags")}
    for name, value in facts.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        sys.stdout.write(f"{name}: {'-' if shown in (None, '') else shown}\n")
    for group, values in groups.items():
        sys.stdout.write(f"{group}:\n")
        for name, value in values.items():
            sys.stdout.write(f"  {name}: {value}\n")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    judged = row["judged"] or "-"
    if row["against"] not in (None, "none"):
        judged += f" beside {row['against']}"
    metric = "-" if row["value"] is None else f"{row['metric']} {row['value']:.4g}"
    created = (row["created"] or "-")[:16].replace("T", " ")
    aliases = ", ".join(row["aliases"])
    return (
        str(row["version"]),
        created,
        row["gate"] or "-",
        judged,
        metric,
        row["weights"],
        aliases,
    )


def _entry(move: Move) -> dict[str, Any]:
    old, new = move.versions
    names = ("number", "at", "how", "user", "host", "flow_run", "verdict", "reason", "state")
    facts = {name: getattr(move, name) for name in names}
    return {**facts, "from": old, "to": new, "before": move.before, "after": move.after}


def _line(move: Move, *, ended: bool) -> str:
    old, new = move.versions
    at = move.at[:19].replace("T", " ")
    who = f"{move.user}@{move.host}"
    if move.flow_run:
        who += f", flow run {move.flow_run}"
    told = "" if move.state == "done" else f" [{move.state.upper()}]"
    if move.state == "done" and not ended:
        told = " [its end was not written down]"
    verdict = f"{move.verdict}: {move.reason}" if move.reason else move.verdict
    return (
        f"{move.number} {at} UTC  {move.how} {old or 'none'} -> {new}{told}  {who}\n  {verdict}\n"
    )


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
