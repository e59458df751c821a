"""The exact state of code, parameters and lock file, as a git commit."""

from __future__ import annotations

import os
import re
import shlex
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


# Set by git for its hooks, and of another repository than this one when a hook starts a pipeline.
_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")
_TIMEOUT_S = 60
_MOST_NAMES, _MOST_CHARACTERS = 20, 200
_ZERO = "0" * 40


class GitError(Exception):
    """A git command that failed; its text is git's own reason in one line."""


@dataclass(frozen=True)
class GitState:
    """Where the work tree stands.

    Attributes:
        commit: HEAD; empty where git cannot tell.
        dirty: Whether code or parameters differ from it; `dvc.lock`, which runs write, aside.
        fault: Git's own reason, where it cannot tell the commit or the differences from it.
        fix: What to do about that.
        changed: The files by which it differs, as git names them.
    """

    commit: str
    dirty: bool
    fault: str = ""
    fix: str = ""
    changed: tuple[str, ...] = ()

    def tags(self) -> dict[str, str]:
        """The state as tags of a run or version; the reason stands where a commit is missing."""
        tags = {
            "git.commit": self.commit,
            "git.fault": self.fault,
            "git.changed": self.changed_files(),
        }
        return tags | ({"git.dirty": str(self.dirty).lower()} if self.commit else {})

    def changed_files(self) -> str:
        """The names in one line, the first of many; "" where nothing differs."""
        more = len(self.changed) - _MOST_NAMES
        rest = [f"and {more} more"] if more > 0 else []
        return ", ".join([name[:_MOST_CHARACTERS] for name in self.changed[:_MOST_NAMES]] + rest)


def git_state(root: Path) -> GitState:
    """Commit and cleanness of the work tree, or why git cannot tell; never fails."""
    commit = ""
    try:
        commit = _head(root)
        changed = git(root, "status", "--porcelain=v2", "-uno", "--", ".", ":!dvc.lock")
        new = git(root, "ls-files", "--others", "--exclude-standard", "--", "src", "flows")
    except GitError as error:
        return GitState(commit, dirty=True, fault=str(error), fix=_remedy(str(error), root))
    # Fields before the name: 8 of a changed file, 9 of a renamed one, 10 of one in conflict.
    fields = {"1": 8, "2": 9, "u": 10}
    lines = [line.split(" ", fields[line[0]])[-1] for line in changed.splitlines() if line]
    names = [line.partition("\t")[0] for line in lines] + new.splitlines()
    return GitState(commit, dirty=bool(names), changed=tuple(names))


def _head(root: Path) -> str:
    """The commit that this project is checked out from.

    Raises:
        GitError: Git does not work here, nothing is committed yet, or the repository around this
            folder is another project's, which would be named as the source of the model.
    """
    git(root, "rev-parse", "--git-dir")
    try:
        commit = git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    except GitError:
        raise GitError("nothing is committed yet") from None
    try:
        listed = git(root, "ls-tree", "HEAD", "--", "dvc.yaml")
    except GitError as error:
        raise GitError(f"commit {commit} cannot be read: {error}") from None
    if not listed:
        top = git(root, "rev-parse", "--show-toplevel")
        raise GitError(f"the commit of the git repository {top} has no dvc.yaml of this folder")
    return commit


def _remedy(fault: str, root: Path) -> str:
    """What makes git tell the commit."""
    if "dubious ownership" in fault:
        return f"`git config --global --add safe.directory {shlex.quote(str(root))}`"
    if "is not installed" in fault:
        return "install git"
    if "not a git repository" in fault:
        return "`git init && git add --all && git commit -m Start`, or work in a clone"
    if "committed yet" in fault or "no dvc.yaml" in fault:
        return "`git add --all && git commit -m Start`"
    return "correct what `git status` and `git fsck` say, or clone again"


@dataclass(frozen=True)
class Experiment:
    """A commit that holds the exact state of the work tree.

    Attributes:
        commit: Its revision; HEAD itself when nothing differs, "" where it could not be made.
        name: Of the DVC experiment; "" for HEAD.
        fault: Why there is none.
    """

    commit: str = ""
    name: str = ""
    fault: str = ""


def save_experiment(root: Path, name: str) -> Experiment:
    """Commit the work tree as the DVC experiment `name`.

    The commit is put together in an index of its own, so HEAD, the user's index and files stay
    untouched whatever happens meanwhile (`dvc exp save` detaches HEAD for a moment). It lies
    under `refs/exps`, where `dvc exp list`, `show`, `apply` and `push` find it. An experiment of
    this name that holds another state stays, and the new one gets a longer name.

    Args:
        root: The project's root.
        name: Name of the experiment; characters git would refuse are replaced.
    """
    try:
        head = _head(root)
        tree = _work_tree(root)
        if tree == git(root, "rev-parse", "HEAD^{tree}"):
            return Experiment(head)
        slug = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
        return _commit(root, head, tree, slug)
    except GitError as error:
        return Experiment(fault=str(error))


def _work_tree(root: Path) -> str:
    """The work tree as a git tree."""
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        untracked = [entry for entry in _UNTRACKED if (root / entry).exists()]
        for step in (["read-tree", "HEAD"], ["add", "--update"], ["add", "--", *untracked]):
            git(root, *step, extra=index)
        return git(root, "write-tree", extra=index)


def _commit(root: Path, head: str, tree: str, name: str) -> Experiment:
    for slug in (name, f"{name}-{tree[:7]}"):
        ref = experiment_ref(head, slug)
        known = git(root, "for-each-ref", "--format=%(objectname) %(tree)", ref)
        if known.endswith(tree):
            return Experiment(known.split()[0], slug)
        if not known:
            message = f"dvc: commit experiment {slug}"
            commit = git(root, "commit-tree", tree, "-p", head, "-m", message, extra=_AUTHOR)
            git(root, "update-ref", ref, commit, _ZERO)
            return Experiment(commit, slug)
    raise GitError(f"two experiments are called {name} already")


def experiment_ref(baseline: str, name: str) -> str:
    """Where DVC looks for an experiment that starts from the commit `baseline`."""
    return f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}"


def has_commit(root: Path, commit: str) -> bool:
    """Whether this clone has a commit.

    Args:
        root: A folder of the clone.
        commit: Its hash, or any name of it.
    """
    try:
        git(root, "cat-file", "-e", f"{commit}^{{commit}}")
    except GitError:
        return False
    return True


def git(
    root: Path,
    *arguments: str,
    extra: Mapping[str, str] | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> str:
    """Output of a git command, which asks nobody for anything.

    Raises:
        GitError: It fails, takes too long, or git is missing.
    """
    environment = {key: value for key, value in os.environ.items() if key not in _OF_A_HOOK}
    quiet = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true"}
    quiet["GIT_OPTIONAL_LOCKS"] = "0"  # a question writes nothing, as to a disk that is full
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=root,
            env={**environment, **quiet, **(extra or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
        )
    except FileNotFoundError:
        raise GitError("git is not installed") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"`git {arguments[0]}` took longer than {timeout_s:.0f} s") from None
    except OSError as error:
        raise GitError(f"git cannot be run: {error}") from None
    if done.returncode:
        raise GitError(_reason(done.stderr) or f"`git {arguments[0]}`: exit code {done.returncode}")
    return done.stdout.strip()


def _reason(stderr: str) -> str:
    """The line that says why; hints and progress stand around it."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    marks = ("fatal: ", "error: ", "! [", "remote: ")
    told = [line for mark in marks for line in lines if line.startswith(mark)]
    return re.sub(r"^(fatal|error): ", "", (told or lines or [""])[0])[:500]
