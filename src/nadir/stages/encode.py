"""Stage `encode`: images to latents, only those that have none yet."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nadir.compute.accelerate_launch import accelerate_command, is_direct, launch_environment
from nadir.compute.child_fault import left_fault, no_reason
from nadir.compute.lean_start import lean
from nadir.compute.parent_death import die_with_parent
from nadir.config.compute import ComputeParams
from nadir.config.encode import EncodeParams
from nadir.config.reader import read_section
from nadir.config.validate import ValidateParams
from nadir.data.large_tables import distinct
from nadir.data.latents.masks import MASKS_NAME
from nadir.data.latents.store import INDEX_NAME, LatentStore
from nadir.data.tables import (
    BUCKETS,
    LATENT_INDEX,
    MANIFEST,
    MASK_INDEX,
    MASKS,
    read_table,
    write_table,
)
from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.events import emit, say
from nadir.ground.files import write_json
from nadir.ground.workspace import work_folder
from nadir.model.sdxl.encoder_facts import EncoderFacts, encoder_facts
from nadir.model.sdxl.encoding import Recipe
from nadir.model.sdxl.masking import MaskOpener, make_masks, masks_wanted
from nadir.stages.encode_part import ROWS, encode_part
from nadir.stages.runner import run
from nadir.stages.source import source_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffusers import AutoencoderKL

_ENCODER, _ENCODERS = "encoder.json", "encoders.json"


def work() -> None:
    """Write data/latents: hard links to the live shards and the index over them.

    The VAE is loaded, and with it PyTorch, only where it is new or something has to be encoded.

    Raises:
        NadirError: An image is gone or has changed since `validate`.
    """
    params = read_section("encode", EncodeParams)
    vae = functools.cache(lambda: _load_vae(params.precision))
    encoder = encoder_facts(
        artifacts.BASE / "vae", params.precision, vae, known=work_folder("latents") / _ENCODERS
    )
    identity = hashlib.sha256(
        f"{encoder.hash}|{params.precision}|{params.store}".encode()
    ).hexdigest()
    background = read_section("validate", ValidateParams).alpha_background
    rows = _wanted(Recipe(identity, background, params.tiling), flip=params.flip)

    store = LatentStore(work_folder("latents"))
    with contextlib.suppress(NadirError), store.alone():
        store.sweep()
        shutil.rmtree(work_folder("encoding"))
    with store.in_use():
        # What a restored or earlier output holds need not be encoded again.
        masks = _wanted_masks(rows, params, encoder)
        store.adopt(
            artifacts.LATENTS, pa.chunked_array([*rows["key"].chunks, *masks["mask_key"].chunks])
        )
        shutil.rmtree(artifacts.LATENTS, ignore_errors=True)
        missing = rows.filter(pa.array(store.places().find(rows["key"]) < 0))
        _encode(missing, vae)
        _make_masks(masks, store, params, encoder)
        _publish(rows, masks, store, encoder.hash)
    reused = len(rows) - len(missing)
    images = pc.count_distinct(rows["sha256"]).as_py()
    unit = "images" if images == len(rows) else "latents"
    say(f"encode: {len(rows)} {unit}, {len(missing)} encoded, {reused} reused")
    emit("result", stage="encode", images=images, encoded=len(missing), reused=reused)


def _load_vae(precision: str) -> AutoencoderKL:
    with lean():
        from nadir.model.sdxl.autoencoder import DTYPES
        from nadir.model.sdxl.networks import load_vae

    return load_vae(artifacts.BASE, dtype=DTYPES[precision])


def _wanted(recipe: Recipe, *, flip: bool) -> pa.Table:
    """Every latent that is to be there: columns of manifest and buckets, key, flipped.

    They are sorted by sha256, then by bucket. With `flip`, the mirrored image's row follows the
    image's own.
    """
    manifest = read_table(artifacts.MANIFEST, MANIFEST, ["sha256", "path", "width", "height"])
    buckets = read_table(artifacts.BUCKETS, BUCKETS)
    rows = buckets.join(manifest, "sha256", join_type="inner").sort_by(
        [(name, "ascending") for name in ("sha256", "bucket_width", "bucket_height")]
    )
    if flip:
        rows = rows.take(pa.array(np.repeat(np.arange(len(rows)), 2)))
    flipped = np.arange(len(rows)) % 2 == 1 if flip else np.zeros(len(rows), bool)
    rows = rows.append_column("flipped", pa.array(flipped))
    return rows.append_column("key", recipe.keys(rows))


def _wanted_masks(rows: pa.Table, params: EncodeParams, encoder: EncoderFacts) -> pa.Table:
    """The rows that are to have a mask: those of `_wanted` that are not mirrored."""
    own = rows.filter(pc.invert(rows["flipped"]))
    if params.masks is None:
        return own.slice(0, 0).append_column("mask_key", pa.array([], pa.string()))
    listed = None if params.masks == "alpha" else read_table(artifacts.MASKS, MASKS)
    wanted = masks_wanted(own, listed, alpha=params.masks != "files", factor=encoder.factor)
    if not len(wanted):
        raise NadirError(
            "no image has a mask file",
            where="params.yaml encode.masks",
            fix="put x-masklabel.png or x.mask.png beside x.png, or name the folder of masks in "
            "ingest.mask_folder; without masks set encode.masks and train.masked_loss to null",
        )
    return wanted


def _make_masks(
    masks: pa.Table, store: LatentStore, params: EncodeParams, encoder: EncoderFacts
) -> None:
    missing = masks.filter(pa.array(store.places().find(masks["mask_key"]) < 0))
    if len(missing):
        make_masks(
            missing,
            store=store,
            params=params,
            opener=MaskOpener(
                source_of(), read_section("validate", ValidateParams).max_pixels, encoder.factor
            ),
            workers=read_section("compute", ComputeParams).workers,
        )
    if len(masks):
        say(f"encode: {len(masks)} masks, {len(missing)} made, {len(masks) - len(missing)} reused")


def _encode(missing: pa.Table, vae: Callable[[], AutoencoderKL]) -> None:
    """Encode here, or in as many processes as the parameters say."""
    compute = read_section("compute", ComputeParams)
    if not len(missing):
        return
    if is_direct(compute):
        from nadir.compute.devices import pick_device

        encode_part(missing, vae(), pick_device(compute.device))
        return
    with tempfile.TemporaryDirectory(dir=work_folder("encoding")) as name:
        folder = Path(name)
        pq.write_table(missing, folder / ROWS)
        line = accelerate_command(
            "nadir.stages.encode_part", ["--job", name], compute=compute, mixed_precision="no"
        )
        if compute.accelerate_config:
            say(f"encode: on further machines, run {' '.join(line[1:])} with their machine_rank")
        # Killed with this process, so that none goes on when the pipeline is stopped.
        status = subprocess.run(
            line, check=False, env=launch_environment(compute), preexec_fn=die_with_parent
        ).returncode
        fault = left_fault(folder)
        if status and fault is None:
            fault = no_reason("the encoding processes", status, where="encode")
        if fault is not None:
            raise fault


def _publish(rows: pa.Table, masks: pa.Table, store: LatentStore, encoder: str) -> None:
    """Link the live shards and write the index; it comes last, so what has one is whole."""
    places = store.places()
    found, of_masks = places.find(rows["key"]), places.find(masks["mask_key"])
    if (found < 0).any() or (of_masks < 0).any():
        lost = int((found < 0).sum() + (of_masks < 0).sum())
        raise NadirError(
            f"{lost} latents or masks are not in the store after encoding",
            where=str(store.root),
            fix="run the stage again; if it stays, `nadir latents verify` says what is damaged",
        )
    live = distinct(np.concatenate([found, of_masks]))
    store.link_into(artifacts.LATENTS, set(places.shards_of(live)))
    write_json(artifacts.LATENTS / _ENCODER, {"encoder_hash": encoder})
    if len(masks):
        placed = masks.append_column("shard", pa.array(places.shards_of(of_masks), pa.string()))
        placed = placed.append_column("row", pa.array(places.row[of_masks], pa.int32()))
        columns = placed.select(MASK_INDEX.names)
        write_table(columns, artifacts.LATENTS / MASKS_NAME, MASK_INDEX)
    placed = rows.append_column("shard", pa.array(places.shards_of(found), pa.string()))
    placed = placed.append_column("row", pa.array(places.row[found], pa.int32()))
    write_table(_index(placed), artifacts.LATENTS / INDEX_NAME, LATENT_INDEX)


def _index(placed: pa.Table) -> pa.Table:
    """One row per canvas of a placed table, with its mirrored latent beside its own."""
    own = placed.filter(pc.invert(placed["flipped"]))
    mirrored = placed.filter(placed["flipped"])
    crop_left = pc.subtract(
        pc.subtract(mirrored["resize_width"], mirrored["bucket_width"]), mirrored["crop_left"]
    )
    flips = [mirrored["key"], mirrored["shard"], mirrored["row"], crop_left]
    width, height = (pc.cast(own[name], pa.string()) for name in ("bucket_width", "bucket_height"))
    columns = {
        "bucket": pc.binary_join_element_wise(width, height, "x"),
        "original_width": own["width"],
        "original_height": own["height"],
        **{
            name: column if len(mirrored) else pa.nulls(len(own), LATENT_INDEX.field(name).type)
            for name, column in zip(LATENT_INDEX.names[-len(flips) :], flips, strict=True)
        },
    }
    return pa.table(
        {name: columns[name] if name in columns else own[name] for name in LATENT_INDEX.names}
    )


def main() -> None:
    """Entry point."""
    run("encode", work)


if __name__ == "__main__":
    main()
