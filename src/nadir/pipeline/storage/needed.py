"""Which of DVC's objects somebody needs: registered versions, branches, tags, experiments."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.files import read_json_object
from nadir.ground.run_record import read_run
from nadir.ground.workspace import main_workspace
from nadir.pipeline.storage.objects import DIRECTORY, mend_listing, object_path, objects_of
from nadir.pipeline.storage.remote import fetch
from nadir.tracking.lock_file import output_hash, output_hashes, read_lock
from nadir.tracking.registry.all_versions import knows_run, local_store, registered_versions
from nadir.tracking.revision import GitError, git, has_commit
from nadir.tracking.store.connection import connect, tracking_uri

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nadir.tracking.registry.versions import Version

_HASH = re.compile(r"^\s*(?:- )?md5: ['\"]?([0-9a-f]{32}(?:\.dir)?)['\"]?\s*$", re.MULTILINE)
_RECORD_BYTES = 4096  # of models/run.json, which is far smaller
_NOT_TRACKED = {".git", ".dvc", ".venv", "work", *artifacts.FOLDERS}


@dataclass(frozen=True)
class Needed:
    """What must stay.

    Attributes:
        hashes: Of objects, the files of folders among them.
        versions: Registered ones.
        revisions: How many commits were read: tips of branches and tags, experiments, versions.
        lost: Registered versions whose list of files is nowhere.
    """

    hashes: frozenset[str]
    versions: tuple[Version, ...]
    revisions: int
    lost: tuple[Version, ...]


def needed_objects(root: Path, cache: Path, projects: Iterable[Path] = ()) -> Needed:
    """Everything that an alias, a version, a branch, tag or experiment, or a workspace names.

    Args:
        root: The project's root.
        cache: DVC's cache.
        projects: Other clones that share it.

    Raises:
        NadirError: The registry cannot be asked or is another one, or git cannot tell.
    """
    versions = _all_versions(root)
    hashes = {version.md5 for version in versions if version.md5}
    revisions = 0
    for folder in (root, *projects):
        try:
            tips = _tips(folder, versions)
            hashes |= _committed_hashes(folder, tips)
        except GitError as error:
            raise NadirError(
                f"git cannot tell what branches, tags and experiments need: {error}",
                where=str(folder),
                fix="see `git status` and `git fsck`; nothing was removed",
            ) from error
        revisions += len(tips)
        hashes |= _workspace_hashes(folder)
    _mend_listings(root, cache, {version.md5 for version in versions if version.md5})
    whole: set[str] = set()
    for md5 in hashes:
        whole |= {md5, *(objects_of(md5, cache) or {}).values()}
    lost = [v for v in versions if v.md5 and not v.held and objects_of(v.md5, cache) is None]
    return Needed(frozenset(whole), tuple(versions), revisions, tuple(lost))


def needed_runs(root: Path, cache: Path, needed: Needed) -> set[str]:
    """Ids of MLflow runs that somebody names.

    Those of registered versions, of every `models/run.json` that a commit or the present files can
    bring back, and of what has yet to be told to MLflow.

    Args:
        root: The project's root.
        cache: DVC's cache.
        needed: What stays in it.
    """
    work = main_workspace(root) / "work"
    ids = {version.run_id for version in needed.versions}
    ids |= {path.name for path in (work / "mlflow" / "unsent").glob("*")}
    records = [root / artifacts.TRAINING_RUN, *(work / "pipeline" / "runs").glob("*.json")]
    records += [*(work / "training").glob("*/run.json")]
    records += [object_path(md5, cache) for md5 in needed.hashes if not md5.endswith(DIRECTORY)]
    for path in records:
        with contextlib.suppress(OSError, ValueError, NadirError):
            if path.stat().st_size < _RECORD_BYTES:
                ids.add(read_run(path).run_id or "")
    return ids


def refuse_running_jobs(root: Path) -> None:
    """Refuse while DVC runs a stage or an experiment, whose outputs nothing names yet.

    Raises:
        NadirError: One runs.
    """
    main = main_workspace(root)
    for path in (main / ".dvc" / "tmp").glob("**/rwlock"):
        for pid, command in _lock_holders(path):
            if psutil.pid_exists(pid):
                raise _busy(f"`{command}` (process {pid})", path)
    for path in (main / ".dvc" / "tmp" / "exps" / "run").glob("*/*.json"):
        started = _number(path, "pid")
        ended = _number(path, "returncode") is not None
        if started is not None and not ended and psutil.pid_exists(started):
            raise _busy(f"an experiment (process {started})", path)


def _busy(what: str, where: Path) -> NadirError:
    return NadirError(
        f"{what} is running, and nothing names yet what it needs",
        where=str(where),
        fix="wait for it to end, or stop it, then clean",
    )


def _lock_holders(path: Path) -> Iterator[tuple[int, str]]:
    from dvc.rwlock import SCHEMA
    from voluptuous import Invalid

    try:
        lock = SCHEMA(json.loads(path.read_text(encoding="utf-8") or "{}"))
    except (OSError, ValueError, Invalid):
        return  # damaged: DVC itself would not take it for a lock
    readers = [info for infos in lock.get("read", {}).values() for info in infos]
    for info in [*lock.get("write", {}).values(), *readers]:
        if info:
            yield int(info["pid"]), str(info["cmd"])


def _number(path: Path, key: str) -> int | None:
    try:
        value = read_json_object(path).get(key)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, int) else None


def _all_versions(root: Path) -> list[Version]:
    """Of the store that the environment names, and of the one in this clone.

    A shell in which `MLFLOW_TRACKING_URI` is not set would otherwise see an empty registry, and
    every model of the real one would be cleaned away.
    """
    clients = [connect(root), *filter(None, [local_store(root)])]
    versions = [v for client in clients for v in registered_versions(root, client=client)]
    run_id = read_run(root / artifacts.TRAINING_RUN).run_id
    md5 = output_hash(root, artifacts.CHECKPOINT)
    known = md5 in {version.md5 for version in versions}
    if run_id and not known and not any(knows_run(client, run_id) for client in clients):
        raise NadirError(
            "this registry does not know the training of models/checkpoint, so it may be another "
            "one than the project's",
            where=tracking_uri(root),
            fix="set MLFLOW_TRACKING_URI to the store that `nadir run` uses",
        )
    return versions


def _tips(folder: Path, versions: Iterable[Version]) -> list[str]:
    """Commits to read: every ref, the present one, and those that versions name."""
    if not (folder / ".git").exists() and not _inside_git(folder):
        return []
    refs = git(folder, "for-each-ref", "--format=%(objectname)").split()
    refs += git(folder, "stash", "list", "--format=%H").split()
    named = {v.tags.get(key, "") for v in versions for key in ("dvc.exp_rev", "git.commit")}
    present = [
        revision for revision in ("HEAD", *named) if revision and has_commit(folder, revision)
    ]
    return list(dict.fromkeys([*refs, *present]))


def _inside_git(folder: Path) -> bool:
    try:
        git(folder, "rev-parse", "--git-dir")
    except GitError as error:
        return "not a git repository" not in str(error)
    return True


def _committed_hashes(folder: Path, revisions: Iterable[str]) -> set[str]:
    """Hashes that lock files and `.dvc` files of some commits name."""
    blobs: set[str] = set()
    for revision in revisions:
        # A tag may name another tag, and in the end a single file, such as somebody's key.
        if git(folder, "cat-file", "-t", f"{revision}^{{}}") == "blob":
            continue
        for line in git(folder, "ls-tree", "-r", "-z", "--full-tree", revision).split("\0"):
            facts, _, name = line.partition("\t")
            if name.endswith((".dvc", "dvc.lock")):
                blobs.add(facts.split()[2])
    return {hash_ for blob in blobs for hash_ in _HASH.findall(git(folder, "cat-file", "-p", blob))}


def _workspace_hashes(folder: Path) -> set[str]:
    """Hashes of the present files, those of DVC's temporary workspaces among them."""
    found: set[str] = set()
    for place in (folder, *(folder / ".dvc" / "tmp" / "exps").glob("*")):
        for parent, folders, names in os.walk(place):
            folders[:] = [name for name in folders if name not in _NOT_TRACKED]
            files = [Path(parent, name) for name in names if name.endswith((".dvc", "dvc.lock"))]
            for path in files:
                found |= set(_HASH.findall(path.read_text(encoding="utf-8")))
    return found


def _mend_listings(root: Path, cache: Path, versions: set[str]) -> None:
    """Without its list, nobody knows which files a checkpoint consists of."""
    for path, md5 in output_hashes(read_lock(root)).items():
        mend_listing(root / path, md5, cache)
    for md5 in versions:
        if md5.endswith(DIRECTORY) and objects_of(md5, cache) is None:
            fetch(md5, root, cache)
