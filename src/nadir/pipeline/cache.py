"""Registered checkpoints as folders: by hash from the workspace, DVC's cache or its remote."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from nadir.ground.errors import NadirError
from nadir.ground.workspace import main_workspace, project_root
from nadir.pipeline.fingerprint import path_md5
from nadir.pipeline.process import require_user_name
from nadir.tracking.lineage import CHECKPOINT
from nadir.tracking.lock_file import LOCK_FILE, output_hashes, read_lock
from nadir.tracking.registry import resolve_version

_DIRECTORY = ".dir"


def resolve_model(uri: str, root: Path | None = None) -> Path:
    """The diffusers folder of a registered model.

    Args:
        uri: `models:/nadir@champion` or `models:/nadir/3`.
        root: The project's root.

    Raises:
        NadirError: No such version, or its weights are nowhere to be found.
    """
    root = root or project_root()
    version = resolve_version(uri, root)
    if not version.md5:
        raise NadirError(
            f"version {version.version} of `{version.name}` names no checkpoint",
            where=uri,
            fix="choose a version that the pipeline registered (tag `out.md5`)",
        )
    return materialise(version.md5, root)


def materialise(md5: str, root: Path) -> Path:
    """A folder with the files whose DVC directory hash is `md5`.

    The workspace's own checkpoint when it is this one; else `work/models/<md5>`, hard links into
    DVC's cache, fetched from DVC's remote first where the cache lacks them.

    Raises:
        NadirError: Neither cache nor remote has it.
    """
    cache = cache_folder(root)
    current = root / CHECKPOINT
    if output_hashes(read_lock(root)).get(CHECKPOINT) == md5 and _holds(current, md5, cache):
        return current
    target = main_workspace(root) / "work" / "models" / md5.removesuffix(_DIRECTORY)
    if target.is_dir():
        return target
    if not _link_from_cache(md5, cache, target):
        _fetch(md5, root, cache)
        if not _link_from_cache(md5, cache, target):
            raise _nowhere(md5, cache)
    return target


def _holds(folder: Path, md5: str, cache: Path) -> bool:
    """Whether a folder is what `md5` says, which `dvc.lock` alone cannot tell.

    Between the moment when `train` publishes its weights and the one when DVC writes its lock
    file, the folder holds new weights under the old hash. Hard links into DVC's cache are known by
    their inode; only other files are read.
    """
    if not folder.is_dir():
        return False
    if not _cached(md5, cache).is_file():
        return path_md5(folder) == md5
    wanted = {folder / entry["relpath"]: entry["md5"] for entry in _entries(md5, cache)}
    if wanted.keys() != {path for path in folder.rglob("*") if path.is_file()}:
        return False
    return all(
        _is_link(path, _cached(file_md5, cache)) or path_md5(path) == file_md5
        for path, file_md5 in wanted.items()
    )


def _is_link(path: Path, cached: Path) -> bool:
    return cached.is_file() and path.samefile(cached)


def cache_folder(root: Path) -> Path:
    """`.dvc/cache/files/md5`, or where DVC's configuration puts it."""
    from dvc.repo import Repo

    require_user_name()
    with Repo(str(root)) as repo:
        return Path(repo.cache.local.path)


def _cached(md5: str, cache: Path) -> Path:
    return cache / md5[:2] / md5[2:]


def _entries(md5: str, cache: Path) -> list[dict[str, str]]:
    """`md5` and `relpath` of each file of a cached directory."""
    entries: list[dict[str, str]] = json.loads(_cached(md5, cache).read_text(encoding="utf-8"))
    return entries


def _link_from_cache(md5: str, cache: Path, target: Path) -> bool:
    """Build the folder beside its place and move it there; False when a file is missing."""
    listing = _cached(md5, cache)
    if not listing.is_file():
        return False
    entries = _entries(md5, cache)
    if not all(_cached(entry["md5"], cache).is_file() for entry in entries):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        folder = Path(temporary) / "model"
        for entry in entries:
            _link(_cached(entry["md5"], cache), folder / entry["relpath"])
        if path_md5(folder) != md5:
            raise NadirError(
                "DVC's cache holds damaged files of this checkpoint",
                where=str(listing),
                fix="`dvc fetch --force`, or train again",
            )
        if not target.is_dir():
            folder.rename(target)
    return True


def _link(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, place)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, place)


def _fetch(md5: str, root: Path, cache: Path) -> None:
    """Have DVC bring the directory's files from its remote into its cache."""
    from dvc.config import RemoteConfigError
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo

    # Whatever the reason, the files then are not in the cache, and the caller says so.
    with Repo(str(root)) as repo, contextlib.suppress(DvcException, RemoteConfigError, OSError):
        repo.cloud.pull([HashInfo("md5", md5)])  # the list of files, then the files
        repo.cloud.pull([HashInfo("md5", entry["md5"]) for entry in _entries(md5, cache)])


def _nowhere(md5: str, cache: Path) -> NadirError:
    return NadirError(
        f"the checkpoint {md5} is neither in DVC's cache nor in its remote",
        where=str(cache),
        fix="`dvc pull` where its remote is reachable, or check out the version's `git.commit` "
        f"({LOCK_FILE} names it) and train again",
    )
