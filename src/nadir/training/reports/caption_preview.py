"""What training will ask for some images, and what of it the text encoders do not read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.tables import MANIFEST, TAG_LIST, TAGS, read_table
from nadir.data.tags.caption_facts import about, caption_facts
from nadir.data.tags.codes import TagCoder, tag_batches
from nadir.data.tags.weights import tag_names
from nadir.diffusion.sdxl import CHUNK_TOKENS
from nadir.model.sdxl.token_counts import token_counter
from nadir.training.text_states.variants import CaptionDraw

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import CLIPTokenizer

    from nadir.config.train import TrainParams


@dataclass(frozen=True)
class AskedCaption:
    """The prompt of one image.

    Attributes:
        path: As the manifest has it.
        read: What the text encoders read.
        beyond: What is cut off.
        tokens: Of all of it.
    """

    path: str
    read: str
    beyond: str
    tokens: int


def asked_captions(
    params: TrainParams,
    *,
    manifest: Path,
    tags: Path,
    tokenizers: Sequence[CLIPTokenizer],
    images: int,
    step: int,
) -> list[AskedCaption]:
    """The captions that the first training images have at one step.

    A caption's draws depend on seed, step and place in the batch; the first image is taken for the
    first of the batch, and so on.

    Args:
        params: Captions and seed.
        manifest: data/manifest.parquet.
        tags: data/tags.parquet.
        tokenizers: Of the base model.
        images: How many, the first by hash.
        step: From 0.
    """
    table, splits = read_table(tags, TAGS), read_table(manifest, MANIFEST, ["split"])["split"]
    train = pc.equal(splits, "train").to_numpy()
    chosen = train & (np.cumsum(train) <= images)
    coder, names = TagCoder(table), tag_names(table)
    facts = caption_facts(manifest, params.caption, coder=coder, tag_names=names, chosen=chosen)
    paths, hashes, lists = _first(manifest, images)
    draw = CaptionDraw(params)
    uses = coder.encode(lists)
    counters = [token_counter([tokenizer]) for tokenizer in tokenizers]
    limit = CHUNK_TOKENS * params.caption.token_chunks
    found = []
    for place, path in enumerate(paths):
        tags_of_it = [names[row] for row in uses.of(place)]
        caption = draw.at(step, place, hashes[place], tags_of_it, about(facts, place))
        words = caption.split(" ") if caption else []
        # A tokenizer never joins what a space parts.
        ends = np.max([np.cumsum(count(words)) for count in counters], axis=0) if words else []
        read = int(np.searchsorted(ends, limit, side="right"))
        tokens = int(ends[-1]) if words else 0
        found.append(AskedCaption(path, " ".join(words[:read]), " ".join(words[read:]), tokens))
    return found


def _first(manifest: Path, images: int) -> tuple[list[str], list[str], pa.ListArray]:
    """Paths, sha256 and tags of the first training images; no more is read than they need."""
    paths: list[str] = []
    hashes: list[str] = []
    parts = []
    for batch, tags in tag_batches(manifest, ["split", "path", "sha256"]):
        rows = np.flatnonzero(pc.equal(batch.column("split"), "train"))[: images - len(paths)]
        paths += batch.column("path").take(rows).to_pylist()
        hashes += batch.column("sha256").take(rows).to_pylist()
        parts.append(tags.take(rows))
        if len(paths) >= images:
            break
    return paths, hashes, pa.concat_arrays([part.cast(TAG_LIST) for part in parts])
