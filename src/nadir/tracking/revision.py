"""The exact state of code, parameters and lock file, as a git commit."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# What an experiment's commit holds besides tracked files: code that was not yet added still ran.
_UNTRACKED = ("src", "flows", "params.yaml", "dvc.yaml", "dvc.lock", "requirements.lock")
_AUTHOR = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "Nadir"), ("EMAIL", "nadir@localhost"))
}


@dataclass(frozen=True)
class GitState:
    """Where the work tree stands.

    Attributes:
        commit: HEAD; empty without git or a first commit.
        dirty: Whether code or parameters differ from it; `dvc.lock`, which runs write, aside.
    """

    commit: str
    dirty: bool


def git_state(root: Path) -> GitState:
    """Commit and cleanness of the work tree; never fails."""
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    changed = _git(root, "status", "--porcelain", "-uno", "--", ".", ":!dvc.lock")
    new = _git(root, "ls-files", "--others", "--exclude-standard", "--", "src", "flows")
    return GitState(commit=commit or "", dirty=changed is None or bool(changed or new))


def save_experiment(root: Path, name: str) -> str:
    """Commit the work tree as the DVC experiment `name`, and give its revision.

    The commit is put together in an index of its own, so HEAD, the user's index and files stay
    untouched whatever happens meanwhile (`dvc exp save` detaches HEAD for a moment). It lies
    under `refs/exps`, where `dvc exp list`, `show`, `apply` and `push` find it.

    Args:
        root: The project's root.
        name: Name of the experiment; characters git would refuse are replaced.

    Returns:
        The new commit, HEAD itself when nothing differs, or "" without git or a first commit.
    """
    head = _git(root, "rev-parse", "--verify", "HEAD")
    if not head:
        return ""
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        untracked = [entry for entry in _UNTRACKED if (root / entry).exists()]
        steps = (["read-tree", "HEAD"], ["add", "--update"], ["add", "--", *untracked])
        if any(_git(root, *step, extra=index) is None for step in steps):
            return ""
        tree = _git(root, "write-tree", extra=index)
    if not tree or tree == _git(root, "rev-parse", "HEAD^{tree}"):
        return head if tree else ""
    message = f"dvc: commit experiment {name}"
    commit = _git(root, "commit-tree", tree, "-p", head, "-m", message, extra=_AUTHOR)
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
    ref = f"refs/exps/{head[:2]}/{head[2:]}/{slug}"
    if not commit or _git(root, "update-ref", ref, commit) is None:
        return ""
    return commit


def _git(root: Path, *arguments: str, extra: Mapping[str, str] | None = None) -> str | None:
    """Output of a git command; None when it fails or git is missing."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=root,
            env={**os.environ, **(extra or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
