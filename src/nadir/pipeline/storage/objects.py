"""DVC's cache as files: where an object lies, what a folder consists of, and what is damaged.

DVC trusts the name of a cached file, which is its md5. A workspace shares its files with the cache
by hard link, so damage to the one is damage to the other, under the old name.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

from nadir.ground.files import file_hash, write_text
from nadir.pipeline.fingerprint import folder_listing, path_md5
from nadir.pipeline.graph import require_repository

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DIRECTORY = ".dir"
_READERS = 4
# Nothing there, a folder there, or a file where a folder above it should be.
_NO_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


def cache_folder(root: Path) -> Path:
    """`.dvc/cache/files/md5`, or where DVC's configuration puts it."""
    from pathlib import Path

    from dvc.repo import Repo

    require_repository(root)
    with Repo(str(root)) as repo:
        return Path(repo.cache.local.path)


def object_path(md5: str, cache: Path) -> Path:
    """Where the cache keeps the object of this hash."""
    return cache / md5[:2] / md5[2:]


def listing(md5: str, cache: Path) -> dict[str, str] | None:
    """The md5 of each file of a folder by its path; None when the list is missing or damaged."""
    path = object_path(md5, cache)
    try:
        if file_hash(path, "md5") != md5.removesuffix(DIRECTORY):
            return None
        return {entry["relpath"]: entry["md5"] for entry in json.loads(path.read_bytes())}
    except _NO_FILE:
        return None


def objects_of(md5: str, cache: Path) -> dict[str, str] | None:
    """What an output consists of: hash by path below it, "" for itself; None without its list."""
    if not md5.endswith(DIRECTORY):
        return {"": md5}
    files = listing(md5, cache)
    return None if files is None else {"": md5, **files}


def file_md5s(paths: Iterable[Path]) -> dict[Path, str]:
    """The md5 of each file's bytes as they are now, "" of one that is missing.

    A file is read again unless size, times (that of its last change included, which no program
    can set back) and inode are those of an earlier call in this process.
    """
    listed = list(paths)
    with ThreadPoolExecutor(_READERS) as pool:
        return dict(zip(listed, pool.map(_md5, listed), strict=True))


def _md5(path: Path) -> str:
    try:
        status = path.stat()
        key = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        return _md5_of(path, key)
    except _NO_FILE:
        return ""


@lru_cache(maxsize=4096)
def _md5_of(path: Path, _key: tuple[int, ...]) -> str:
    return file_hash(path, "md5")


def damaged_objects(md5s: Iterable[str], cache: Path) -> list[Path]:
    """Cached files that are there and do not have the hash they are named after."""
    paths = {object_path(md5, cache): md5.removesuffix(DIRECTORY) for md5 in md5s}
    return [path for path, found in file_md5s(paths).items() if found not in {"", paths[path]}]


def wrong_files(output: Path, md5: str, cache: Path) -> dict[Path, str]:
    """Files of an output that are not what `md5` says: changed, missing, or not of it.

    Returns:
        What the cache should hold for each, "" for a file that is not of the output; for a folder
        whose list is lost, the folder itself.
    """
    if not md5.endswith(DIRECTORY):
        return {} if _md5(output) == md5 else {output: md5}
    files = listing(md5, cache)
    if files is None:
        same = output.is_dir() and path_md5(output) == md5
        return {} if same else {output: md5}
    wanted = {output / name: hash_ for name, hash_ in files.items()}
    there = {path for path in output.rglob("*") if path.is_file()} if output.is_dir() else set()
    found = file_md5s(wanted)
    wrong = {path: hash_ for path, hash_ in wanted.items() if found[path] != hash_}
    return wrong | dict.fromkeys(sorted(there - wanted.keys()), "")


def mend_listing(output: Path, md5: str, cache: Path) -> bool:
    """Drop a damaged list of a folder's files, and write it again where the folder is sound.

    Returns:
        Whether the list was damaged.
    """
    if not md5.endswith(DIRECTORY) or not damaged_objects([md5], cache):
        return False
    path = object_path(md5, cache)
    path.unlink()
    if output.is_dir() and path_md5(output) == md5:
        write_text(path, folder_listing(output))
        path.chmod(0o444)  # as DVC protects its files
    return True
