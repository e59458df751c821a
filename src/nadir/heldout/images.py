"""Held-out images: their captions are prompts, their latents are what a good model would draw."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from nadir.data.latents.places import LatentPlaces
from nadir.data.latents.store import INDEX_NAME, LatentReader
from nadir.data.tables import LATENT_INDEX, MANIFEST, TAGS, check_table, read_table
from nadir.data.tags.caption_facts import about, caption_facts
from nadir.data.tags.captions import render_caption
from nadir.data.tags.codes import IMAGES_AT_ONCE, TagCoder, tag_batches
from nadir.data.tags.weights import tag_names
from nadir.heldout.losses import HeldOut
from nadir.model.sdxl.calling import TIME_IDS, call_unet

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    import pandas as pd
    from diffusers import UNet2DConditionModel

    from nadir.config.caption import CaptionParams
    from nadir.data.tags.caption_facts import CaptionFacts
    from nadir.model.load import LatentScaling
    from nadir.model.sdxl.calling import UNet
    from nadir.sampling.prompt_encodings import PromptEncodings


@dataclass(frozen=True)
class HeldOutImage:
    """One image that training never saw.

    Attributes:
        sha256: Hash of the file.
        caption: All its tags, or a sentence, as a prompt.
        tags: (name, class) of each, those that training knows.
        latents_CHW: float32, unnormalised.
        time_ids: Micro-conditioning of SDXL: original height and width, crop top and left, target
            height and width, in pixels.
    """

    sha256: str
    caption: str
    tags: Sequence[tuple[str, str]]
    latents_CHW: torch.Tensor
    time_ids: tuple[int, ...]

    @property
    def id(self) -> str:
        """Short name for tables."""
        return self.sha256[:12]


def load_heldout(
    *, manifest: Path, tags: Path, latents: Path, captions: CaptionParams, limit: int
) -> list[HeldOutImage]:
    """The first `limit` held-out images by hash, which is a fixed random choice.

    Of an image at several resolutions the largest counts. Their tags are those that training
    knows, aliases and implications applied as there.

    Args:
        manifest: `data/manifest.parquet`.
        tags: `data/tags.parquet`.
        latents: Folder `data/latents`.
        captions: How the checkpoint writes tags; nothing is dropped or shuffled here.
        limit: Images at most.

    Returns:
        Possibly none: the dataset may be too small for a hold-out, or the buckets left it out.
    """
    chosen = chosen_rows(latents, manifest, split="holdout", limit=limit)
    reader = LatentReader(latents, places_of(chosen))
    table = read_table(tags, TAGS)
    pairs = tags_of(list(chosen["sha256"]), manifest, table)
    facts = _facts(list(chosen["sha256"]), manifest, table, captions)
    return [
        HeldOutImage(
            sha256=str(row.sha256),
            caption=render_caption(pairs[str(row.sha256)], captions, None, about(facts, place)),
            tags=pairs[str(row.sha256)],
            latents_CHW=reader.rows([place])[0].float(),
            time_ids=tuple(int(getattr(row, column)) for column in TIME_IDS),
        )
        # The manifest is sorted by sha256, too.
        for place, row in enumerate(chosen.itertuples())
    ]


def chosen_rows(
    latents: Path, manifest: Path, *, split: Literal["holdout", "train"], limit: int
) -> pd.DataFrame:
    """Rows of the latents' index of the first `limit` images of a split, by hash.

    Of an image at several resolutions the largest counts. Both files are sorted by hash, so no more
    of the index is read than it takes.

    Args:
        latents: Folder `data/latents`.
        manifest: `data/manifest.parquet`.
        split: Whose images.
        limit: Images at most.
    """
    wanted = [
        batch.column("sha256").filter(pc.equal(batch.column("split"), split))
        for batch in _batches(manifest, MANIFEST, ["sha256", "split"])
    ]
    return _largest(latents, pa.chunked_array(wanted, pa.string()), limit).head(limit)


def latents_of(latents: Path, hashes: Collection[str]) -> dict[str, torch.Tensor]:
    """Latents [C, h, w] of some images by sha256, float32, unnormalised.

    Of an image at several resolutions the largest counts.

    Args:
        latents: Folder `data/latents`; only the rows of these images are read.
        hashes: Of the images; those without a latent are left out.
    """
    rows = _largest(latents, pa.chunked_array([[*hashes]], pa.string()), len(hashes))
    reader = LatentReader(latents, places_of(rows))
    return {
        str(sha256): reader.rows([place])[0].float() for place, sha256 in enumerate(rows["sha256"])
    }


def _largest(latents: Path, hashes: pa.ChunkedArray, limit: int) -> pd.DataFrame:
    """Rows of the index of the images with these hashes: at least `limit` of them, or all."""
    found, images = [LATENT_INDEX.empty_table()], set[str]()
    for batch in _batches(latents / INDEX_NAME, LATENT_INDEX, LATENT_INDEX.names):
        found.append(pa.table(batch.filter(pc.is_in(batch.column("sha256"), value_set=hashes))))
        images.update(found[-1]["sha256"].to_pylist())
        # The last one may go on in the next piece.
        if len(images) > limit:
            break
    index = pa.concat_tables(found).to_pandas()
    index["area_px"] = index["bucket_width"].astype("int64") * index["bucket_height"]
    chosen = index.sort_values(["sha256", "area_px"])
    largest: pd.DataFrame = chosen.drop_duplicates("sha256", keep="last")
    return largest.reset_index(drop=True)


def places_of(rows: pd.DataFrame) -> LatentPlaces:
    """Where the latents of some rows of the index lie, in their order."""
    fields = [LATENT_INDEX.field(name) for name in ("shard", "row")]
    fields += [field for field in LATENT_INDEX if field.name.startswith("flip_")]
    return LatentPlaces.of_table(
        pa.Table.from_pandas(rows, pa.schema(fields), preserve_index=False)
    )


def _batches(path: Path, schema: pa.Schema, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Columns of a table, 100,000 rows at a time.

    Raises:
        NadirError: The file is missing, unreadable or of another schema.
    """
    check_table(path, schema)
    with pq.ParquetFile(path, pre_buffer=False) as file:
        yield from file.iter_batches(IMAGES_AT_ONCE, columns=[*columns])


def _facts(
    hashes: Sequence[str], manifest: Path, tags: pa.Table, captions: CaptionParams
) -> CaptionFacts | None:
    """What captions of some images have besides tags, in the manifest's order."""
    if not (captions.has_sentences or captions.facts or captions.keep_first):
        return None
    chosen = [
        pc.is_in(batch.column("sha256"), value_set=pa.array(hashes, pa.string())).to_numpy(
            zero_copy_only=False
        )
        for batch in _batches(manifest, MANIFEST, ["sha256"])
    ]
    names = tag_names(tags)
    mask = np.concatenate([np.zeros(0, bool), *chosen])
    return caption_facts(manifest, captions, coder=TagCoder(tags), tag_names=names, chosen=mask)


def tags_of(
    hashes: Sequence[str], manifest: Path, tags: pa.Table
) -> dict[str, list[tuple[str, str]]]:
    """(name, class) of each tag of some images."""
    wanted, coder = pa.array(hashes, pa.string()), TagCoder(tags)
    names = list(zip(tags["tag"].to_pylist(), tags["class"].to_pylist(), strict=True))
    found = {}
    for batch, lists in tag_batches(manifest, ["sha256"], _groups_with(hashes, manifest)):
        chosen = pc.is_in(batch.column("sha256"), value_set=wanted)
        uses = coder.encode(lists.filter(chosen))
        for image, sha256 in enumerate(batch.column("sha256").filter(chosen).to_pylist()):
            found[sha256] = [names[row] for row in uses.of(image)]
    return found


def _groups_with(hashes: Sequence[str], manifest: Path) -> list[int]:
    """Row groups of the manifest that may hold one of some images, by their least and greatest."""
    wanted = np.sort(np.array(hashes, dtype=object))
    metadata = pq.read_metadata(manifest)
    column = metadata.schema.names.index("sha256")
    groups = []
    for group in range(metadata.num_row_groups):
        values = metadata.row_group(group).column(column).statistics
        unknown = values is None or not values.has_min_max
        first = 0 if unknown else np.searchsorted(wanted, values.min)
        if unknown or first < np.searchsorted(wanted, values.max, "right"):
            groups.append(group)
    return groups


def loss_batches(
    images: Sequence[HeldOutImage],
    *,
    scaling: LatentScaling,
    encodings: PromptEncodings,
    batch_size: int,
    device: torch.device,
) -> Iterator[HeldOut]:
    """The images as batches of one shape each, normalised and encoded, on the device."""
    by_shape: dict[torch.Size, list[HeldOutImage]] = defaultdict(list)
    for image in images:
        by_shape[image.latents_CHW.shape].append(image)
    for group in by_shape.values():
        for start in range(0, len(group), batch_size):
            part = group[start : start + batch_size]
            hidden_BSD, pooled_BP = encodings.get([image.caption for image in part])
            latents_BCHW = scaling.normalise(torch.stack([image.latents_CHW for image in part]))
            yield HeldOut(
                ids=[image.sha256 for image in part],
                latents_BCHW=latents_BCHW.to(device),
                hidden_BSD=hidden_BSD.to(device),
                pooled_BP=pooled_BP.to(device),
                time_ids_B6=torch.tensor([image.time_ids for image in part], device=device),
            )


def unet_function(unet: UNet2DConditionModel) -> UNet:
    """A diffusers U-Net as the plain function the loss wants, in the U-Net's own precision."""

    def call(
        noisy_BCHW: torch.Tensor,
        timesteps_B: torch.Tensor,
        hidden_BSD: torch.Tensor,
        pooled_BP: torch.Tensor,
        time_ids_B6: torch.Tensor,
    ) -> torch.Tensor:
        own = (noisy_BCHW.to(unet.dtype), timesteps_B, hidden_BSD.to(unet.dtype))
        return call_unet(unet, *own, pooled_BP.to(unet.dtype), time_ids_B6).float()

    return call
