"""The order of the stages and what has changed, as DVC sees them."""

from __future__ import annotations

import contextlib
import difflib
import shutil
import sqlite3
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError
from nadir.ground.files import DamagedJsonError, read_json_object, write_json
from nadir.ground.workspace import PARAMS_FILE
from nadir.pipeline.freshness import Change, change_by_dvc
from nadir.pipeline.processes.process import require_user_name
from nadir.pipeline.record import pipeline_folder
from nadir.tracking.lock_file import LOCK_FILE, damaged_lock_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dvc.repo import Repo

StageGraph = dict[str, frozenset[str]]


def stage_graph(root: Path) -> StageGraph:
    """Each stage of `dvc.yaml`, in the file's order, with the stages it directly depends on.

    Raises:
        NadirError: No DVC project, or DVC cannot make sense of `dvc.yaml`.
    """
    with open_repository(root) as repo:
        return graph_of(repo)


def pipeline_graph(root: Path) -> StageGraph:
    """`stage_graph`, remembered for as long as `dvc.yaml` is the same.

    Raises:
        NadirError: As `stage_graph`, where DVC has to be asked.
    """
    try:
        text = (root / "dvc.yaml").read_bytes()
    except OSError:
        return stage_graph(root)
    key = f"{sha256(text).hexdigest()} {version('dvc')}"
    file = pipeline_folder(root) / "graph.json"
    with contextlib.suppress(OSError, DamagedJsonError, KeyError, TypeError):
        kept = read_json_object(file)
        if kept["of"] == key:
            return {name: frozenset(needed) for name, needed in kept["stages"]}
    graph = stage_graph(root)
    write_json(file, {"of": key, "stages": [[name, sorted(graph[name])] for name in graph]})
    return graph


def graph_of(repo: Repo) -> StageGraph:
    """`stage_graph` of a repository that is open."""
    from dvc.stage import PipelineStage

    graph = repo.index.graph
    stages = [stage for stage in repo.index.stages if isinstance(stage, PipelineStage)]
    return {
        stage.name: frozenset(needed.name for needed in graph.successors(stage)) for stage in stages
    }


@contextlib.contextmanager
def open_repository(root: Path) -> Iterator[Repo]:
    """DVC's repository, which waits for DVC's lock; reading its pipeline takes a second.

    Raises:
        NadirError: No DVC project, or what DVC could not do with it in the block.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    require_user_name()
    require_repository(root)
    try:
        with Repo(str(root), _wait_for_lock=True) as repo:
            yield repo
    except DvcException as error:
        raise _unreadable(error, root) from error
    except sqlite3.DatabaseError as error:
        raise NadirError(
            f"the database of what DVC remembers is damaged: {error}",
            where=closed_repository(root).site_cache_dir,
            fix="delete that folder; DVC finds out again what it held",
        ) from error


def import_dvc() -> None:
    """Import DVC, which takes a second that may be spent while something else is waited for."""
    import dvc.repo  # noqa: F401


def require_repository(root: Path) -> None:
    """Refuse a folder that is no git or no DVC repository, as a download without git makes one.

    Raises:
        NadirError: What is missing, and how to make it.
    """
    from dvc.scm import SCM, SCMError

    has_settings = (root / ".dvc").is_dir()
    settings = closed_repository(root).config["core"] if has_settings else {}
    try:
        SCM(str(root), no_scm=settings.get("no_scm", False))
    except SCMError as error:
        git = "" if shutil.which("git") else "install git, then "
        raise NadirError(
            "the project is not a git repository, and DVC needs one",
            where=str(root),
            fix=f"there, {git}`git init && git add --all && git commit -m 'As downloaded'`; or "
            "clone the project instead of downloading it",
        ) from error
    if not has_settings:
        raise NadirError(
            "the folder `.dvc` is missing, which holds the settings of DVC",
            where=str(root),
            fix="`git checkout .dvc`, or unpack the download again with its hidden files",
        )


def closed_repository(root: Path) -> Repo:
    """DVC's repository with its settings, but without its databases, which may be damaged.

    Raises:
        NadirError: The user has no name, or a file of the settings is damaged.
    """
    from dvc.config import ConfigError
    from dvc.fs import LocalFileSystem
    from dvc.repo import Repo

    require_user_name()
    repo = Repo.__new__(Repo)
    repo.root_dir, repo.dvc_dir = str(root), str(root / ".dvc")
    vars(repo).update(_fs=LocalFileSystem(), _config=None, _remote=None, _remote_config=None)
    try:
        _ = repo.config  # read here, so that nobody else has to expect damage
    except ConfigError as error:
        raise NadirError(
            f"DVC cannot read its settings: {error}",
            where=str(root / ".dvc"),
            fix="correct `.dvc/config` and `.dvc/config.local`, or bring the former back with "
            "`git checkout .dvc/config`",
        ) from error
    return repo


def dvc_settings(root: Path) -> str:
    """All that DVC's configuration files say, as one text."""
    return repr(sorted(_flat(closed_repository(root).config)))


def _flat(tree: Any, prefix: str = "") -> list[str]:
    if not hasattr(tree, "items"):
        return [f"{prefix}={tree}"]
    return [line for key, value in tree.items() for line in _flat(value, f"{prefix}.{key}")]


def stage_order(root: Path, until: str | None = None) -> list[str]:
    """Names of the stages so that each comes after all it depends on; ties as in `dvc.yaml`.

    Args:
        root: The project's root.
        until: Only this stage and what it needs.

    Raises:
        NadirError: `until` is not a stage.
    """
    return order(pipeline_graph(root), until)


def order(graph: StageGraph, until: str | None = None) -> list[str]:
    """`stage_order` of a graph that is at hand."""
    if until is not None and until not in graph:
        near = difflib.get_close_matches(until, graph, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise NadirError(f"no stage `{until}`{hint}", fix=f"choose one of {', '.join(graph)}")
    wanted = set(graph) if until is None else {until, *ancestors(graph, until)}
    ordered: list[str] = []
    while len(ordered) < len(wanted):
        ordered.append(
            next(s for s in graph if s in wanted and s not in ordered and graph[s] <= set(ordered))
        )
    return ordered


def ancestors(graph: StageGraph, stage: str) -> set[str]:
    """Every stage that `stage` depends on, directly or not."""
    found: set[str] = set()
    queue = [*graph[stage]]
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue.extend(graph[name])
    return found


def changed_stages(root: Path) -> dict[str, Change]:
    """Stages that `dvc status` calls changed: dependency, parameter, command or output.

    Returns:
        By stage, what of it changed; a stage that is not named is unchanged.

    Raises:
        NadirError: DVC reports a fault.
    """
    # In this process: one of its own would import DVC and read the pipeline once more.
    with open_repository(root) as repo:
        found = repo.status()
    # Seen from another folder than the root, a stage is called `PATH/dvc.yaml:NAME`.
    return {name.rpartition(":")[2]: change_by_dvc(reasons) for name, reasons in found.items()}


def _unreadable(error: Exception, root: Path) -> NadirError:
    cause = f": {error.__cause__}" if error.__cause__ else ""
    if PARAMS_FILE in str(error):
        return NadirError(
            f"DVC cannot read the parameters: {error}{cause}",
            where=str(root / PARAMS_FILE),
            fix=f"correct the file, or restore it with `git checkout {PARAMS_FILE}`",
        )
    if LOCK_FILE in str(error):
        return damaged_lock_file(f"{error}{cause}", root / LOCK_FILE)
    return NadirError(
        f"DVC cannot read the pipeline: {error}{cause}",
        where=str(root / "dvc.yaml"),
        fix="`dvc stage list` shows the fault in full; `git checkout dvc.yaml` brings back the "
        "file as it was committed",
    )
