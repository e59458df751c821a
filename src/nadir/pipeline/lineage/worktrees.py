"""Folders that hold a commit of this repository beside the workspace, with its cache of DVC's.

A temporary one lies in `work/rebuild` and goes when it is no longer used; what a kill left there is
removed by the next.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError
from nadir.ground.locks import LockedError, exclusive_lock
from nadir.ground.workspace import main_workspace
from nadir.pipeline.storage.objects import cache_folder
from nadir.tracking.revision import GitError, git

if TYPE_CHECKING:
    from collections.abc import Iterator

_LEVELS = ("repo", "local")
_TIMEOUT_S = 600
# Hooks are of the user's own work; DVC's would check files out before they are there.
_NO_HOOKS = ("-c", "core.hooksPath=/dev/null")


@contextlib.contextmanager
def temporary_worktree(root: Path, commit: str) -> Iterator[Path]:
    """The project at a commit, for as long as the block lasts.

    Args:
        root: The project's root.
        commit: That the repository has.

    Raises:
        NadirError: Another process has one, or git cannot make it.
    """
    folder = main_workspace(root) / "work" / "rebuild"
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(exclusive_lock(folder / "lock"))
        except LockedError as error:
            raise NadirError(
                f"another version is being rebuilt (process {error.holder or 'unknown'})",
                where=str(folder),
                fix="wait for it to end",
            ) from error
        _sweep(root, folder)
        path = folder / commit[:12]
        try:
            yield add_worktree(root, path, commit, temporary=True)
        finally:
            remove_worktree(root, path)


def add_worktree(root: Path, path: Path, commit: str, *, temporary: bool = False) -> Path:
    """Check a commit out into a folder of its own.

    Its DVC has this clone's cache and remotes, whichever the commit itself names.

    Args:
        root: The project's root.
        path: The folder, missing or empty.
        commit: That the repository has.
        temporary: Whether DVC's notes on files go with the folder.

    Returns:
        The project's root in it.

    Raises:
        NadirError: Git cannot make it.
    """
    try:
        inside = git(root, "rev-parse", "--show-prefix")
        git(
            root,
            *(*_NO_HOOKS, "worktree", "add", "--detach", str(path), commit),
            timeout_s=_TIMEOUT_S,
        )
    except GitError as error:
        raise NadirError(
            f"git cannot check commit {commit[:12]} out: {error}",
            where=str(path),
            fix="see `git worktree list` and `git fsck`",
        ) from error
    project = path / inside
    _share_dvc(root, project, temporary=temporary)
    return project


def remove_worktree(root: Path, path: Path) -> None:
    """Remove such a folder and git's note of it, whatever state a kill left them in."""
    for _ in range(2):
        with contextlib.suppress(GitError):
            # Twice "force": git locks a folder while it fills it.
            git(root, "worktree", "remove", "-f", "-f", str(path), timeout_s=_TIMEOUT_S)
            break
        shutil.rmtree(path, ignore_errors=True)  # git refuses one that lacks its file `.git`


def _sweep(root: Path, folder: Path) -> None:
    """Remove what killed processes left in a folder that only this process uses now."""
    left = {path for path in folder.iterdir() if path.is_dir()}
    with contextlib.suppress(GitError):
        lines = git(root, "worktree", "list", "--porcelain").splitlines()
        noted = (Path(line.removeprefix("worktree ")) for line in lines)
        left |= {path for path in noted if path.parent == folder}
    for path in left:
        remove_worktree(root, path)


def _share_dvc(root: Path, project: Path, *, temporary: bool) -> None:
    """Let DVC in a worktree use this clone's cache and remotes; paths stay what they are here."""
    from dvc.config import Config, merge

    here = Config(str(root / ".dvc"), validate=False)
    settings: dict[str, Any] = {}
    for level in _LEVELS:
        merge(settings, here.load_one(level))
    # `<cache>/files/md5` is where objects lie.
    settings["cache"]["dir"] = str(cache_folder(root).parents[1])
    if temporary:
        settings["core"]["site_cache_dir"] = str(project / ".dvc" / "tmp" / "site")
    there = Config(str(project / ".dvc"))
    with there.edit("local") as local:
        merge(local, settings)
    (project / ".dvc" / Config.CONFIG_LOCAL).chmod(0o600)  # it may hold credentials
