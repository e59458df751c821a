"""`nadir clean`: free the disk without touching what the registry or git still names."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import TYPE_CHECKING, Annotated

import typer

from nadir.ground.workspace import expanded, project_root

if TYPE_CHECKING:
    from nadir.pipeline.storage.cleaning import Cleaning


def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say, remove nothing.")] = False,
    keep_days: Annotated[
        float,
        typer.Option(
            min=0,
            help="How many days runs in MLflow and Prefect stay after their end.",
            metavar="N",
        ),
    ] = 30.0,
    project: Annotated[
        list[Path] | None,
        typer.Option(
            help="Another clone with the same DVC cache; may be repeated.", metavar="PATH"
        ),
    ] = None,
) -> None:
    """Free the disk: old results in DVC's cache, trainings that nothing can resume, old runs.

    What stays: every registered version's weights and what it is judged by, what the tips of
    branches and tags, experiments and the present files name, and the training that these can
    resume; of MLflow's and Prefect's runs in this clone, those of versions and of results that can
    be restored, and what ended less than N days ago. Refuses while a pipeline or an experiment
    runs, and when the registry cannot be asked. DVC's remote and servers are not touched.

    Examples:
      nadir clean --dry-run
      nadir clean
      nadir clean --keep-days 7
    """
    root = project_root()
    from nadir.pipeline.storage.cleaning import clean as remove

    others = [expanded(path).resolve() for path in project or []]
    done = remove(root, projects=others, dry_run=dry_run, keep_days=keep_days)
    _tell(done, root, dry_run=dry_run)


def _tell(done: Cleaning, root: Path, *, dry_run: bool) -> None:
    from nadir.cli.dataset.latents import readable_size

    for version in done.needed.lost:
        sys.stdout.write(
            f"warning: the weights of {version.name} version {version.version} are lost: neither "
            "DVC's cache nor its remote knows them\n"
        )
    lines = [f"DVC's cache: {done.objects} objects that nothing needs"]
    lines += [f"{_short(path, root)}: no present parameters resume it" for path in done.trainings]
    lines += [f"{_short(path, root)}: no version names it" for path in done.models]
    unused = "text states that no present parameters use"
    lines += [f"{_short(path, root)}: {unused}" for path in done.text_states]
    lines += [
        f"{_short(path, root)}: no version is judged by it"
        for path in (*done.evaluations, *done.judgements)
    ]
    if done.runs.ids:
        lines.append(f"MLflow: {len(done.runs.ids)} old runs that nothing comes from")
    if done.flow_runs:
        lines.append(f"Prefect: {done.flow_runs} old flow runs")
    aliases = [
        f"{v.name} {v.version} ({', '.join(v.aliases)})" for v in done.needed.versions if v.aliases
    ]
    lines.append(
        f"kept: {len(done.needed.versions)} registered versions{_among(aliases)}, "
        f"{done.needed.revisions} commits of branches, tags and experiments, the present files"
    )
    verb = "would be free" if dry_run else "freed"
    lines.append(f"{readable_size(done.freed)} {verb}")
    sys.stdout.write("\n".join(lines) + "\n")


def _among(aliases: list[str]) -> str:
    return f", among them {', '.join(aliases)}" if aliases else ""


def _short(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
