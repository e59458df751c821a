"""The whole listing: facts and tags of every file, in parallel, remembered for the next time."""

from __future__ import annotations

import contextlib
import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import PIL
import pyarrow as pa
import pyarrow.compute as pc

from nadir.compute.process_pool import map_in_processes
from nadir.data import tag_text
from nadir.data.coded_tags import TagBook
from nadir.data.inspection import inspection
from nadir.data.inspection.fact_cache import KEY, KEY_TYPES, FactCache
from nadir.data.inspection.inspection import Limits, inspect_file
from nadir.data.inspection.remembered import complete, missing_files
from nadir.data.inspection.tag_files import JOIN, read_tag_rows
from nadir.data.quarantine import Reason
from nadir.data.tables import CAPTION_LIST, TAG_LIST
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
        ("captions", CAPTION_LIST),
        ("year", pa.int32()),
        ("kept_tags", pa.int32()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""What a tag file or a metadata row holds; a tag's class is "" when it names none.

Null where there is none.
"""

_CHUNK = 64
_SHARD = 1024
_FEW_TAG_FILES = 5000
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
        tags: Of schema `TAG_FACTS`; with a `book`, its tags are that book's numbers.
        looked_at: Images that had to be decoded, because they were new or changed.
        book: What the numbers mean.
    """

    facts: pa.Table
    tags: pa.Table
    looked_at: int
    book: TagBook | None = None


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
    book, rules = TagBook(), [source.location, tag_text.RULES]
    cache = FactCache(memory / f"tags-{canonical_hash(rules)[:16]}", TAG_FACTS, book)
    wanted = tag_keys(listing)
    read = _Tags(source, limits, workers, missing_files(wanted, cache.known()).num_rows)
    tags, _ = complete(wanted, cache, read, unit="tag files", misfit=Reason.BAD_TAGS_FILE)
    return ListingFacts(_with_problems(images, listing), tags, looked_at, book)


def tag_keys(listing: pa.Table) -> pa.Table:
    """What says something about each image, as columns `KEY`; several files are one key, by NUL.

    Args:
        listing: Of schema `LISTING`.
    """
    names = ["tags_path", "tags_size", "tags_version", "more_tags"]
    batches = [_tag_keys(batch) for batch in listing.select(names).to_batches()]
    return pa.Table.from_batches(batches, pa.schema(list(zip(KEY, KEY_TYPES, strict=True))))


def _tag_keys(batch: pa.RecordBatch) -> pa.RecordBatch:
    *columns, more = batch.columns
    mask = more.is_valid()
    if not mask.true_count:
        return pa.record_batch(columns, names=KEY)
    lists, own = more.filter(mask), [column.filter(mask) for column in columns]
    starts, fields = lists.offsets.to_numpy(), lists.values.flatten()
    sizes = np.add.reduceat(fields[1].to_numpy(), starts[:-1])
    joined = [
        pc.binary_join_element_wise(
            own[place],
            pc.binary_join(pa.ListArray.from_arrays(lists.offsets, fields[place]), JOIN),
            JOIN,
        )
        for place in (0, 2)
    ]
    several = [joined[0], pa.array(own[1].to_numpy() + sizes), joined[1]]
    whole = [pc.replace_with_mask(*each) for each in zip(columns, [mask] * 3, several, strict=True)]
    return pa.record_batch(whole, names=KEY)


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
            return ((chunk, read_tag_rows(self.source, chunk)) for chunk in chunks)
        return self._in_processes(chunks)

    def _in_processes(
        self, chunks: Iterable[Sequence[FileKey]]
    ) -> Iterator[tuple[Sequence[FileKey], list[Row]]]:
        # A chunk counts as one item, so that its files are read at the same time from afar.
        read = functools.partial(read_tag_rows, self.source)
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


def lost_row(_file: FileKey, loss: Loss) -> Row:
    """What is known of a file whose inspection never ended."""
    return {"reason": loss, "detail": LOST[Reason(loss)]}


def _lost_chunk(chunk: Sequence[FileKey], loss: Loss) -> list[Row]:
    return [lost_row(file, loss) for file in chunk]
