"""Damaged files in DVC's cache, which shares its files with the workspace by hard link.

DVC restores a result from its cache without reading it, and so restores damage under the name of
what it was. Here damage is found by hash, and every link to it is removed, so that what is sound
can be fetched or made again.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from nadir.ground.workspace import main_workspace
from nadir.pipeline.storage.objects import (
    cache_folder,
    damaged_objects,
    mend_listing,
    object_path,
    objects_of,
    wrong_files,
)
from nadir.pipeline.storage.remote import fetch
from nadir.tracking.lock_file import output_hashes, read_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

_SHOWN = 3


def drop_from_cache(damaged: Sequence[Path], root: Path) -> int:
    """Remove the cache's own links to damaged files; DVC would restore the damage from there.

    A copy in the cache is another file and stays: it may be good.

    Args:
        damaged: Files that were taken out of the workspace.
        root: The project's root.

    Returns:
        How many entries were removed.
    """
    wanted = {(s.st_dev, s.st_ino) for s in (path.stat() for path in damaged) if s.st_nlink > 1}
    if not wanted or not (root / ".dvc").is_dir():
        return 0
    removed = 0
    for path in cache_folder(root).glob("??/*"):
        status = path.stat()
        if (status.st_dev, status.st_ino) in wanted:
            path.unlink()
            removed += 1
    return removed


def mend_outputs(
    stage: str, root: Path, say: Callable[[str], None], *, restore: bool = False
) -> bool:
    """Remove what is damaged of a stage's outputs, and fetch what DVC's remote holds of it.

    After that DVC restores the outputs from sound files, or runs the stage again.

    Args:
        stage: Its name.
        root: The project's root.
        say: Called with what was found.
        restore: Whether the stage's inputs are those of `dvc.lock`, so that any other output is
            damage. Else only what the cache holds damaged is: other files may be newer than the
            lock file.

    Returns:
        Whether there was damage.
    """
    outputs = read_lock(root).get(stage, {}).get("outs", [])
    cache, found = cache_folder(root), False
    for out in outputs:
        if "md5" in out:
            found |= _mend(root / out["path"], out["md5"], root, cache, say, restore=restore)
    return found


def mend_listings(root: Path) -> None:
    """Put damaged lists of folders right in the cache, on which DVC's own commands would fail."""
    cache = cache_folder(root)
    for path, md5 in output_hashes(read_lock(root)).items():
        mend_listing(root / path, md5, cache)


def _mend(
    output: Path,
    md5: str,
    root: Path,
    cache: Path,
    say: Callable[[str], None],
    *,
    restore: bool,
) -> bool:
    listing_damaged = mend_listing(output, md5, cache)
    wrong = wrong_files(output, md5, cache)
    objects = damaged_objects([hash_ for hash_ in wrong.values() if hash_], cache)
    hashes = {hash_: path for path, hash_ in wrong.items() if hash_}
    lost = [path for hash_, path in hashes.items() if object_path(hash_, cache) in objects]
    if restore:
        lost = [path for path, hash_ in wrong.items() if hash_]
    name = output.relative_to(root).as_posix()
    if listing_damaged and not lost:
        say(f"{name}: the list of its files in DVC's cache was damaged and is removed")
    if not lost:
        return listing_damaged
    said = _listed(lost, output)
    say(f"{name}: damaged, {said} not what dvc.lock says; it is fetched or made again")
    drop_links([path for path in lost if path.is_file()] + objects, root)
    fetch(md5, root, cache)
    return True


def drop_links(damaged: Iterable[Path], root: Path) -> None:
    """Remove damaged files, and whatever shares them.

    Besides workspace and cache these are finished trainings, which would publish them again,
    folders of registered versions, and the store of latents.
    """
    paths = list(damaged)
    inodes = {(s.st_dev, s.st_ino) for s in (path.stat() for path in paths)}
    for path in paths:
        path.unlink(missing_ok=True)
    work = main_workspace(root) / "work"
    for whole in (*work.glob("training/*"), *work.glob("models/*")):
        if any(_inode(path) in inodes for path in whole.rglob("*") if path.is_file()):
            shutil.rmtree(whole, ignore_errors=True)
    for shard in work.glob("latents/*"):
        if shard.is_file() and _inode(shard) in inodes:
            shard.unlink()


def drop_damaged_objects(md5: str, root: Path, cache: Path) -> list[Path]:
    """Remove from the cache what of a checkpoint is damaged there; returns what that was."""
    listing = damaged_objects([md5], cache)
    drop_links(listing, root)
    damaged = damaged_objects((objects_of(md5, cache) or {}).values(), cache)
    drop_links(damaged, root)
    return [*listing, *damaged]


def _inode(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _listed(paths: Sequence[Path], output: Path) -> str:
    names = [p.relative_to(output).as_posix() if p != output else output.name for p in paths]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(sorted(names)[:_SHOWN])}{more} {'is' if len(names) == 1 else 'are'}"
