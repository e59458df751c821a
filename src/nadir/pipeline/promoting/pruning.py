"""Versions removed from the registry, and what `nadir clean` could free of their weights then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.pipeline.storage.objects import cache_folder, object_path, objects_of

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.tracking.registry.promoting.pruning import Pruned


def weights_bytes(root: Path, pruned: Pruned) -> int:
    """What DVC's cache holds for versions that go and for none that stays, in bytes.

    Args:
        root: The project's root.
        pruned: What goes and stays.
    """
    cache = cache_folder(root)

    def objects(md5s: set[str]) -> set[str]:
        return {hash_ for md5 in md5s if md5 for hash_ in (objects_of(md5, cache) or {}).values()}

    stays = objects({one.md5 for one in pruned.kept})
    goes = objects({one.version.md5 for one in pruned.removals}) - stays
    paths = [object_path(hash_, cache) for hash_ in goes]
    return sum(path.stat().st_size for path in paths if path.is_file())
