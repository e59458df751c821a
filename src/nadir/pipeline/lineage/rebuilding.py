"""A version's code, parameters and data in a folder of their own, and whether they are whole.

A version names a commit that holds the exact state it was made from; `dvc.lock` in it names every
output by hash; DVC's cache or remote has these. Nothing is run: DVC itself says whether it would.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError
from nadir.ground.files import file_hash
from nadir.ground.workspace import PARAMS_FILE, main_workspace
from nadir.pipeline.graph import open_repository
from nadir.pipeline.lineage.locks import made
from nadir.pipeline.lineage.states import state_commit
from nadir.pipeline.lineage.worktrees import add_worktree, remove_worktree, temporary_worktree
from nadir.pipeline.storage.cache import cached_whole
from nadir.pipeline.storage.objects import cache_folder, damaged_objects, objects_of
from nadir.pipeline.storage.remote import default_remote, fetch, remote_holds
from nadir.tracking.lock_file import LOCK_FILE, output_hashes, read_lock
from nadir.tracking.registry.versions import resolve_version

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.tracking.registry.versions import Version

_ALWAYS = "always changed"  # what DVC says of a stage that lists the source each time
_TAGS = {PARAMS_FILE: "params.sha256", "requirements.lock": "env.lock_sha256"}
"""Files whose hash a version has as a tag."""


@dataclass(frozen=True)
class Rebuilt:
    """What came of putting a version's state together.

    Attributes:
        version: Of the registry.
        commit: Its code, parameters and lock file.
        project: The project's root in the folder; gone where it was temporary.
        outputs: Of its stages, that are whole.
        missing: What is not there or not as it was, each with its reason; empty of a whole version.
    """

    version: Version
    commit: str
    project: Path
    outputs: int = 0
    missing: list[str] = field(default_factory=list)


def check_rebuilding(uri: str, root: Path) -> Rebuilt:
    """Put a version together in a temporary folder, and have DVC look at it.

    Args:
        uri: Such as `models:/nadir@champion`.
        root: The project's root.

    Raises:
        NadirError: No such version, its state is in no commit, or the registry cannot be asked.
    """
    version = resolve_version(uri, root)
    commit = state_commit(version, root)
    with temporary_worktree(root, commit) as project:
        return _restored(version, commit, root, project)


def rebuild(uri: str, folder: Path, root: Path) -> Rebuilt:
    """Put a version together in a folder that stays, a worktree of this repository.

    Args:
        uri: As of `check_rebuilding`.
        folder: Missing or empty; not inside of the project but in `work`.
        root: The project's root.

    Raises:
        NadirError: As `check_rebuilding`; or the folder cannot be used.
    """
    _require_place(folder, root)
    version = resolve_version(uri, root)
    commit = state_commit(version, root)
    try:
        project = add_worktree(root, folder, commit)
        return _restored(version, commit, root, project)
    except BaseException:
        remove_worktree(root, folder)
        raise


def _require_place(folder: Path, root: Path) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise NadirError(
            "there is something of this name",
            where=str(folder),
            fix="name a folder that is not there or empty; `git worktree remove --force FOLDER` "
            "removes an earlier one",
        )
    main = main_workspace(root)
    if folder.is_relative_to(main) and not folder.is_relative_to(main / "work"):
        raise NadirError(
            "a project inside of the project: DVC would take its stages for its own",
            where=str(folder),
            fix="name a folder outside, or in `work`",
        )


def _restored(version: Version, commit: str, root: Path, project: Path) -> Rebuilt:
    stages = read_lock(project)
    if not made(stages, version):
        raise NadirError(
            f"{LOCK_FILE} of commit {commit[:12]} names another checkpoint than version "
            f"{version.version} of `{version.name}`",
            where=str(root),
            fix="look at the version's tags `git.commit`, `dvc.exp_rev` and `out.md5`",
        )
    missing = _other_files(version, project)
    outputs = output_hashes(stages)
    lost = _missing_outputs(outputs, root)
    missing += [f"{path}: {why}" for path, why in lost.items()]
    with open_repository(project) as repo:
        repo.checkout(force=True, allow_missing=True)
        answer: dict[str, Any] = repo.status()
    missing += _changed(answer, set(lost))
    return Rebuilt(version, commit, project, len(outputs) - len(lost), missing)


def _other_files(version: Version, project: Path) -> list[str]:
    return [
        f"{name}: not what version {version.version} was made with"
        for name, tag in _TAGS.items()
        if version.tags.get(tag)
        and (not (project / name).is_file() or file_hash(project / name) != version.tags[tag])
    ]


def _missing_outputs(outputs: dict[str, str], root: Path) -> dict[str, str]:
    """Why an output cannot be had, by path; what only the remote has is fetched."""
    cache, lost = cache_folder(root), {}
    for path, md5 in outputs.items():
        if not cached_whole(md5, cache):
            fetch(md5, root, cache)
        if not cached_whole(md5, cache):
            lost[path] = f"{md5} is not in DVC's cache, and {_no_remote(md5, root, cache)}"
        elif damaged_objects((objects_of(md5, cache) or {}).values(), cache):
            lost[path] = f"{md5} is damaged in DVC's cache"
    return lost


def _no_remote(md5: str, root: Path, cache: Path) -> str:
    """Why an output did not come from the remote."""
    remote = default_remote(root)
    if remote is None:
        return "no remote is configured"
    try:
        has = remote_holds(md5, root, cache)
    except NadirError as error:
        return error.what
    why = "holds it damaged" if has else "does not have it"
    return f"the remote `{remote.name}` {why}"


def _changed(answer: dict[str, Any], lost: set[str]) -> list[str]:
    """Stages that DVC finds other than they were, what is known to be missing aside."""
    found = []
    for stage, reasons in answer.items():
        left = [told for why in reasons if (told := _without(why, lost))]
        if left:
            found.append(f"{stage}: DVC would run it ({'; '.join(map(str, left))[:300]})")
    return found


def _without(reason: Any, lost: set[str]) -> Any:
    """A reason of `dvc status` without paths that are missing; None where nothing is left."""
    if not isinstance(reason, dict):
        return None if reason == _ALWAYS else reason
    left = {
        kind: {
            path: how
            for path, how in paths.items()
            if not any(path == gone or path.startswith(f"{gone}/") for gone in lost)
        }
        for kind, paths in reason.items()
    }
    return {kind: paths for kind, paths in left.items() if paths} or None
