"""How files are looked at: in processes here, or on a cluster."""

from __future__ import annotations

import contextlib
import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nadir.compute.process_pool import map_in_processes
from nadir.data.inspection.inspection import Limits, inspect_file
from nadir.data.inspection.tag_files import read_tag_rows
from nadir.data.quarantine import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nadir.compute.process_pool import Loss
    from nadir.data.inspection.remembered import FileKey, Row
    from nadir.data.sources.interfaces import Source

_CHUNK = 64
_SHARD = 1024
_FEW_TAG_FILES = 5000
LOST = {
    Reason.CRASHED: "the decoder crashed on this file",
    Reason.TIMED_OUT: "reading and decoding it took longer than validate.max_seconds",
}
"""What to say of a file whose inspection never ended."""


@dataclass(frozen=True)
class Images:
    """Work of decoding: in processes here, or on a cluster."""

    source: Source
    limits: Limits
    workers: int
    scheduler: str | None

    @property
    def chunk(self) -> int:
        """Files to give a process, or a machine of the cluster, at a time."""
        return _SHARD if self.scheduler else _CHUNK

    def __call__(
        self, chunks: Iterable[Sequence[FileKey]], _files: int
    ) -> Iterator[tuple[Sequence[FileKey], list[Row]]]:
        """Yield (files, their facts), in any order."""
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
class Tags:
    """Work of reading tags: mostly here, for starting a process takes longer than a few files."""

    source: Source
    limits: Limits
    workers: int

    chunk = 256

    def __call__(
        self, chunks: Iterable[Sequence[FileKey]], files: int
    ) -> Iterator[tuple[Sequence[FileKey], list[Row]]]:
        """Yield (files, their facts), in any order, of so many files."""
        if files < _FEW_TAG_FILES:
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
