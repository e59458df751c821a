"""Freeing the disk of what nobody needs: DVC's objects, trainings, models, evaluations of old."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.ground.artifacts import BASE
from nadir.ground.errors import NadirError
from nadir.ground.locks import is_held
from nadir.ground.workspace import PARAMS_FILE, main_workspace
from nadir.pipeline.fingerprint import stage_fingerprint
from nadir.pipeline.processes.lock import workspace_lock
from nadir.pipeline.processes.process import require_user_name
from nadir.pipeline.record import pipeline_folder
from nadir.pipeline.storage.needed import Needed, needed_objects, needed_runs, refuse_running_jobs
from nadir.pipeline.storage.objects import DIRECTORY, cache_folder
from nadir.pipeline.storage.old_flow_runs import database_of, remove_old_flow_runs
from nadir.pipeline.storage.old_judging import unneeded_evaluations, unneeded_judgements
from nadir.tracking.lock_file import LOCK_FILE
from nadir.tracking.registry.old_runs import OldRuns, old_runs, remove_runs
from nadir.training.run_files import LAUNCHER_LOCK, TRAINER_LOCK
from nadir.training.text_states.key import FOLDER, states_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

KEEP_DAYS = 30.0
"""How long the history of runs stays unless told otherwise."""

_OBJECT = re.compile(r"[0-9a-f]{30}(\.dir)?")
_LOCKS = (LAUNCHER_LOCK, TRAINER_LOCK)


@dataclass
class Cleaning:
    """What was removed, or would be.

    Attributes:
        needed: What stays, and why.
        objects: How many of the cache's.
        trainings: Folders that nothing can resume.
        models: Folders of checkpoints that no version names.
        text_states: Folders of text states that the present parameters do not use.
        evaluations: Kept evaluations of other weights than those of versions, or by old protocols.
        judgements: Pages about versions that are registered no more.
        runs: MLflow's, ended long ago, that nothing named here comes from.
        flow_runs: How many of Prefect's ended long ago.
        freed: Bytes that are free when the last link to each file is gone.
    """

    needed: Needed
    objects: int = 0
    trainings: list[Path] = field(default_factory=list)
    models: list[Path] = field(default_factory=list)
    text_states: list[Path] = field(default_factory=list)
    evaluations: list[Path] = field(default_factory=list)
    judgements: list[Path] = field(default_factory=list)
    runs: OldRuns = field(default_factory=lambda: OldRuns((), ()))
    flow_runs: int = 0
    freed: int = 0


def clean(
    root: Path,
    *,
    projects: Sequence[Path] = (),
    dry_run: bool = False,
    keep_days: float = KEEP_DAYS,
) -> Cleaning:
    """Remove what no registered version, branch, tag, experiment, workspace or job needs.

    Args:
        root: The project's root.
        projects: Other clones that share DVC's cache, which keep what they name.
        dry_run: Only say.
        keep_days: How long runs in this clone's own MLflow and Prefect stay after their end.

    Raises:
        NadirError: A pipeline or an experiment runs, the registry or git cannot be asked, the cache
            is shared with clones that were not named, or one that was is none. Nothing is removed
            then.
    """
    require_user_name()
    cache = cache_folder(root)
    _require_named(root, cache, projects)
    before = dt.datetime.now(dt.UTC) - dt.timedelta(days=keep_days)
    with workspace_lock(pipeline_folder(root) / "lock"):
        refuse_running_jobs(root)
        with _locked(root):
            needed = needed_objects(root, cache, projects)
            done = _found(root, needed, old_runs(root, before, needed_runs(root, cache, needed)))
            unneeded = _unneeded(cache, needed)
            done.objects = len(unneeded)
            folders = _folders(done)
            done.freed = _size([*unneeded, *_files([*folders, *done.runs.folders])])
            if not dry_run:
                _remove(unneeded, folders)
            _remove_history(root, done, before, dry_run=dry_run)
    return done


def _require_named(root: Path, cache: Path, projects: Sequence[Path]) -> None:
    """Refuse where clones that share the cache may lose what they need."""
    main = main_workspace(root)
    if not projects and not cache.resolve().is_relative_to(main.resolve()):
        raise NadirError(
            "DVC's cache lies outside of this clone, and other clones may need what is in it",
            where=str(cache),
            fix="name each of them with --project PATH (this one, if it is the only one)",
        )
    for project in projects:
        # A slip would leave the real one unprotected.
        if not any((project / name).exists() for name in (".dvc", "dvc.yaml", LOCK_FILE)):
            raise NadirError(
                "this folder is not a clone of a DVC project",
                where=str(project),
                fix="give the root of each clone that shares the cache",
            )


def _found(root: Path, needed: Needed, runs: OldRuns) -> Cleaning:
    """What is not needed, but for DVC's objects and Prefect's runs."""
    main = main_workspace(root)
    models = sorted((main / "work" / "models").glob("*"))
    return Cleaning(
        needed,
        trainings=_abandoned(root, main),
        models=[path for path in models if path.name + DIRECTORY not in needed.hashes],
        text_states=_unused_states(root, main),
        evaluations=unneeded_evaluations(main, needed.versions),
        judgements=unneeded_judgements(main, needed.versions),
        runs=runs,
    )


def _folders(done: Cleaning) -> list[Path]:
    whole = [*done.trainings, *done.models, *done.text_states]
    return [*whole, *done.evaluations, *done.judgements]


def _files(folders: Iterable[Path]) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def _remove_history(root: Path, done: Cleaning, before: dt.datetime, *, dry_run: bool) -> None:
    if done.runs.ids and not dry_run:
        done.freed += remove_runs(root, done.runs)
    database = database_of(root)
    if database is not None:
        done.flow_runs, freed = remove_old_flow_runs(database, before, dry_run=dry_run)
        done.freed += freed


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """No other DVC command adds to the cache meanwhile.

    Raises:
        NadirError: One is at it.
    """
    from dvc.lock import LockError
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        try:
            repo.lock.lock()
        except LockError as error:
            raise NadirError(
                "another DVC command runs here", where=str(root), fix="wait for it to end"
            ) from error
        try:
            yield
        finally:
            repo.lock.unlock()


def _unneeded(cache: Path, needed: Needed) -> list[Path]:
    """Objects that nobody needs; lists of folders first, so that none names what is gone."""
    found = [
        path
        for path in cache.glob("??/*")
        if _OBJECT.fullmatch(path.name) and path.parent.name + path.name not in needed.hashes
    ]
    return sorted(found, key=lambda path: (path.suffix != DIRECTORY, path))


def _abandoned(root: Path, main: Path) -> list[Path]:
    """Trainings that neither run nor belong to the present data, code and parameters."""
    folders = [path for path in sorted((main / "work" / "training").glob("*")) if path.is_dir()]
    if not folders:
        return []
    try:
        present = stage_fingerprint("train", root)
    except NadirError:
        return []  # an input is missing, so nobody knows which of them it is
    return [
        path
        for path in folders
        if path.name != present and not any(is_held(path / name) for name in _LOCKS)
    ]


def _unused_states(root: Path, main: Path) -> list[Path]:
    """Text states of other captions, seeds or text encoders than the present ones."""
    folders = [path for path in sorted((main / "work" / FOLDER).glob("*")) if path.is_dir()]
    trainings = (main / "work" / "training").glob("*")
    if not folders or any(is_held(path / name) for path in trainings for name in _LOCKS):
        return []
    try:
        train = read_section("train", TrainParams, root / PARAMS_FILE)
        present = states_key(train, root / BASE) if train.text_cache else ""
    except NadirError:
        return []  # nobody knows which of them it is
    return [path for path in folders if path.name != present]


def _size(paths: Iterable[Path]) -> int:
    """Bytes of the files all of whose names are among the paths."""
    links: dict[tuple[int, int], int] = {}
    sizes: dict[tuple[int, int], tuple[int, int]] = {}
    for path in paths:
        status = path.stat()
        inode = status.st_dev, status.st_ino
        links[inode] = links.get(inode, 0) + 1
        sizes[inode] = status.st_nlink, status.st_size
    return sum(size for inode, (count, size) in sizes.items() if links[inode] >= count)


def _remove(files: Iterable[Path], folders: Iterable[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)
    for folder in folders:
        shutil.rmtree(folder)
        if folder.parent.parent.name == "evaluations" and not any(folder.parent.iterdir()):
            folder.parent.rmdir()
