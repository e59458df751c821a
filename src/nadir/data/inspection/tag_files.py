"""What the tag files and metadata rows of images hold, as columns of `TAG_FACTS`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from nadir.data import tag_text
from nadir.data.quarantine import Reason
from nadir.data.tag_text import TagsFileError, parse_sources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.data.inspection.remembered import FileKey, Row
    from nadir.data.sources.interfaces import Source

JOIN = "\0"
"""Between the paths of a key; no path has it in it."""
# Reading a small object over a network is waiting, hardly work.
_READERS = 16


def read_tag_rows(source: Source, files: Sequence[FileKey]) -> list[Row]:
    """Tags, classes, rating and other facts of some keys; what a worker process runs.

    Args:
        source: Where they lie.
        files: Path, size and version of each; those of several files joined by `JOIN`.
    """
    if not source.remote:
        return [_read_tags(source, *file) for file in files]
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(lambda file: _read_tags(source, *file), files))


def _read_tags(source: Source, path: str, size: int, version: str) -> Row:
    try:
        contents = _contents(source, path, size, version)
        if contents is None:
            detail = "the tag file has changed since it was listed"
            return {"reason": str(Reason.VANISHED), "detail": detail}
        found = parse_sources(contents)
    except FileNotFoundError:
        return {
            "reason": str(Reason.VANISHED),
            "detail": "the tag file is gone since it was listed",
        }
    except OSError as error:
        return {"reason": str(Reason.CANNOT_OPEN), "detail": f"the tag file: {error.strerror}"}
    except TagsFileError as error:
        return {"reason": str(Reason.BAD_TAGS_FILE), "detail": str(error)}
    tags = [{"name": name, "class": kind} for name, kind in found.tags]
    row: Row = {"tags": tags, "written": found.written, "well_formed": found.well_formed}
    if found.captions:
        row["captions"] = [{"kind": kind, "text": text} for kind, text in found.captions]
    row |= {"year": found.year, "kept_tags": found.kept}
    return row | {"rating": found.rating, "score": found.score, "record_id": found.record_id}


def _contents(source: Source, path: str, size: int, version: str) -> list[tuple[bytes, str]] | None:
    """Bytes and name of each file of a key; None when one is not what was listed."""
    found, total, most = [], 0, 0
    for name, stated in zip(path.split(JOIN), version.split(JOIN), strict=True):
        content = source.read(name, tag_text.MAX_BYTES + 1)
        if content.version != stated:
            return None
        found.append((content.data, name))
        total, most = total + len(content.data), max(most, len(content.data))
    # A longer file is not read to its end.
    return found if total == size or most > tag_text.MAX_BYTES else None
