"""Which layout a source has, recognised by its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.data.sources.layouts.layout import Look
from nadir.data.sources.layouts.registry import FALLBACK, LAYOUTS

if TYPE_CHECKING:
    import pyarrow as pa

    from nadir.data.sources.interfaces import Store
    from nadir.data.sources.layouts.layout import Layout


def detect(files: pa.Table, store: Store) -> list[Layout]:
    """The layouts that the files speak for, the best first; never empty.

    Opens at most a few metadata files, and of those the beginning only.

    Args:
        files: Of schema `FILES`.
        store: Where they lie.
    """
    look = Look(files, store)
    found = [layout for layout in LAYOUTS if layout.is_named(look)]
    found = found or [layout for layout in LAYOUTS if layout.is_inside(look)]
    left = [layout for layout in LAYOUTS if layout.is_left(look, found=bool(found))]
    return found + left or [FALLBACK]
