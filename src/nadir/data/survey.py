"""The whole listing: facts and tags of every file, in parallel, remembered for the next time."""

from __future__ import annotations

import functools
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import PIL
import pyarrow as pa

from nadir.data import inspection, tags_text
from nadir.data.fact_cache import KEY, FactCache, match
from nadir.data.inspection import Limits, inspect_files
from nadir.data.quarantine import PASSING, Reason
from nadir.data.tables import TAG_LIST
from nadir.data.tags_text import TagsFileError, parse_tag_file
from nadir.data.workers import map_in_processes
from nadir.ground.events import Progress
from nadir.ground.files import canonical_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from nadir.data.sources.base import Source

FACTS: pa.Schema = pa.schema(
    [
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("format", pa.string()),
        ("mean_luminance", pa.float32()),
        ("perceptual_hash", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""`nadir.data.inspection.Facts` as columns."""
TAG_FACTS: pa.Schema = pa.schema(
    [
        ("tags", TAG_LIST),
        ("written", pa.int32()),
        ("well_formed", pa.int32()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""What a tag file holds; a tag's class is "" when the file names none. Null where there is none."""

_SAVE_EVERY_S = 15.0
_FEW_TAG_FILES = 5000
_PASSING = frozenset(str(reason) for reason in PASSING)
FileKey = tuple[str, int, int]
Row = dict[str, object]


@dataclass(frozen=True)
class Survey:
    """Facts about a listing, row for row.

    Attributes:
        facts: Of schema `FACTS`.
        tags: Of schema `TAG_FACTS`.
        looked_at: Images that had to be decoded, because they were new or changed.
    """

    facts: pa.Table
    tags: pa.Table
    looked_at: int


def survey(
    listing: pa.Table, source: Source, *, limits: Limits, memory: Path, workers: int
) -> Survey:
    """Inspect every listed image and read every tag file, except what is known already.

    Args:
        listing: Of schema `LISTING`.
        source: Where the files lie.
        limits: What one image may cost.
        memory: Folder of what is known from earlier runs.
        workers: Processes; 0 uses every core.
    """
    # Only the background changes what an image's facts are; limits decide what is looked at.
    rules = [source.location, inspection.RULES, PIL.__version__, limits.alpha_background]
    cache = FactCache(memory / f"images-{canonical_hash(rules)[:16]}", FACTS)
    inspect = functools.partial(_inspect_rows, source, limits)
    images, looked_at = _complete(
        listing.select(KEY), cache, inspect, workers=workers, unit="images"
    )
    cache = FactCache(
        memory / f"tags-{canonical_hash([source.location, tags_text.RULES])[:16]}", TAG_FACTS
    )
    wanted = listing.select(["tags_path", "tags_size", "tags_modified_ns"]).rename_columns(KEY)
    read = functools.partial(_read_rows, source)
    tags, _ = _complete(
        wanted, cache, read, workers=workers, unit="tag files", at_least=_FEW_TAG_FILES
    )
    return Survey(images, tags, looked_at)


def _complete(
    wanted: pa.Table,
    cache: FactCache,
    look: Callable[[Sequence[FileKey]], list[Row]],
    *,
    workers: int,
    unit: str,
    at_least: int = 0,
) -> tuple[pa.Table, int]:
    """Facts for each row of `wanted` (nulls where its path is null), and how many were new."""
    known = cache.known()
    missing = wanted.filter(pa.array(match(wanted, known) < 0)).drop_null()
    items = sorted({(str(r["path"]), r["size"], r["modified_ns"]) for r in missing.to_pylist()})
    fresh = _look(items, cache, look, workers=workers, unit=unit, at_least=at_least)
    table = pa.concat_tables([known, fresh])
    rows = match(wanted, table)
    positions = pa.array(rows, mask=rows < 0)
    return table.take(positions).drop_columns(KEY), len(items)


def _look(
    items: Sequence[FileKey],
    cache: FactCache,
    look: Callable[[Sequence[FileKey]], list[Row]],
    *,
    workers: int,
    unit: str,
    at_least: int = 0,
) -> pa.Table:
    parts, unsaved, saved = [], [], time.monotonic()
    progress = Progress("validate", len(items), unit)
    work = map_in_processes(look, items, workers=workers, lost=_crashed, at_least=at_least)
    for chunk, found in work:
        keys = [dict(zip(KEY, key, strict=True)) for key in chunk]
        rows = [key | row for key, row in zip(keys, found, strict=True)]
        part = pa.Table.from_pylist(rows, schema=cache.schema)
        parts.append(part)
        unsaved.append(_lasting(part))
        progress.advance(len(chunk))
        if time.monotonic() - saved > _SAVE_EVERY_S:
            cache.add(pa.concat_tables(unsaved))
            unsaved, saved = [], time.monotonic()
    if unsaved:
        cache.add(pa.concat_tables(unsaved))
        cache.merge()
    return pa.concat_tables([cache.schema.empty_table(), *parts])


def _lasting(part: pa.Table) -> pa.Table:
    """Rows that will be as true next time."""
    keep = [reason not in _PASSING for reason in part.column("reason").to_pylist()]
    return part.filter(pa.array(keep, pa.bool_()))


def _inspect_rows(source: Source, limits: Limits, files: Sequence[FileKey]) -> list[Row]:
    return [asdict(facts) for facts in inspect_files(source, limits, files)]


def _read_rows(source: Source, files: Sequence[FileKey]) -> list[Row]:
    return [_read_tags(source, *file) for file in files]


def _read_tags(source: Source, path: str, size: int, modified_ns: int) -> Row:
    try:
        with source.open(path) as file:
            found = parse_tag_file(file.read(tags_text.MAX_BYTES + 1), path)
        if source.version(path) != (size, modified_ns):
            detail = "the tag file has changed since it was listed"
            return {"reason": str(Reason.VANISHED), "detail": detail}
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
    return {"tags": tags, "written": found.written, "well_formed": found.well_formed}


def _crashed(_key: FileKey) -> Row:
    return {"reason": str(Reason.CRASHED), "detail": "the decoder crashed on this file"}
