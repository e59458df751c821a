"""`nadir registry`: what is registered, and who made which version live."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nadir.cli.model.lineage import print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.tracking.registry.move_log import Move, MoveLog
    from nadir.tracking.registry.promoting.decisions import Decision

app = typer.Typer(no_args_is_help=True, help="Look into the registry.")

JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


@app.callback()
def group() -> None:
    """Look into the registry."""


@app.command()
def log(*, as_json: JsonOption = False) -> None:
    """Print who made which version live, when and why, newest first.

    With it what was decided: refusals, requests for an approval with their answers or the end of
    their time, and what the pictures were like that a version drew once it was live. The log lies
    with the registered model (tags `nadir.log.*`, `nadir.decision.*`), so every clone sees the
    same; it holds the last 200 moves and decisions. A move that was cut off is said to be, and the
    same command given again completes it.
    """
    from nadir.ground.workspace import project_root
    from nadir.tracking.registry.move_log import read_log
    from nadir.tracking.registry.promoting.decisions import read_decisions
    from nadir.tracking.registry.versions import model_name
    from nadir.tracking.store.connection import connect, store_faults

    root = project_root()
    with store_faults(root):
        client, name = connect(root), model_name(root)
        found, decisions = read_log(client, name), read_decisions(client, name)
    if as_json:
        entries = [{**_entry(move), "ended": move.key not in found.unended} for move in found.moves]
        said = [{**asdict(one), "is_over": one.is_over} for one in decisions]
        told = {"moves": entries, "decisions": said}
        print_json({**told, "fault": found.fault, "unreadable": found.unreadable})
        return
    for line in _merged(found, decisions):
        sys.stdout.write(line)
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
        print_json(rows)
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
        print_json(facts)
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


@app.command()
def prune(
    *,
    keep: Annotated[
        int,
        typer.Option(
            help="The newest versions that stay, and the log's last moves whose versions do.",
            metavar="N",
            min=1,
        ),
    ] = 10,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove versions that no alias, none of the log's last moves and no open request needs.

    Their files in MLflow's store of artifacts go with them; the runs that trained them stay. Their
    weights in DVC's cache go with the next `nadir clean`, copies in DVC's remote stay.

    Examples:
      nadir registry prune --dry-run
      nadir registry prune --keep 20
    """
    from nadir.cli.dataset.latents import readable_size
    from nadir.ground.workspace import project_root
    from nadir.pipeline.promoting.pruning import weights_bytes
    from nadir.tracking.registry.promoting import pruning

    root = project_root()
    verb = "would remove" if dry_run else "removes"

    def say(one: pruning.Removal) -> None:
        files = readable_size(one.files_bytes)
        sys.stdout.write(f"{verb} version {one.version.version}: {files} in MLflow\n")

    done = pruning.prune(root, keep=keep, dry_run=dry_run, say=say)
    if not done.removals:
        sys.stdout.write(f"nothing to remove: all {len(done.kept)} versions are needed\n")
        return
    freed = readable_size(sum(one.files_bytes for one in done.removals))
    weights = readable_size(weights_bytes(root, done))
    sys.stdout.write(
        f"{'would free' if dry_run else 'freed'} {freed} in MLflow; {len(done.kept)} versions "
        f"stay. `nadir clean` can then free up to {weights} of DVC's cache\n"
    )


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


def _merged(log: MoveLog, decisions: Sequence[Decision]) -> list[str]:
    """Moves and decisions in one list, newest first."""
    from nadir.tracking.registry.promoting.decisions import open_request

    # In the second of a move an answer came before it, and its pictures after it.
    lines = [(m.at, 1, m.number, _line(m, ended=m.key not in log.unended)) for m in log.moves]
    for one in decisions:
        rank = 2 if one.move and one.what != "approved" else 0
        line = _decision(one, is_open=open_request(decisions, one.version) == one)
        lines.append((one.at, rank, one.number, line))
    return [line for *_, line in sorted(lines, reverse=True)]


def _decision(one: Decision, *, is_open: bool) -> str:
    at, who = one.at[:19].replace("T", " "), one.who
    if one.flow_run:
        who += f", flow run {one.flow_run}"
    until = ""
    if one.until:
        until = f" until {one.until[:16].replace('T', ' ')} UTC"
    said = ": ".join(filter(None, [one.verdict, one.reason]))
    over = " [NOT ANSWERED IN TIME: not promoted]" if is_open and one.is_over else ""
    return f"- {at} UTC  version {one.version} {one.what}{until}{over}  {who}\n  {said}\n"


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
