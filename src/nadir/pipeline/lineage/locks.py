"""The `dvc.lock` of a version, and the tables that it names."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.pipeline.storage.objects import damaged_objects, listing, object_path
from nadir.pipeline.storage.remote import fetch
from nadir.tracking.lock_file import LOCK_FILE, output_hashes, read_lock, read_lock_text
from nadir.tracking.revision import GitError, git, has_commit

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.tracking.registry.versions import Version

_COMMIT = re.compile(r"[0-9a-f]{7,64}")


class NotFoundError(Exception):
    """Something of a version's past that is nowhere; its text says what and why."""


@dataclass(frozen=True)
class VersionLock:
    """The lock file by which a version was made.

    Attributes:
        stages: Entry by stage.
        place: Where it was found.
        commit: Which it was found in; "" for the workspace's.
    """

    stages: dict[str, dict[str, Any]] = field(repr=False)
    place: str
    commit: str = ""

    def md5(self, path: Path, *users: str) -> str | None:
        """DVC's hash of an output as these stages used it, else as it was last made.

        A stage that was run alone afterwards may have made another one since.
        """
        name = path.as_posix()
        for stage in users:
            for entry in self.stages.get(stage, {}).get("deps", []):
                if entry["path"] == name and "md5" in entry:
                    return str(entry["md5"])
        return output_hashes(self.stages).get(name)

    def size(self, md5: str | None) -> dict[str, int]:
        """`bytes` and, of a folder, `files` of an output, as far as the lock file says them."""
        names = {"size": "bytes", "nfiles": "files"}
        for stage in self.stages.values():
            for entry in (*stage.get("outs", []), *stage.get("deps", [])):
                if entry.get("md5") == md5:
                    return {new: int(entry[old]) for old, new in names.items() if old in entry}
        return {}

    def params(self, stage: str) -> dict[str, Any]:
        """The parameters that a stage was run with, by section."""
        files = self.stages.get(stage, {}).get("params", {})
        return {key: value for values in files.values() for key, value in values.items()}


def version_lock(version: Version, root: Path) -> VersionLock:
    """The lock file that holds this very checkpoint: of the version's commit, else the workspace's.

    Args:
        version: The registered one.
        root: The project's root.

    Raises:
        NotFoundError: None of them holds it.
    """
    faults = []
    for commit in commits_of(version):
        place = f"{LOCK_FILE} of commit {commit[:12]}"
        try:
            stages = read_lock_text(git(root, "show", f"{commit}:./{LOCK_FILE}"))
        except GitError:
            here = has_commit(root, commit)
            faults.append(f"{place} is not there" if here else f"{place} is not in this clone")
            continue
        except NadirError as error:
            faults.append(f"{place}: {error.what}")
            continue
        if made(stages, version):
            return VersionLock(stages, place, commit)
        faults.append(f"{place} names another checkpoint")
    try:
        stages = read_lock(root)
    except NadirError as error:
        stages = {}
        faults.append(f"that of this workspace: {error.what}")
    if made(stages, version):
        return VersionLock(stages, f"{LOCK_FILE} of this workspace")
    told = faults or ["the version names no commit"]
    raise NotFoundError(f"{'; '.join(told)}; that of this workspace names another checkpoint")


def commits_of(version: Version) -> list[str]:
    """Commits that a version names; the experiment's, which holds all that ran, goes first."""
    named = [version.tags.get(tag, "") for tag in ("dvc.exp_rev", "git.commit")]
    return [commit for commit in dict.fromkeys(named) if _COMMIT.fullmatch(commit)]


def made(stages: dict[str, dict[str, Any]], version: Version) -> bool:
    """Whether a lock file is of the run that made a version."""
    return bool(version.md5) and output_hashes(stages).get(str(artifacts.CHECKPOINT)) == version.md5


def manifest_md5(lock: VersionLock) -> str:
    """DVC's hash of the manifest that a version was trained with.

    Raises:
        NotFoundError: The lock file names none.
    """
    md5 = lock.md5(artifacts.MANIFEST, "train", "encode", "bucket")
    if md5 is None:
        raise NotFoundError(f"manifest: {lock.place} names no {artifacts.MANIFEST}")
    return md5


def object_file(what: str, md5: str, root: Path, cache: Path) -> Path:
    """A file that DVC keeps under a hash, fetched from its remote where the cache lacks it.

    Args:
        what: What to call it.
        md5: DVC's hash of the file.
        root: The project's root.
        cache: DVC's cache.

    Raises:
        NotFoundError: It is nowhere, or damaged.
    """
    path = object_path(md5, cache)
    if not path.is_file():
        fetch(md5, root, cache)
    if not path.is_file():
        raise NotFoundError(f"{what}: {md5} is neither in DVC's cache nor in its remote")
    if damaged_objects([md5], cache):
        raise NotFoundError(f"{what}: {md5} is damaged in DVC's cache ({path})")
    return path


def file_of_folder(what: str, md5: str, name: str, cache: Path) -> Path:
    """A file of a folder that DVC keeps, if the cache has it; a folder is not fetched for it.

    Args:
        what: What to call the folder.
        md5: DVC's hash of the folder.
        name: Of the file, relative to the folder.
        cache: DVC's cache.

    Raises:
        NotFoundError: The cache has no such file.
    """
    files = listing(md5, cache) or {}
    path = object_path(files[name], cache) if name in files else None
    if path is None or not path.is_file():
        raise NotFoundError(f"{what}: {name} of {md5} is not in DVC's cache")
    return path


def columns_of(what: str, path: Path, *names: str) -> pa.Table:
    """Some columns of a table, those of them that it has; other columns are not read.

    Raises:
        NotFoundError: The file is no table.
    """
    try:
        known = pq.read_schema(path).names
        return pq.read_table(path, columns=[name for name in names if name in known])
    except (pa.ArrowException, OSError) as error:
        raise NotFoundError(f"{what}: {path} cannot be read: {str(error)[:200]}") from error
