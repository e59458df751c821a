"""Stage `encode`: images to latents, only those that have none yet."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from nadir.config.compute import ComputeParams
from nadir.config.encode import EncodeParams
from nadir.config.ingest import IngestParams
from nadir.config.reader import read_section
from nadir.config.validate import ValidateParams
from nadir.data.latents import INDEX_NAME, LatentStore
from nadir.data.tables import BUCKETS, LATENT_INDEX, MANIFEST, read_table, write_table
from nadir.ground.events import emit, say
from nadir.ground.files import write_json
from nadir.ground.workspace import resolve_local, work_folder
from nadir.model.autoencoder import DTYPES
from nadir.model.devices import pick_device
from nadir.model.encoding import ImageOpener, bucket_name, encode_missing, row_key
from nadir.model.hashing import encoder_hash
from nadir.model.sdxl import load_vae
from nadir.stages.runner import run

_LATENTS = Path("data/latents")


def work() -> None:
    """Write data/latents: hard links to the live shards and the index over them.

    Raises:
        NadirError: An image is gone or has changed since `validate`.
    """
    params = read_section("encode", EncodeParams)
    compute = read_section("compute", ComputeParams)
    validate = read_section("validate", ValidateParams)
    vae = load_vae(Path("models/base"), dtype=DTYPES[params.precision])
    encoder = encoder_hash(vae)
    identity = hashlib.sha256(f"{encoder}|{params.precision}|{params.store}".encode()).hexdigest()
    rows = {row_key(row, identity, validate.alpha_background): row for row in _rows()}

    store = LatentStore(work_folder("latents"))
    if _LATENTS.is_dir():
        # What a restored or earlier output holds need not be encoded again.
        store.adopt(_LATENTS)
        shutil.rmtree(_LATENTS)
    known = store.known()
    missing = [(key, row) for key, row in rows.items() if key not in known]
    opener = ImageOpener(
        root=resolve_local(read_section("ingest", IngestParams).source),
        alpha_background=validate.alpha_background,
        max_pixels=validate.max_pixels,
    )
    vae.to(pick_device(compute.device))
    encode_missing(
        missing, vae=vae, store=store, params=params, open_row=opener, workers=compute.workers
    )
    _publish(rows, store)
    write_json(_LATENTS / "encoder.json", {"encoder_hash": encoder})
    reused = len(rows) - len(missing)
    say(f"encode: {len(rows)} images, {len(missing)} encoded, {reused} reused")
    emit("result", stage="encode", images=len(rows), encoded=len(missing), reused=reused)


def _rows() -> list[dict[str, Any]]:
    """Manifest and bucket columns of every image that has a bucket, sorted by sha256."""
    manifest = read_table(
        Path("data/manifest.parquet"), MANIFEST, ["sha256", "path", "width", "height"]
    )
    buckets = read_table(Path("data/buckets.parquet"), BUCKETS)
    joined = buckets.join(manifest, "sha256", join_type="inner").sort_by("sha256")
    rows: list[dict[str, Any]] = joined.to_pylist()
    return rows


def _publish(rows: dict[str, dict[str, Any]], store: LatentStore) -> None:
    places = store.known()
    store.link_into(_LATENTS, (places[key][0] for key in rows))
    index = [
        {
            "key": key,
            "sha256": row["sha256"],
            "shard": places[key][0],
            "row": places[key][1],
            "bucket": bucket_name(row),
            "original_width": row["width"],
            "original_height": row["height"],
            **{n: row[n] for n in ("bucket_width", "bucket_height", "crop_left", "crop_top")},
        }
        for key, row in rows.items()
    ]
    write_table(pa.Table.from_pylist(index, LATENT_INDEX), _LATENTS / INDEX_NAME, LATENT_INDEX)


def main() -> None:
    """Entry point."""
    run("encode", work)


if __name__ == "__main__":
    main()
