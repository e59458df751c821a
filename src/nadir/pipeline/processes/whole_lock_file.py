"""DVC writes `dvc.lock` in place: a stop at that moment must not cost what was known before."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.ground.files import atomic_path
from nadir.tracking.lock_file import LOCK_FILE, read_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def lock_file_stays_whole(root: Path) -> Iterator[None]:
    """Put `dvc.lock` back as it was if what runs in the block leaves it cut off.

    Nothing is computed again for that: DVC has put the stage's result into its cache before.

    Args:
        root: The project's root.
    """
    path = root / LOCK_FILE
    before = path.read_bytes() if path.is_file() else None
    try:
        yield
    finally:
        if _is_torn(root) and (before is None or path.read_bytes() != before):
            _put_back(path, before)


def _is_torn(root: Path) -> bool:
    try:
        read_lock(root)
    except NadirError:
        return True
    return False


def _put_back(path: Path, content: bytes | None) -> None:
    # Where that fails, as on a full disk, the next command says that the file is damaged.
    with contextlib.suppress(OSError):
        if content is None:
            path.unlink()
        else:
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
