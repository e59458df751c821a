"""Registered versions reach other clones: weights by DVC's remote, code and parameters by git's."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.pipeline.storage.cache import cached_whole
from nadir.pipeline.storage.computed_elsewhere import send_all, shares_all
from nadir.pipeline.storage.objects import cache_folder, damaged_objects, objects_of
from nadir.pipeline.storage.remote import Remote, default_remote, send, without_credentials
from nadir.tracking.lock_file import output_hashes, read_lock
from nadir.tracking.registry.all_versions import registered_versions, tag_version
from nadir.tracking.revision import GitError, git, has_commit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nadir.tracking.registry.versions import Version

WEIGHTS_TAG = "nadir.weights_at"
COMMIT_TAG = "nadir.commit_at"
_NOT_SENT = {str(path) for path in (artifacts.CHECKPOINT, artifacts.LATENTS, artifacts.BASE)}
_PUSH_TIMEOUT_S = 120


def share_versions(root: Path, current: Version, say: Callable[[str], None]) -> bool:
    """Send every registered version that this clone has and the remotes lack.

    Registration stands whatever comes of it; the next one tries again what failed. Where a version
    was sent is a tag of it.

    Args:
        root: The project's root.
        current: The version of the workspace's checkpoint.
        say: Called with what is sent, and what could not be.

    Returns:
        Whether nothing is left to send; otherwise the next run has to try again.
    """
    wanted, git_name = _settings(root)
    if wanted is False:
        say("register: `exp.auto_push` is false in DVC's configuration: nothing is sent")
        return True
    remote = default_remote(root)
    git_remote = _git_remote(root, git_name)
    _say_what_lacks(remote, git_remote, say, held=bool(current.held))
    versions = [v for v in registered_versions(root) if v.md5]
    shared = remote is not None and not remote.own
    done = True
    if remote is not None and shared:
        done = _send_weights(root, remote, versions, current, say)
        if done and shares_all(root):
            done = send_all(root, say)
    # A clone of somebody's project has a git remote, too, which nobody meant to send models' code
    # to: one who shares weights, or says so, does mean it.
    if git_remote and (shared or git_name or wanted):
        done = _send_commits(root, git_remote, versions, say) and done
    return done


def _settings(root: Path) -> tuple[bool | None, str]:
    """DVC's own: whether experiments are pushed (None: not said), and to which git remote."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        settings = dict(repo.config.get("exp", {}))
    name = os.environ.get("DVC_EXP_GIT_REMOTE") or settings.get("git_remote") or ""
    asked = os.environ.get("DVC_EXP_AUTO_PUSH", "")
    wanted = asked.lower() not in {"0", "false", "no"} if asked else settings.get("auto_push")
    return wanted, str(name)


def _say_what_lacks(
    remote: Remote | None, git_remote: str, say: Callable[[str], None], *, held: bool
) -> None:
    """One line for people who think that the model is safe elsewhere."""
    lacks = []
    what = "register: kept on this machine only"
    if held:  # by the registry
        what = "register: the weights are in the registry; code and data on this machine only"
    if remote is None:
        lacks.append("no DVC remote is configured (`dvc remote add --default NAME URL`)")
    elif remote.own:
        lacks.append(
            f"DVC's remote `{remote.name}` is a folder of this clone "
            "(`dvc remote add --default NAME URL` names one that others reach)"
        )
    if not git_remote:
        lacks.append("no git remote (`git remote add origin URL`)")
    if lacks:
        say(f"{what}: {'; '.join(lacks)}")


def _send_weights(
    root: Path,
    remote: Remote,
    versions: list[Version],
    current: Version,
    say: Callable[[str], None],
) -> bool:
    cache, done = cache_folder(root), True
    for version in versions:
        if version.tags.get(WEIGHTS_TAG) == remote.url or not cached_whole(version.md5, cache):
            continue
        label = f"{version.name} version {version.version}"
        objects = set((objects_of(version.md5, cache) or {}).values())
        if damaged_objects(objects, cache):
            say(f"register: the weights of {label} are damaged here and not sent")
            done = False
            continue
        if version.md5 == current.md5:
            objects |= _lineage_objects(root, cache)
        say(f"register: sending {label} to DVC's remote `{remote.name}` ({len(objects)} files)")
        try:
            send(objects, root)
        except NadirError as error:
            say(
                f"register: the weights of {label} could not be sent to {remote.url}: "
                f"{error.what}\n  fix: correct that, then `nadir run` sends them"
            )
            return False
        tag_version(root, version, {WEIGHTS_TAG: remote.url})
    return done


def _lineage_objects(root: Path, cache: Path) -> set[str]:
    """The workspace's other outputs: manifest, tags, reports and the like.

    Latents and the base model are left out: they are large, and made again from the pictures and
    from the base's source. `dvc push` sends them too.
    """
    found: set[str] = set()
    for path, md5 in output_hashes(read_lock(root)).items():
        if path not in _NOT_SENT and cached_whole(md5, cache):
            found |= set((objects_of(md5, cache) or {}).values())
    return found


def _git_remote(root: Path, named: str) -> str:
    """The git remote of this clone: the one DVC's settings name, the branch's, origin, the only."""
    try:
        known = git(root, "remote").split()
        branch = git(root, "rev-parse", "--abbrev-ref", "HEAD")
    except GitError:
        return ""
    asked = [named, *(_git_setting(root, key) for key in (f"branch.{branch}.remote",))]
    only = known if len(known) == 1 else []
    return next((name for name in [*asked, "origin", *only] if name in known), "")


def _git_setting(root: Path, key: str) -> str:
    try:
        return git(root, "config", "--get", key)
    except GitError:
        return ""


def _send_commits(
    root: Path, remote: str, versions: list[Version], say: Callable[[str], None]
) -> bool:
    url = without_credentials(_git_setting(root, f"remote.{remote}.url"))
    for version in versions:
        commit = version.tags.get("dvc.exp_rev") or version.tags.get("git.commit", "")
        if not commit or version.tags.get(COMMIT_TAG) == url or not has_commit(root, commit):
            continue
        refs = [f"{ref}:{ref}" for ref in _refs(root, version, commit)]
        command = ["push", "--no-verify", remote, *refs]
        try:
            git(root, *command, extra=_no_questions(), timeout_s=_PUSH_TIMEOUT_S)
        except GitError as error:
            label = f"{version.name} version {version.version}"
            say(
                f"register: the commit of {label} could not be sent to {url}: {error}\n"
                f"  fix: `git {shlex.join(command)}`, or correct that and `nadir run`"
            )
            return False
        tag_version(root, version, {COMMIT_TAG: url})
    return True


def _no_questions() -> dict[str, str]:
    """An ssh that asks for a password would wait for ever."""
    return {"GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")}


def _refs(root: Path, version: Version, commit: str) -> list[str]:
    """The experiments at a commit; a commit of a branch gets a name of its own.

    Branches are the user's to push.
    """
    found = git(root, "for-each-ref", "--format=%(refname)", f"--points-at={commit}", "refs/exps")
    refs = [ref for ref in found.split() if ref.count("/") == 4]
    if refs:
        return refs
    ref = f"refs/nadir/{version.name}/{version.version}"
    git(root, "update-ref", ref, commit)
    return [ref]
