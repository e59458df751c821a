"""The whole listing: facts and tags of every file, in parallel, remembered for the next time."""

from __future__ import annotations

import contextlib
import functools
import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import PIL
import pyarrow as pa
import pyarrow.compute as pc

from nadir.compute.process_pool import map_in_processes
from nadir.data import tag_text
from nadir.data.inspection import inspection
from nadir.data.inspection.fact_cache import KEY, FactCache
from nadir.data.inspection.inspection import Limits, inspect_file
from nadir.data.inspection.remembered import complete, missing_files
from nadir.data.quarantine import Reason
from nadir.data.tables import TAG_LIST
from nadir.data.tag_text import TagsFileError, parse_tag_file
from nadir.ground.files import canonical_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from nadir.compute.process_pool import Loss
    from nadir.data.inspection.remembered import FileKey, Row
    from nadir.data.sources.interfaces import Source

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
        ("colour", pa.string()),
    ]
)
"""`nadir.data.inspection.inspection.Facts` as columns."""
TAG_FACTS: pa.Schema = pa.schema(
    [
        ("tags", TAG_LIST),
        ("written", pa.int32()),
        ("well_formed", pa.int32()),
        ("rating", pa.string()),
        ("score", pa.int64()),
        ("record_id", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""What a tag file or a metadata row holds; a tag's class is "" when it names none.

Null where there is none. `score` is kept for filters; nothing looks at it yet.
"""

_CHUNK = 64
_SHARD = 1024
_FEW_TAG_FILES = 5000
# Reading a small object over a network is waiting, hardly work.
_READERS = 16
LOST = {
    Reason.CRASHED: "the decoder crashed on this file",
    Reason.TIMED_OUT: "reading and decoding it took longer than validate.max_seconds",
}
"""What to say of a file whose inspection never ended."""


@dataclass(frozen=True)
class ListingFacts:
    """Facts about a listing, row for row.

    Attributes:
        facts: Of schema `FACTS`.
        tags: Of schema `TAG_FACTS`.
        looked_at: Images that had to be decoded, because they were new or changed.
    """

    facts: pa.Table
    tags: pa.Table
    looked_at: int


def inspect_listing(
    listing: pa.Table,
    source: Source,
    *,
    limits: Limits,
    memory: Path,
    workers: int,
    scheduler: str | None = None,
) -> ListingFacts:
    """Inspect every listed image and read every tag file, except what is known already.

    Args:
        listing: Of schema `LISTING`.
        source: Where the files lie.
        limits: What one image may cost.
        memory: Folder of what is known from earlier runs.
        workers: Processes; 0 uses every core.
        scheduler: Address of a Dask scheduler whose workers decode the images instead.

    Raises:
        NadirError: The Dask cluster is out of reach, or does not see the images.
    """
    # Only the background changes what an image's facts are; limits decide what is looked at.
    rules = [source.location, inspection.RULES, PIL.__version__, limits.alpha_background]
    cache = FactCache(memory / f"images-{canonical_hash(rules)[:16]}", FACTS)
    images, looked_at = complete(
        _without_problems(listing),
        cache,
        _Images(source, limits, workers, scheduler),
        unit="images",
        misfit=Reason.UNREADABLE,
    )
    cache = FactCache(
        memory / f"tags-{canonical_hash([source.location, tag_text.RULES])[:16]}", TAG_FACTS
    )
    wanted = listing.select(["tags_path", "tags_size", "tags_version"]).rename_columns(KEY)
    read = _Tags(source, limits, workers, missing_files(wanted, cache.known()).num_rows)
    tags, _ = complete(wanted, cache, read, unit="tag files", misfit=Reason.BAD_TAGS_FILE)
    return ListingFacts(_with_problems(images, listing), tags, looked_at)


def _without_problems(listing: pa.Table) -> pa.Table:
    """The keys of the listed images; nulls where the source says that there is none to look at."""
    fine = pc.is_null(listing.column("problem"))
    columns = [pc.if_else(fine, listing.column(name), None) for name in KEY]
    return pa.Table.from_arrays(columns, names=KEY)


def _with_problems(facts: pa.Table, listing: pa.Table) -> pa.Table:
    """Facts, with what the source says where there was nothing to look at."""
    for name, stated in (("reason", "problem"), ("detail", "detail")):
        column = pc.coalesce(listing.column(stated), facts.column(name))
        facts = facts.set_column(facts.column_names.index(name), facts.schema.field(name), column)
    return facts


@dataclass(frozen=True)
class _Images:
    """Work of decoding: in processes here, or on a cluster."""

    source: Source
    limits: Limits
    workers: int
    scheduler: str | None

    @property
    def chunk(self) -> int:
        return _SHARD if self.scheduler else _CHUNK

    def __call__(
        self, chunks: Iterable[Sequence[FileKey]]
    ) -> Iterator[tuple[Sequence[FileKey], list[Row]]]:
        look = functools.partial(inspect_row, self.source, self.limits)
        limit_s = self.limits.max_seconds
        if self.scheduler:
            from nadir.compute.dask_pool import map_on_cluster

            shards = iter(chunks)
            first = next(shards)
            return map_on_cluster(
                look,
                itertools.chain([first], shards),
                scheduler=self.scheduler,
                limit_s=limit_s,
                lost=lost_row,
                probe=functools.partial(_sees_one_of, self.source, first),
            )
        return map_in_processes(look, chunks, workers=self.workers, limit_s=limit_s, lost=lost_row)


@dataclass(frozen=True)
class _Tags:
    """Work of reading tags: mostly here, for starting a process takes longer than a few files."""

    source: Source
    limits: Limits
    workers: int
    files: int

    chunk = 256

    def __call__(
        self, chunks: Iterable[Sequence[FileKey]]
    ) -> Iterator[tuple[Sequence[FileKey], list[Row]]]:
        if self.files < _FEW_TAG_FILES:
            return ((chunk, _read_rows(self.source, chunk)) for chunk in chunks)
        return self._in_processes(chunks)

    def _in_processes(
        self, chunks: Iterable[Sequence[FileKey]]
    ) -> Iterator[tuple[Sequence[FileKey], list[Row]]]:
        # A chunk counts as one item, so that its files are read at the same time from afar.
        read = functools.partial(_read_rows, self.source)
        limit_s = self.limits.max_seconds * self.chunk
        items = ([chunk] for chunk in chunks)
        work = map_in_processes(
            read, items, workers=self.workers, limit_s=limit_s, lost=_lost_chunk
        )
        for done, results in work:
            yield done[0], results[0]


def _sees_one_of(source: Source, files: Sequence[FileKey]) -> None:
    """Fail where none of the files can be found."""
    for path, _, _ in files[:-1]:
        with contextlib.suppress(OSError):
            source.version(path)
            return
    source.version(files[-1][0])


def inspect_row(source: Source, limits: Limits, file: FileKey) -> Row:
    """`inspect_file` as columns; what a worker process runs."""
    return vars(inspect_file(source, *file, limits=limits))


def _read_rows(source: Source, files: Sequence[FileKey]) -> list[Row]:
    if not source.remote:
        return [_read_tags(source, *file) for file in files]
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(lambda file: _read_tags(source, *file), files))


def _read_tags(source: Source, path: str, size: int, version: str) -> Row:
    try:
        content = source.read(path, tag_text.MAX_BYTES + 1)
        whole = size > tag_text.MAX_BYTES or len(content.data) == size
        if content.version != version or not whole:
            detail = "the tag file has changed since it was listed"
            return {"reason": str(Reason.VANISHED), "detail": detail}
        found = parse_tag_file(content.data, path)
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
    return row | {"rating": found.rating, "score": found.score, "record_id": found.record_id}


def lost_row(_file: FileKey, loss: Loss) -> Row:
    """What is known of a file whose inspection never ended."""
    return {"reason": loss, "detail": LOST[Reason(loss)]}


def _lost_chunk(chunk: Sequence[FileKey], loss: Loss) -> list[Row]:
    return [lost_row(file, loss) for file in chunk]
