"""Write one stage's entry to `dvc.lock` and leave the others' text alone.

For each stage that has run DVC parses the whole file with the parser that keeps comments, and
writes all of it anew, in place: with a line for each file of code, more than half of what a DVC
command costs beside its stage, and a file that is cut off where the process is killed meanwhile.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nadir.ground.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_STAGES = "stages:\n"
# A name that YAML writes as it is and that no parser takes for anything else.
_NAME = re.compile(r"  ([A-Za-z][\w@.-]*):\n")


def write_entries_alone() -> None:
    """Have DVC, in this process, write entries by `with_entries` where that can be done."""
    from dvc.dvcfile import Lockfile

    whole = getattr(Lockfile, "dump_stages", None)
    if whole is not None:  # another version's; it writes in its own way
        Lockfile.dump_stages = _dump_stages(whole)


def with_entries(text: str, entries: Mapping[str, Any]) -> str | None:
    """The text of a lock file with some stages' entries replaced, or added at its end.

    Args:
        text: The file, as DVC writes it.
        entries: Each stage's own, as `dvc.stage.serialize.to_lockfile` makes them.

    Returns:
        What DVC would write, to the byte; none where the file has another form than DVC's, so that
        only DVC itself should write it.
    """
    from dvc.utils.serialize import dumps_yaml

    head, found, body = text.partition(_STAGES)
    sections = _sections(body)
    if not found or (head and not head.endswith("\n")) or sections is None:
        return None
    for name, entry in entries.items():
        if not _NAME.fullmatch(f"  {name}:\n"):
            return None
        sections[name] = dumps_yaml({"stages": {name: entry}}).removeprefix(_STAGES)
    new = head + _STAGES + "".join(sections.values())
    return new if _holds(new, entries) else None


def _sections(body: str) -> dict[str, str] | None:
    """Each stage's lines by its name; none if anything else is there."""
    sections: dict[str, str] = {}
    name = None
    for line in body.splitlines(keepends=True):
        if started := _NAME.fullmatch(line):
            name = started[1]
            if name in sections:
                return None
            sections[name] = line
        elif name is None or not line.startswith("    ") or not line.endswith("\n"):
            return None
        else:
            sections[name] += line
    return sections


def _holds(text: str, entries: Mapping[str, Any]) -> bool:
    from dvc.utils.serialize import loads_yaml

    stages = loads_yaml(text)["stages"]
    return all(stages[name] == entry for name, entry in entries.items())


def _dump_stages(whole: Callable[..., None]) -> Callable[..., None]:
    """`Lockfile.dump_stages` that gives to the original what it cannot do itself."""

    @functools.wraps(whole)
    def dump_stages(lock_file: Any, stages: list[Any], **options: Any) -> None:
        from dvc.dvcfile import logger
        from dvc.stage.serialize import to_lockfile

        path = Path(lock_file.path).resolve()
        before = path.read_bytes().decode() if path.is_file() else ""
        entries = {k: v for each in stages for k, v in to_lockfile(each, **options).items()}
        new = with_entries(before, entries) if before else None
        if new is None:
            whole(lock_file, stages, **options)
        elif new != before:
            logger.info("Updating lock file '%s'", lock_file.relpath)
            with atomic_path(path) as temporary:
                temporary.write_bytes(new.encode())
            lock_file.repo.scm_context.track_file(lock_file.relpath)

    return dump_stages
