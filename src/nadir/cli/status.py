"""`nadir status`, and the summary at the end of `nadir run`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nadir.cli.pages import mlflow_page, prefect_page
from nadir.ground import artifacts
from nadir.ground.logs.stream import print_document
from nadir.ground.workspace import project_root

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDEST = 100
_ROOM_FOR_LAST_RUN = 86
_STATE_STYLES = {
    "running": "bold cyan",
    "up to date": "green",
    "failed": "bold red",
    "outdated": "yellow",
    "differs": "yellow",
}
_ADVICE = {
    "outdated": "made of other inputs; run `nadir run`",
    "differs": "not the files that dvc.lock names; `dvc checkout` brings those back",
}
_VERDICT_STYLES = {"promote": "green", "reject": "red", "inconclusive": "yellow"}
# The paper's check and its probes; all other metrics follow while the terminal is wide enough.
_FIRST_METRICS = ("brightness_error", "black_luminance", "white_luminance", "tag_recall")


def status(
    folders: Annotated[
        list[str] | None, typer.Argument(metavar="[FOLDER]...", help="Clones, side by side.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, whose keys stay.")] = False,
) -> None:
    """Show where things stand: stages, images, model, metrics per CFG scale.

    Examples:
      nadir status
      nadir status /srv/nadir/*   # a line for each clone
    """
    # MLflow would ask a server that is away for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    if folders:
        from nadir.cli.status_of_many import print_workspaces, read_workspaces

        several = read_workspaces(folders)
        print_document(several) if as_json else print_workspaces(several)
        return
    root = project_root()
    os.chdir(root)
    from nadir.pipeline.status import read_status

    found = read_status(root)
    if as_json:
        print_document(found)
    else:
        print_summary(found)


def print_summary(status: dict[str, Any]) -> None:
    """Print what `read_status` found, within 100 columns; without colour outside a terminal."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False)
    known = console.is_terminal or "COLUMNS" in os.environ
    console.width = min(console.width, _WIDEST) if known else _WIDEST
    console.print()
    console.print(_stages(status, console))
    console.print()
    console.print(_facts(status))
    if status["metrics"]:
        console.print()
        console.print(_metrics(status, console))
    console.print()
    console.print(_commands(status))


def _grid() -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")


def _stages(status: dict[str, Any], console: Console) -> Table:
    table = _grid()
    table.add_column("stage", no_wrap=True)
    table.add_column("state", no_wrap=True)
    if console.width >= _ROOM_FOR_LAST_RUN:
        table.add_column("last run", no_wrap=True, style="dim")
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("result", overflow="fold", style="dim")
    for stage in status["stages"]:
        state = _state(stage)
        cells = {
            "stage": stage["name"],
            "state": f"[{_STATE_STYLES.get(state, 'dim')}]{state}[/]",
            "last run": stage["state"] or "-",
            "time": _duration(stage["duration_s"]),
            "result": _outputs(stage["outputs"]),
        }
        table.add_row(*(cells[str(column.header)] for column in table.columns))
    return table


def _state(stage: dict[str, Any]) -> str:
    """Where a stage stands now, however it was run last: a pipeline, `dvc repro`, an experiment."""
    states = {
        "running": stage["running"],
        "up to date": stage["up_to_date"],
        "failed": stage["state"] == "failed",
        "outdated": stage["outdated"],
        "differs": bool(stage["differs"]),
        "incomplete": stage["missing"],
        "unknown": stage["up_to_date"] is None,
    }
    return next((state for state, holds in states.items() if holds), "not run")


def _facts(status: dict[str, Any]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("images", _images(status["images"]))
    table.add_row("buckets", _or_dash(status["buckets"]))
    table.add_row("training", _training(status["training"]))
    if status["verdict"]:
        table.add_row("gate", _gate(status["verdict"], status["verdict_reason"]))
    table.add_row("model", _model(status["model"]))
    champion = status["model"]["champion"]
    if champion and champion["weights"] == "missing":
        table.add_row("[bold red]weights[/]", _missing_weights(champion["version"]))
    for stage in status["stages"]:
        if _state(stage) == "failed":
            table.add_row("[bold red]failed[/]", f"{stage['name']}: {escape(stage['error'] or '')}")
    for state, advice in _ADVICE.items():
        names = ", ".join(s["name"] for s in status["stages"] if _state(s) == state)
        if names and not status["running"]:
            table.add_row(f"[yellow]{state}[/]", f"{names}: {advice}")
    if status["running"]:
        table.add_row(
            "[bold cyan]running[/]",
            "a pipeline is at work; what it has not reached yet stands as it was before",
        )
    return table


def _metrics(status: dict[str, Any], console: Console) -> Table:
    rows: dict[str, dict[str, float]] = status["metrics"]
    known = {name for values in rows.values() for name in values}
    names = [name for name in _FIRST_METRICS if name in known]
    names += sorted(known - set(names))
    table = _grid()
    table.add_column("CFG", justify="right", no_wrap=True)
    room = console.width - len("CFG")
    for name in names:
        room -= max(len(word) for word in (*name.split("_"), "-0.000")) + 3
        if room < 0:
            break
        table.add_column(name.replace("_", "\n"), justify="right", no_wrap=True)
    shown = names[: len(table.columns) - 1]
    for scale, values in sorted(rows.items(), key=lambda item: float(item[0])):
        table.add_row(scale, *(_number(values.get(name)) for name in shown))
    return table


def _commands(status: dict[str, Any]) -> Table:
    from rich.table import Table

    programs = _programs()
    report = status["report"] or artifacts.EVALUATION_PAGE
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(style="cyan", no_wrap=True)
    table.add_row("the report", f"{programs}python -m webbrowser {report}")
    mine = f"{programs}nadir servers   # "
    mlflow, prefect = mlflow_page(status["mlflow"]["uri"]), prefect_page()
    table.add_row("the MLflow page", mlflow or f"{mine}http://127.0.0.1:5000")
    table.add_row("the Prefect page", prefect or f"{mine}http://127.0.0.1:4200")
    return table


def _programs() -> str:
    """What to put before a program of this environment, called from the project's root."""
    folder = Path(sys.prefix)
    inside = folder.is_relative_to(Path.cwd())
    if inside and os.environ.get("VIRTUAL_ENV") != str(folder):
        return f"{folder.relative_to(Path.cwd()) / 'bin'}/"
    return ""


def _gate(verdict: str, reason: str | None) -> str:
    from rich.markup import escape

    told = f"[{_VERDICT_STYLES.get(verdict, '')}]{verdict}[/]"
    return told if verdict == "promote" else f"{told}, {escape(reason or '')}; see the report"


def _images(images: dict[str, Any]) -> str:
    if images["used"] is None:
        return "-"
    text = f"{images['used']} used"
    reasons: dict[str, int] = images["quarantined"]
    if not reasons:
        return f"{text}, none quarantined"
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    return f"{text}, {sum(reasons.values())} quarantined ({listed})"


def _training(training: dict[str, Any]) -> str:
    if training["steps"] is None:
        return "-"
    loss = f", loss {_number(training['loss'])}" if training["loss"] is not None else ""
    return f"{training['steps']} steps{loss}"


def _model(model: dict[str, Any]) -> str:
    from rich.markup import escape

    if model["error"]:
        return f"{model['name']}: unknown, {escape(model['error'])}"
    if model["version"] is None:
        return f"{model['name']}: no version yet"
    aliases = ", ".join(f"[bold]{alias}[/]" for alias in model["aliases"]) or "no alias"
    return f"{model['name']} version {model['version']}: {aliases}"


def _missing_weights(version: int) -> str:
    return (
        f"the champion, version {version}, cannot be drawn with: neither DVC's cache nor its "
        "remote has its weights; `nadir generate` says how to get them"
    )


def _outputs(paths: list[str]) -> str:
    """What one would open; numbers and plot data are in the report and in `dvc metrics show`."""
    return "\n".join(path for path in paths if not _is_side_file(path))


def _is_side_file(path: str) -> bool:
    return path.startswith(f"{artifacts.REPORTS}/") and path.endswith((".json", ".csv"))


def _duration(seconds: float | None) -> str:
    if not seconds:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    # Adding 0 turns -0.0 into 0.0.
    return f"{round(value, 3) + 0.0:.3f}" if abs(value) < 100 else f"{value:.0f}"


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)
