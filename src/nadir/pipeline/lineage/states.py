"""The commit that holds the exact state a version was made from, fetched if it is elsewhere."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.pipeline.lineage.locks import commits_of
from nadir.pipeline.storage.sharing import COMMIT_TAG
from nadir.tracking.revision import GitError, experiment_ref, git, has_commit

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.tracking.registry.versions import Version

_TIMEOUT_S = 120


def state_commit(version: Version, root: Path) -> str:
    """The commit with code, parameters and lock file of a version; fetched from a git remote.

    Where anything differed from the last commit, that is the experiment which registering made.

    Args:
        version: The registered one.
        root: The project's root.

    Raises:
        NadirError: It names none, something of it was never committed, or nobody here has it.
    """
    label = f"version {version.version} of `{version.name}`"
    commits = commits_of(version)
    if not commits:
        why = version.tags.get("git.fault") or "it was not registered by the pipeline"
        raise NadirError(
            f"{label} names no commit, so its state is lost: {why}", where=version.name
        )
    if version.tags.get("git.dirty") == "true" and not version.tags.get("dvc.exp_rev"):
        why = version.tags.get("git.fault", "")
        raise NadirError(
            f"{label} was made from files that differed from commit {commits[0][:12]}, and no "
            f"experiment holds them{f': {why}' if why else ''}",
            where=version.name,
        )
    commit = commits[0]
    if not has_commit(root, commit) and not _fetched(version, commit, root):
        sent = version.tags.get(COMMIT_TAG)
        raise NadirError(
            f"commit {commit[:12]} of {label} is neither in this clone nor in its git remotes",
            where=str(root),
            fix=f"it was sent to {sent}: `git remote add NAME URL`"
            if sent
            else "in the clone that trained it, name remotes for DVC and git (`dvc remote add "
            "--default NAME URL`, `git remote add origin URL`) and `nadir run`, which sends it",
        )
    return commit


def _fetched(version: Version, commit: str, root: Path) -> bool:
    """Whether a git remote had it, under the names that registering gives it or by its hash."""
    tags = version.tags
    wanted = [f"refs/nadir/{version.name}/{version.version}"]
    if tags.get("git.commit") and tags.get("dvc.exp_name"):
        wanted.insert(0, experiment_ref(tags["git.commit"], tags["dvc.exp_name"]))
    with contextlib.suppress(GitError):
        for remote in git(root, "remote").split():
            for name in (*(f"{ref}:{ref}" for ref in wanted), commit):
                with contextlib.suppress(GitError):
                    git(root, "fetch", "--quiet", remote, name, timeout_s=_TIMEOUT_S)
                if has_commit(root, commit):
                    return True
    return False
