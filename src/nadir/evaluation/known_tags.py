"""Which tags of a prompt training images have: a model cannot be judged by the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.data.tables import TAGS, read_table
from nadir.data.tags.written import prompt_tags

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
        prompts: Tags between commas, in any form that `write_prompt` reads; sentences are passed
            over.
        known: From `known_tags`.
    """
    asked = (pair for prompt in prompts for pair in prompt_tags(prompt))
    return tuple(dict.fromkeys(raw for raw, tag in asked if tag not in known))
