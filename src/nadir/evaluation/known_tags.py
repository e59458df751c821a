"""Which tags of a prompt training images have: a model cannot be judged by the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.data.tables import TAGS, read_table
from nadir.data.tag_text import read_tag

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    import pyarrow as pa


def known_tags(tags: Path) -> frozenset[str]:
    """Every tag of the training images, and every name that stands for one.

    Args:
        tags: `data/tags.parquet`.
    """
    table: pa.Table = read_table(tags, TAGS, ["tag", "from_names"])
    names = table["from_names"].combine_chunks().flatten()
    return frozenset([*table["tag"].to_pylist(), *names.to_pylist()])


def unknown_tags(prompts: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """The tags of some prompts that no training image has, each once, in order.

    Args:
        prompts: Tags between commas, in any form that `read_tag` reads.
        known: From `known_tags`.
    """
    asked = (tag.strip() for prompt in prompts for tag in prompt.split(","))
    return tuple(
        dict.fromkeys(tag for tag in asked if read_tag(tag) and read_tag(tag) not in known)
    )
