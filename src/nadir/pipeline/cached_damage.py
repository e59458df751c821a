"""Damaged files in DVC's cache, which shares its files with the workspace by hard link."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.pipeline.cache import cache_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


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
