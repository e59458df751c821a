"""`nadir run`: the pipeline, from a folder of images to a registered model."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.workspace import expanded, project_root

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

SAMPLE_SOURCE = "data/sample"
SAMPLE_IMAGES = 2000


def run(
    data: Annotated[
        str | None, typer.Option(help="Folder of images with tags beside them.", metavar="PATH")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a parameter; may be repeated.", metavar="KEY=VALUE"),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Stop after this stage.", metavar="STAGE")
    ] = None,
) -> None:
    """Run the pipeline: only what changed is computed, a killed run goes on where it was.

    `--data` and `--set` are written to params.yaml, because that file is what DVC versions.

    Examples:
      nadir run --data ~/pictures
      nadir run --set train.learning_rate=5e-4 --set train.steps=2000
      nadir run --until validate
    """
    root, source = project_root(), None if data is None else _source_assignment(data)
    os.chdir(root)
    _check_stage(root, until)
    _write_params([*(set_ or []), *([source] if source else [])])
    _make_sample_if_missing()
    from nadir.cli.status import print_summary
    from nadir.pipeline.listing_first import Earlier, run_without_news

    earlier = Earlier()
    status = run_without_news(root, until, earlier)
    print_summary(status or load_flow(root).run_pipeline(until=until, earlier=earlier))


def _check_stage(root: Path, until: str | None) -> None:
    """Refuse a wrong name, and a folder without git, before anything is written."""
    from nadir.pipeline.graph import require_repository, stage_order
    from nadir.pipeline.record import REGISTER

    require_repository(root)
    if until not in {None, REGISTER}:
        stage_order(root, until)


def _write_params(assignments: list[str]) -> None:
    from nadir.config.edit import read_params, set_values

    changes = set_values(assignments)
    for change in changes:
        sys.stdout.write(f"params.yaml  {change}\n")
    sys.stdout.flush()
    read_params()


def _source_assignment(data: str) -> str:
    """`ingest.source=...` for a path given on the command line, or for a URI as it is."""
    if not data.strip():
        raise NadirError(
            "the path is empty",
            where="--data",
            fix="give a folder of images, or leave --data out to keep the source of params.yaml",
        )
    if "://" in data:
        return f"ingest.source={_quoted(data)}"
    path = expanded(data).resolve()
    if not path.exists():
        raise NadirError("no such folder", where=data, fix="give an existing folder of images")
    root = project_root()
    inside = path.relative_to(root) if path.is_relative_to(root) else path
    return f"ingest.source={_quoted(str(inside))}"


def _quoted(text: str) -> str:
    """Text as YAML reads it back, whatever is in it."""
    return "'" + text.replace("'", "''") + "'"


def _make_sample_if_missing() -> None:
    """Draw the sample dataset when the project still points at it and never had anything else.

    Raises:
        NadirError: Something was listed, trained or registered before: other pictures than those
            would then be taken for the ones that are missing.
    """
    from nadir.config.ingest import IngestParams
    from nadir.config.reader import read_section
    from nadir.ground.workspace import resolve_local

    source = read_section("ingest", IngestParams).source
    folder = resolve_local(source)
    if source != SAMPLE_SOURCE or folder.exists():
        return
    earlier = _earlier_work(project_root())
    if earlier:
        raise NadirError(
            f"the pictures are missing, and this project has worked with some before: {earlier}",
            where=f"{folder} (ingest.source)",
            fix=f"`nadir run --data PATH` says where they are; or `nadir sample-data {source}` "
            f"draws {SAMPLE_IMAGES} sample pictures, if it was those",
        )
    from nadir.synthetic import make_dataset

    sys.stdout.write(f"sample data  drawing {SAMPLE_IMAGES} pictures into {source}\n")
    sys.stdout.flush()
    make_dataset(folder, images=SAMPLE_IMAGES, seed=0)


def _earlier_work(root: Path) -> str:
    """What shows that the sample pictures are not the first of this project; "" if nothing."""
    from nadir.tracking.lock_file import LOCK_FILE
    from nadir.tracking.registry.versions import model_name, newest_version
    from nadir.tracking.revision import GitError, git
    from nadir.tracking.store.connection import connect, store_exists, store_faults

    for name in (LOCK_FILE, artifacts.LISTING, artifacts.TRAINING_RUN):
        if (root / name).is_file():
            return f"there is {name}"
    try:
        commit = git(root, "rev-list", "--all", "--max-count=1", "--", LOCK_FILE)
    except GitError:
        commit = ""
    if commit:
        return f"commit {commit[:12]} has {LOCK_FILE}"
    if store_exists(root):
        with store_faults(root):
            version = newest_version(connect(root), model_name(root))
        if version is not None:
            return f"the registry has version {version.version} of `{version.name}`"
    return ""


def load_flow(root: Path, name: str = "training_pipeline") -> ModuleType:
    """A module of `flows/`, which is not a part of the package.

    Raises:
        NadirError: It is missing, or Prefect cannot read its settings.
    """
    path = root / "flows" / f"{name}.py"
    from tomllib import TOMLDecodeError

    from pydantic import ValidationError

    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise NadirError("the flow is missing", where=str(path), fix="restore it from git")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    users = sorted(name for name in os.environ if name.startswith("PREFECT_"))
    try:
        spec.loader.exec_module(module)
    except (ValidationError, TOMLDecodeError) as error:
        raise _wrong_settings(error, users) from error
    return module


def _wrong_settings(error: Exception, users: list[str]) -> NadirError:
    """Prefect reads its settings while it is imported, and names none as the environment does."""
    told = " ".join(str(error).partition("\n    For further")[0].split())
    return NadirError(
        f"Prefect cannot read its settings: {told[:300]}",
        where=", ".join(users) or "Prefect",
        fix="correct or unset the variable that sets it, or correct Prefect's own file "
        "(`profiles.toml` in the folder PREFECT_HOME names, else in work/prefect)",
    )
