"""Registered checkpoints as folders: by hash from the workspace, DVC's cache or its remote."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Literal

from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.files import link_or_copy
from nadir.ground.workspace import main_workspace, project_root
from nadir.pipeline.fingerprint import path_md5
from nadir.pipeline.storage.cached_damage import drop_damaged_objects, drop_links
from nadir.pipeline.storage.known import known_cache_folder
from nadir.pipeline.storage.objects import (
    DIRECTORY,
    cache_folder,
    object_path,
    objects_of,
    wrong_files,
)
from nadir.pipeline.storage.remote import fetch, remote_holds
from nadir.tracking.lock_file import output_hash, output_hashes, read_lock
from nadir.tracking.registry.versions import Version, resolve_version
from nadir.tracking.revision import GitError, git

_STATE_FILES = ("params.yaml", "dvc.yaml", "dvc.lock", "src")


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
    return materialise(_named(version, uri), root, version=version)


def _named(version: Version, where: str) -> str:
    """The hash of a version's checkpoint."""
    if not version.md5:
        raise NadirError(
            f"version {version.version} of `{version.name}` names no checkpoint",
            where=where,
            fix="choose a version that the pipeline registered (tag `out.md5`)",
        )
    return version.md5


def materialise(md5: str, root: Path, *, version: Version | None = None) -> Path:
    """A folder with the files whose DVC directory hash is `md5`, every one read and compared.

    The workspace's own checkpoint when it is this one; else `work/models/<md5>`, hard links into
    DVC's cache, fetched from DVC's remote first where the cache lacks them or holds them damaged,
    and last out of a version that holds them itself.

    Args:
        md5: Of the folder.
        root: The project's root.
        version: Whose weights these are, so that an error can tell how to get them.

    Raises:
        NadirError: Neither cache nor remote has it whole.
    """
    cache = cache_folder(root)
    current = root / artifacts.CHECKPOINT
    if _locked(root) == md5 and current.is_dir() and not wrong_files(current, md5, cache):
        return current
    damaged = drop_damaged_objects(md5, root, cache)
    target = _folder(md5, root)
    if target.is_dir() and not wrong_files(target, md5, cache):
        return target
    shutil.rmtree(target, ignore_errors=True)
    if not _link_from_cache(md5, cache, target):
        fetch(md5, root, cache)
        if not (_link_from_cache(md5, cache, target) or _held(version, md5, root, target)):
            raise _nowhere(md5, root, cache, version, damaged=bool(damaged))
    return target


def require_sound(root: Path) -> None:
    """Refuse the workspace's checkpoint if its files are damaged, and have it made again.

    Between the moment when `train` publishes its weights and the one when DVC writes its lock
    file, the folder holds new weights under the old hash: these are not judged.

    Raises:
        NadirError: A file is not what `dvc.lock` says.
    """
    hashes = output_hashes(read_lock(root))
    current = root / artifacts.CHECKPOINT
    md5, run = (hashes.get(str(path)) for path in (artifacts.CHECKPOINT, artifacts.TRAINING_RUN))
    if md5 is None:
        return  # nothing says what it should be; a folder without DVC has no such record
    cache = cache_folder(root)
    if run and wrong_files(root / artifacts.TRAINING_RUN, run, cache):
        return
    wrong = [path for path in wrong_files(current, md5, cache) if path.is_file()]
    if not wrong:
        return
    drop_links(wrong, root)
    drop_damaged_objects(md5, root, cache)
    names = ", ".join(sorted(path.relative_to(current).as_posix() for path in wrong))
    raise NadirError(
        f"the checkpoint is damaged: not what dvc.lock says, and removed, is {names}",
        where=str(current),
        fix="`nadir run` fetches it from DVC's remote or makes it again",
    )


def require_weights(version: Version, root: Path) -> None:
    """Refuse a version whose weights cannot be had: an alias must name something that draws.

    Raises:
        NadirError: They are neither here nor in the version nor in DVC's remote, or damaged.
    """
    md5 = _named(version, f"models:/{version.name}/{version.version}")
    cache = cache_folder(root)
    if _locked(root) == md5 and not wrong_files(root / artifacts.CHECKPOINT, md5, cache):
        return
    damaged = drop_damaged_objects(md5, root, cache)
    from nadir.tracking.version_files.held import holds_weights

    if cached_whole(md5, cache) or (version.held and holds_weights(version.model_id, root)):
        return
    if not remote_holds(md5, root, cache):
        raise _nowhere(md5, root, cache, version, damaged=bool(damaged))


def weights_place(
    md5: str, root: Path, *, held: bool = False
) -> Literal["here", "registry", "remote", "missing"]:
    """Where the weights of a hash are, by name alone: no file is read.

    Args:
        md5: Of the folder.
        root: The project's root.
        held: Whether the version holds them itself.

    Raises:
        NadirError: They are not here, and the remote cannot be asked.
    """
    current = root / artifacts.CHECKPOINT
    if _folder(md5, root).is_dir() or (_locked(root) == md5 and current.is_dir()):
        return "here"
    cache = known_cache_folder(root, lambda: cache_folder(root))
    if cached_whole(md5, cache):
        return "here"
    if held:
        return "registry"
    return "remote" if remote_holds(md5, root, cache) else "missing"


def cached_whole(md5: str, cache: Path) -> bool:
    """Whether the cache has every object of an output; their content is not read."""
    objects = objects_of(md5, cache)
    return objects is not None and all(
        object_path(hash_, cache).is_file() for hash_ in objects.values()
    )


def _folder(md5: str, root: Path) -> Path:
    """Where a version's files are put together."""
    return main_workspace(root) / "work" / "models" / md5.removesuffix(DIRECTORY)


def _locked(root: Path) -> str | None:
    return output_hash(root, artifacts.CHECKPOINT)


def _link_from_cache(md5: str, cache: Path, target: Path) -> bool:
    """Build the folder beside its place and move it there; False when a file is missing."""
    if not cached_whole(md5, cache):
        return False
    files = {name: hash_ for name, hash_ in (objects_of(md5, cache) or {}).items() if name}
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        folder = Path(temporary) / "model"
        for name, hash_ in files.items():
            link_or_copy(object_path(hash_, cache), folder / name)
        if not target.is_dir():
            folder.rename(target)
    return True


def _held(version: Version | None, md5: str, root: Path, target: Path) -> bool:
    """Bring the very files out of a version that holds them; rounded ones have another hash."""
    if version is None or version.held != "checkpoint":
        return False
    from nadir.tracking.version_files.held import fetch_held

    return fetch_held(version.model_id, root, target) and path_md5(target) == md5


def _nowhere(
    md5: str, root: Path, cache: Path, version: Version | None, *, damaged: bool
) -> NadirError:
    state = "damaged in DVC's cache and not" if damaged else "neither in DVC's cache nor"
    what = f"the checkpoint {md5} is {state} in its remote"
    if version is not None:
        label = f"version {version.version} of `{version.name}`"
        what = f"the weights of {label} ({md5}) are {state} in its remote"
    return NadirError(what, where=str(cache), fix=_way_out(md5, root, version))


def _way_out(md5: str, root: Path, version: Version | None) -> str:
    if _locked(root) == md5:
        return "`nadir run` makes it again"
    if version is not None and version.held == "fp16":
        return (
            "the version holds them rounded to fp16: draw with it by MLflow "
            f"(`mlflow models serve -m models:/{version.name}/{version.version}`)"
        )
    shared = (
        "in the clone that trained it, name a remote that both reach (`dvc remote add --default "
        "NAME URL`) and `nadir run`, which sends the weights there; name the same remote here"
    )
    again = _train_again(root, version)
    return f"{shared}. Or train it again: {again}" if again else shared


def _train_again(root: Path, version: Version | None) -> str:
    """The command that brings a version's exact state back, where this repository has it."""
    revision = version.tags.get("dvc.exp_rev", "") if version else ""
    try:
        listed = git(root, "ls-tree", "--name-only", revision, *_STATE_FILES) if revision else ""
    except GitError:
        return ""
    files = " ".join(shlex.quote(name) for name in listed.splitlines())
    return f"`git checkout {revision} -- {files} && nadir run`" if files else ""
