"""One fine-tuning of the decoder: measured, trained or gone on with, and measured again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import torch

from nadir.ground.events import say
from nadir.model.sdxl.hashing import encoder_hash
from nadir.training.decoder.crops import Crops
from nadir.training.decoder.measuring import Reconstruction, reconstruct
from nadir.training.decoder.tuning import DecoderTuner
from nadir.training.state import CheckpointStore
from nadir.training.stop_request import StopRequest, exclusive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa
    from diffusers import AutoencoderKL
    from PIL import Image

    from nadir.config.decoder import DecoderParams

_STATES, LOCK = "states", "lock"


@dataclass(frozen=True)
class DecoderData:
    """The images of a fine-tuning.

    Attributes:
        rows: Columns of manifest and buckets, sorted by sha256.
        open_row: Gives the image of a row as its bucket fits it.
        workers: Threads that open images; 0 uses every core.
    """

    rows: pa.Table
    open_row: Callable[[Mapping[str, Any]], Image.Image]
    workers: int = 0

    def train(self) -> pa.Table:
        """The training images."""
        return self.rows.filter(pc.equal(self.rows["split"], "train"))

    def heldout(self, limit: int) -> Iterator[Image.Image]:
        """The first held-out images by hash, which is a fixed random choice, one by one."""
        rows = self.rows.filter(pc.equal(self.rows["split"], "holdout"))
        for row in rows.slice(0, limit).to_pylist():
            yield self.open_row(row)


def fit(
    vae: AutoencoderKL,
    params: DecoderParams,
    data: DecoderData,
    *,
    folder: Path,
    fingerprint: str,
    dtype: torch.dtype,
) -> dict[str, Any]:
    """Fine-tune a VAE's decoder in place.

    Args:
        vae: The base's in float32, on the device to compute on.
        params: `params.yaml` decoder; `steps` above 0.
        data: Where it learns from, and what it is measured on.
        folder: Of this very fine-tuning; a killed one goes on from what lies there.
        fingerprint: Of all its inputs.
        dtype: What the weights are published in; they are measured as published.

    Returns:
        What `decoder.json` holds.

    Raises:
        NadirError: No image can be cropped, one has changed, the loss is not a number, or a stop
            was requested (the state is saved then).
    """
    encoder = encoder_hash(vae)
    with (
        exclusive(folder / LOCK),
        StopRequest() as stop,
        Crops(data.train(), data.open_row, params, workers=data.workers) as crops,
    ):
        store = CheckpointStore(folder / _STATES, fingerprint=fingerprint, keep=1, warn=say)

        def batches(step: int) -> tuple[torch.Tensor, torch.Tensor]:
            pixels_BCHW = crops.batch(step)
            return pixels_BCHW, pixels_BCHW

        tuner = DecoderTuner(vae, params, batches, store=store, stop=stop)
        before = reconstruct(vae, data.heldout(params.measured_images))
        if tuner.resume():
            say(f"decoder: going on from step {tuner.step}")
        tuner.tune()
        images = len(crops.rows)
    vae.decoder.to(dtype).to(torch.float32)
    vae.post_quant_conv.to(dtype).to(torch.float32)
    return {
        "steps": params.steps,
        "training_images": images,
        "loss_last_100": tuner.loss_last_100,
        "encoder_hash": encoder,
        "heldout": _change(before, reconstruct(vae, data.heldout(params.measured_images))),
    }


def _change(before: Reconstruction | None, after: Reconstruction | None) -> dict[str, Any] | None:
    """Both measurements side by side; None without held-out images."""
    if before is None or after is None:
        return None
    old, new = asdict(before), asdict(after)
    return {
        "images": after.images,
        "blockiness_of_images": after.of_images,
        **{
            f"{name}_{when}": values[name]
            for name in ("blockiness", "psnr_db")
            for when, values in (("before", old), ("after", new))
        },
    }
