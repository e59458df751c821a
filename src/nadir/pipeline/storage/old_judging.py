"""Kept evaluations and pages of judgements that no registered version can be judged by again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nadir.pipeline.storage.objects import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from nadir.tracking.registry.versions import Version

_PAGE = re.compile(r"(?P<name>.+)-(?P<one>\d+)-against-(?P<other>\d+)")


def unneeded_evaluations(main: Path, versions: Collection[Version]) -> list[Path]:
    """Evaluations of weights that no version has, and by protocols of old.

    A version is judged by the protocol it was evaluated by last, so what every version has by one
    of these stays; what was drawn by another is not read again.

    Args:
        main: The main workspace.
        versions: Registered ones; an alias is always one of them.
    """
    folders = [path for path in sorted((main / "work" / "evaluations").glob("*/*")) if _kept(path)]
    registered = {version.md5.removesuffix(DIRECTORY) for version in versions if version.md5}
    mine = [path for path in folders if path.name in registered]
    newest: dict[str, str] = {}
    for path in sorted(mine, key=lambda one: one.stat().st_mtime):
        newest[path.name] = path.parent.name
    asked = set(newest.values())
    return [path for path in folders if path not in mine or path.parent.name not in asked]


def unneeded_judgements(main: Path, versions: Iterable[Version]) -> list[Path]:
    """Pages about a version that is registered no more; a run keeps its own copy.

    Args:
        main: The main workspace.
        versions: Registered ones.
    """
    registered = {(version.name, str(version.version)) for version in versions}
    found = []
    for path in sorted((main / "work" / "judgements").glob("*")):
        page = _PAGE.fullmatch(path.name)
        if page and any((page["name"], page[one]) not in registered for one in ("one", "other")):
            found.append(path)
    return found


def _kept(path: Path) -> bool:
    """Not one that is being written."""
    return path.is_dir() and not path.name.startswith(".")
