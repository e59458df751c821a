"""What a power cut leaves half-written of DVC's own files, and nothing would ever repair.

Only for the holder of the workspace lock: no stage of this workspace runs then.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from nadir.ground.files import write_text
from nadir.pipeline.graph import closed_repository
from nadir.tracking.lock_file import LOCK_FILE, damaged_lock_file, load_yaml, require_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dvc.repo import Repo

_CLOCK_S = 1.0  # a process' start is known to about a hundredth, a file's time to less


def mend_torn_files(root: Path) -> None:
    """Remove what blocks every run for ever.

    That is an empty `dvc.lock`, a damaged database of what DVC remembers, and its list of who reads
    and writes what where it is not JSON of DVC's form. Of a sound list, entries go whose process
    began after the list was last written: since the machine started again, another one has got the
    number.

    Raises:
        NadirError: `dvc.lock` is damaged, which holds results and is not removed unasked.
    """
    _check_lock_file(root / LOCK_FILE)
    repo = closed_repository(root)
    _remove_damaged_databases(Path(repo.site_cache_dir))
    path = root / ".dvc" / "tmp" / "rwlock"
    if not path.is_file():
        return
    with _editing(repo) as may_edit:
        if may_edit:
            _mend_readers_and_writers(path)


def _check_lock_file(path: Path) -> None:
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    if not path.is_file():
        return
    if not path.read_bytes().strip(b"\0 \n"):
        path.unlink()
        return
    try:
        stages = COMPILED_LOCKFILE_SCHEMA(load_yaml(path))["stages"]
    except Invalid as error:
        raise damaged_lock_file(str(error), path) from error
    require_whole(stages, path)


def _mend_readers_and_writers(path: Path) -> None:
    from dvc.rwlock import SCHEMA
    from voluptuous import Invalid

    try:
        found = SCHEMA(json.loads(path.read_bytes()))
    except (ValueError, Invalid):
        path.unlink()
        return
    written = path.stat().st_mtime
    kept: dict[str, dict[str, Any]] = {"read": {}, "write": {}}
    for place, readers in found["read"].items():
        if alive := [reader for reader in readers if not _is_another(reader, written)]:
            kept["read"][place] = alive
    for place, writer in found["write"].items():
        if not _is_another(writer, written):
            kept["write"][place] = writer
    if kept != found:
        write_text(path, json.dumps(kept))


def _is_another(entry: dict[str, Any], written: float) -> bool:
    """Whether the process of this number cannot be the one that was entered."""
    try:
        started = float(psutil.Process(entry["pid"]).create_time())
    except psutil.Error:
        return False  # DVC removes entries of processes that are gone itself
    return started > written + _CLOCK_S


@contextlib.contextmanager
def _editing(repo: Repo) -> Iterator[bool]:
    """Hold the lock under which DVC edits the list; False while another process does."""
    from dvc.lock import LockError, make_lock

    hardlink = bool(repo.config["core"].get("hardlink_lock", False))
    guard = make_lock(f"{repo.tmp_dir}/rwlock.lock", tmp_dir=repo.tmp_dir, hardlink_lock=hardlink)
    try:
        guard.lock()
    except LockError:
        yield False
        return
    try:
        yield True
    finally:
        guard.unlock()


def _remove_damaged_databases(folder: Path) -> None:
    """Of the hashes and links that DVC remembers; it finds them out again."""
    for path in list(folder.rglob("*.db")):
        if _is_damaged(path):
            shutil.rmtree(path.parent, ignore_errors=True)


def _is_damaged(path: Path) -> bool:
    try:
        with contextlib.closing(sqlite3.connect(path)) as database:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError:
        return False  # in use, or not ours to read
    except sqlite3.DatabaseError:
        return True
    return bool(found != "ok")
