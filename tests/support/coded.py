"""What inspection found, with its tags as text again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from nadir.data.coded_tags import decode

if TYPE_CHECKING:
    from nadir.data.inspection.listing import ListingFacts


def in_words(found: ListingFacts) -> list[dict[str, object]]:
    """The rows of `found.tags`, whose tags are numbers of its book."""
    assert found.book is not None
    pairs = found.book.pairs()
    tags = [decode(chunk, *pairs) for chunk in found.tags.column("tags").chunks]
    return found.tags.set_column(0, "tags", pa.chunked_array(tags)).to_pylist()
