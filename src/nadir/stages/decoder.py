"""Stage `decoder`: fine-tunes the VAE's decoder, where `decoder.steps` is above 0 (paper §4.4)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nadir.config.decoder import DecoderParams
from nadir.config.reader import read_section
from nadir.ground import artifacts
from nadir.ground.events import emit, say
from nadir.ground.files import atomic_folder, write_json
from nadir.ground.workspace import work_folder
from nadir.stages.runner import run

if TYPE_CHECKING:
    from nadir.training.decoder.fitting import DecoderData

_FACTS = "decoder.json"


def work() -> None:
    """Write models/decoder; no more than a note when it is off.

    Raises:
        NadirError: No image can be cropped, an image has changed, the loss is not a number, or a
            stop was requested.
    """
    params = read_section("decoder", DecoderParams)
    if params.steps:
        facts = _tune(params)
    else:
        facts = {"steps": 0}
        with atomic_folder(artifacts.DECODER) as new:
            write_json(new / _FACTS, facts)
        say("decoder: decoder.steps is 0, so the base's decoder stays")
    heldout = facts.pop("heldout", None) or {}
    emit("result", stage="decoder", **facts, **heldout)


def _tune(params: DecoderParams) -> dict[str, Any]:
    """Train, or go on; returns what `decoder.json` holds.

    What only this needs is imported here, since most runs have it off.
    """
    from nadir.compute.devices import pick_device
    from nadir.config.compute import ComputeParams
    from nadir.model.checkpoint.decoder_weights import write_decoder
    from nadir.model.checkpoint.folding import stored_precision
    from nadir.model.sdxl.networks import load_vae
    from nadir.pipeline.fingerprint import stage_fingerprint
    from nadir.training.decoder.fitting import fit

    fingerprint = stage_fingerprint("decoder", Path.cwd())
    folder = _own_folder(fingerprint)
    vae = load_vae(artifacts.BASE).to(pick_device(read_section("compute", ComputeParams).device))
    dtype = stored_precision(artifacts.BASE / "vae")
    facts = fit(vae, params, _data(), folder=folder, fingerprint=fingerprint, dtype=dtype)
    with atomic_folder(artifacts.DECODER) as new:
        write_decoder(vae, new, dtype)
        write_json(new / _FACTS, facts)
    shutil.rmtree(folder, ignore_errors=True)
    _tell(facts)
    return facts


def _data() -> DecoderData:
    """The images that have a bucket, and how one is opened, as for `encode`."""
    import pyarrow as pa

    from nadir.config.compute import ComputeParams
    from nadir.config.validate import ValidateParams
    from nadir.data.tables import BUCKETS, MANIFEST, read_table
    from nadir.model.sdxl.opening import ImageOpener
    from nadir.stages.source import source_of
    from nadir.training.decoder.fitting import DecoderData

    columns = ["sha256", "path", "width", "height", "split"]
    manifest = read_table(artifacts.MANIFEST, MANIFEST, columns)
    rows = read_table(artifacts.BUCKETS, BUCKETS).join(manifest, "sha256", join_type="inner")
    rows = rows.sort_by([(n, "ascending") for n in ("sha256", "bucket_width", "bucket_height")])
    validate = read_section("validate", ValidateParams)
    return DecoderData(
        rows.append_column("flipped", pa.array([False] * len(rows), pa.bool_())),
        ImageOpener(source_of(), validate.alpha_background, validate.max_pixels),
        read_section("compute", ComputeParams).workers,
    )


def _own_folder(fingerprint: str) -> Path:
    """Where the states of this training lie; those of others go, unless one is still running."""
    from nadir.ground.locks import is_held
    from nadir.training.decoder.fitting import LOCK

    every = work_folder("decoder")
    for folder in every.iterdir():
        if folder.name != fingerprint and not is_held(folder / LOCK):
            shutil.rmtree(folder, ignore_errors=True)
    return every / fingerprint


def _tell(facts: dict[str, Any]) -> None:
    heldout = facts["heldout"]
    if heldout is None:
        say("decoder: there are no held-out images to measure it on (validate.holdout_share)")
        return
    say(
        f"decoder: {facts['steps']} steps; on {heldout['images']} held-out images blockiness "
        f"{heldout['blockiness_before']:.3f} before, {heldout['blockiness_after']:.3f} after "
        f"({heldout['blockiness_of_images']:.3f} in the images); PSNR "
        f"{heldout['psnr_db_before']:.2f} dB before, {heldout['psnr_db_after']:.2f} dB after"
    )


def main() -> None:
    """Entry point."""
    run("decoder", work)


if __name__ == "__main__":
    main()
