"""The whole listing: facts and tags of every file, in parallel, remembered for the next time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import PIL
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data import tag_text
from nadir.data.coded_tags import TagBook
from nadir.data.inspection import inspection
from nadir.data.inspection.fact_cache import KEY, KEY_TYPES, FactCache
from nadir.data.inspection.looking import Images, Tags
from nadir.data.inspection.remembered import complete
from nadir.data.inspection.tag_files import JOIN
from nadir.data.quarantine import Reason
from nadir.data.tables import CAPTION_LIST, TAG_LIST
from nadir.ground.files import canonical_hash

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.data.inspection.inspection import Limits
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


class Inspector:
    """Inspects listed images and reads tag files, one part of a listing after another.

    What is known already is not looked at again.

    Args:
        source: Where the files lie.
        limits: What one image may cost.
        memory: Folder of what is known from earlier runs.
        workers: Processes; 0 uses every core.
        scheduler: Address of a Dask scheduler whose workers decode the images instead.

    Attributes:
        book: What the numbers of tags mean, in all parts.
        known_images: What is remembered of images.
        known_tags: What is remembered of tag files.
    """

    def __init__(
        self,
        source: Source,
        limits: Limits,
        memory: Path,
        workers: int,
        scheduler: str | None = None,
    ) -> None:
        self._images = Images(source, limits, workers, scheduler)
        self._tags = Tags(source, limits, workers)
        # Only the background changes what an image's facts are; limits decide what is looked at.
        rules = [source.location, inspection.RULES, PIL.__version__, limits.alpha_background]
        folder = memory / f"images-{canonical_hash(rules)[:16]}"
        self.known_images = FactCache(folder, FACTS)
        folder = memory / f"tags-{canonical_hash([source.location, tag_text.RULES])[:16]}"
        self.book = TagBook()
        self.known_tags = FactCache(folder, TAG_FACTS, self.book)

    def look(self, listing: pa.Table) -> ListingFacts:
        """What is found about the rows of a listing, of schema `LISTING`, or of a part of it.

        Raises:
            NadirError: The Dask cluster is out of reach, or does not see the images; or another
                run replaced what was found.
        """
        images, looked_at = complete(
            _without_problems(listing),
            self.known_images,
            self._images,
            unit="images",
            misfit=Reason.UNREADABLE,
        )
        tags, _ = complete(
            tag_keys(listing),
            self.known_tags,
            self._tags,
            unit="tag files",
            misfit=Reason.BAD_TAGS_FILE,
        )
        return ListingFacts(_with_problems(images, listing), tags, looked_at, self.book)

    def remember(self) -> None:
        """Put what is known in order, after all parts; what was found is on disk before."""
        self.known_images.merge()
        self.known_tags.merge()


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
