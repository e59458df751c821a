"""Samples, places of latents and of masks, to files and back, equal to the bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from nadir.data.latents.places import LatentPlaces, MaskPlaces
from nadir.data.tags.caption_facts import CaptionFacts
from nadir.data.tags.codes import TagUses
from nadir.ground.files import read_json, write_json
from nadir.training.samples import Samples
from nadir.training.start.arrays import Texts, map_array, map_columns, write_array, write_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_ARRAYS = ("positions_N", "tag_images_N", "weights_N", "time_ids_N6", "is_largest")
_PLACES = ("shard", "row", "flip_shard", "flip_row", "flip_crop_left")
_FACTS = "facts.json"
_SENTENCES = "sentences"


@dataclass(frozen=True)
class TrainingData:
    """What a training reads of the dataset.

    Attributes:
        samples: The training images.
        latents: Where the rows of the latents' index lie.
        masks: Where their masks lie; None without `train.masked_loss`.
    """

    samples: Samples
    latents: LatentPlaces
    masks: MaskPlaces | None


def write_uses(folder: Path, uses: TagUses, name: str = "tags") -> None:
    """Write tags as compressed sparse rows: offsets and codes."""
    write_array(folder, f"{name}_offsets", uses.starts)
    write_array(folder, f"{name}_codes", uses.rows)


def map_uses(folder: Path, name: str = "tags") -> TagUses:
    """What `write_uses` wrote."""
    return TagUses(map_array(folder, f"{name}_offsets"), map_array(folder, f"{name}_codes"))


def write_data(folder: Path, data: TrainingData) -> None:
    """Write all but the tags of the images and their names."""
    samples = data.samples
    for name in _ARRAYS:
        write_array(folder, name, getattr(samples, name))
    if samples.repeats_N is not None:
        write_array(folder, "repeats_N", samples.repeats_N)
    write_array(folder, "buckets", np.concatenate(samples.buckets))
    write_array(folder, "bucket_ends", np.cumsum([len(rows) for rows in samples.buckets]))
    write_columns(folder, "hashes", pa.table({"sha256": pa.array(samples.hashes, pa.string())}))
    for name in _PLACES:
        write_array(folder, f"latent_{name}", getattr(data.latents, name))
    if data.masks is not None:
        write_array(folder, "mask_shard", data.masks.shard)
        write_array(folder, "mask_row", data.masks.row)
    if samples.facts is not None:
        _write_facts(folder, samples.facts)
    facts = {
        "aliases": dict(samples.aliases),
        "epochs_a_pass": samples.epochs_a_pass,
        "has_repeats": samples.repeats_N is not None,
        "has_facts": samples.facts is not None,
        "latent_shards": list(data.latents.names),
        "mask_shards": None if data.masks is None else list(data.masks.names),
    }
    write_json(folder / _FACTS, facts)


def map_data(folder: Path, uses: TagUses, tag_names: Sequence[tuple[str, str]]) -> TrainingData:
    """What `write_data` wrote, mapped.

    Args:
        folder: Where to.
        uses: The tags of the images.
        tag_names: (name, class) of each tag.

    Raises:
        ValueError: A file is damaged, or another one.
        OSError: One is missing.
    """
    facts = read_json(folder / _FACTS)
    arrays: dict[str, Any] = {name: map_array(folder, name) for name in _ARRAYS}
    ends = map_array(folder, "bucket_ends").tolist()
    rows = map_array(folder, "buckets")
    starts = [0, *ends[:-1]]
    samples = Samples(
        positions_N=arrays["positions_N"],
        tags=uses,
        tag_images_N=arrays["tag_images_N"],
        tag_names=tag_names,
        weights_N=arrays["weights_N"],
        time_ids_N6=arrays["time_ids_N6"],
        buckets=tuple(rows[start:end] for start, end in zip(starts, ends, strict=True)),
        repeats_N=map_array(folder, "repeats_N") if facts["has_repeats"] else None,
        epochs_a_pass=facts["epochs_a_pass"],
        facts=_map_facts(folder, tag_names) if facts["has_facts"] else None,
        # JSON's keys are sorted, as those of `TagRules.aliases` are.
        aliases=facts["aliases"],
        hashes=Texts(map_columns(folder, "hashes")["sha256"]),
        largest_N=arrays["is_largest"],
    )
    masks = None
    if facts["mask_shards"] is not None:
        names = tuple(facts["mask_shards"])
        masks = MaskPlaces(names, map_array(folder, "mask_shard"), map_array(folder, "mask_row"))
    places = {name: map_array(folder, f"latent_{name}") for name in _PLACES}
    return TrainingData(samples, LatentPlaces(tuple(facts["latent_shards"]), **places), masks)


def _write_facts(folder: Path, facts: CaptionFacts) -> None:
    """Sentences and words as Arrow columns, kept tags as compressed sparse rows."""
    names, columns = [*map(str, facts.words)], [*facts.words.values()]
    if facts.sentences is not None:
        names, columns = [*names, _SENTENCES], [*columns, facts.sentences]
    write_columns(folder, "facts", pa.table(columns, names=names))
    if facts.kept is not None:
        write_uses(folder, facts.kept, "kept")


def _map_facts(folder: Path, tag_names: Sequence[tuple[str, str]]) -> CaptionFacts:
    columns = map_columns(folder, "facts")
    words = {name: columns[name] for name in columns.column_names if name != _SENTENCES}
    has_kept = (folder / "kept_codes.npy").is_file()
    return CaptionFacts(
        sentences=columns[_SENTENCES] if _SENTENCES in columns.column_names else None,
        words=words,  # type: ignore[arg-type]
        kept=map_uses(folder, "kept") if has_kept else None,
        tag_names=tag_names,
    )
