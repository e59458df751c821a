"""Claim 19: a decoder that learnt from JPEG draws its grid, and is fine-tuned on clean pictures.

The VAE is one of its own, as the arms' has two pixels a latent and cannot know where an 8 x 8 block
begins; this one has eight, as SDXL's. Its decoder first learns to draw what JPEG makes of a picture
from the picture's latent, which stands for a VAE trained on JPEG files. Then the code of the stage
`decoder` trains it on clean pictures; beside it, one goes on with JPEG for as many steps.
"""

from __future__ import annotations

import contextlib
import copy
import io
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from nadir.config.base_model import BaseModelParams
from nadir.config.decoder import DecoderParams
from nadir.config.reader import read_section
from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.model.sdxl.autoencoder import images_to_tensor, tensor_to_images
from nadir.model.sdxl.hashing import encoder_hash
from nadir.model.tiny.vae_training import build_vae, train_vae
from nadir.stages.decoder import decoder_data
from nadir.training.decoder.crops import Crops
from nadir.training.decoder.measuring import reconstruct
from nadir.training.decoder.tuning import DecoderTuner

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import AutoencoderKL

    from nadir.training.decoder.measuring import Reconstruction

_CHANNELS = (16, 16, 32, 32)
_SIDE_PX = 32
_JPEG_QUALITY = 10
_LEARNING_RATE = 0.003
_EMA_DECAY = 0.9


def traces_of_jpeg(project: Path, *, seed: int, steps: int) -> dict[str, Any]:
    """Blockiness and PSNR on held-out pictures: before, after, and after more JPEG instead.

    Args:
        project: The data project, whose pictures are clean.
        seed: Of weights, pictures and crops.
        steps: Of each of the three trainings of the decoder; the VAE takes twice as many.

    Returns:
        `numbers` by name: `blockiness_…`, `grid_…` (its distance from the pictures' own) and
        `psnr_…`, each `before`, `after` and `jpeg`; `blockiness_pictures`; and `encoder_changed`,
        which is 0 as long as the encoder is the same to the bit.

    Raises:
        NadirError: No picture is held out.
    """
    with contextlib.chdir(project):
        vae = _base_vae(seed, 2 * steps)
        encoder = encoder_hash(vae)
        _tune(vae, seed, steps, jpeg=True)
        found = {"before": _measure(vae)}
        other = copy.deepcopy(vae)
        _tune(vae, seed + 1, steps, jpeg=False)
        _tune(other, seed + 1, steps, jpeg=True)
        found |= {"after": _measure(vae), "jpeg": _measure(other)}
    numbers = {"blockiness_pictures": found["after"].of_images}
    for when, one in found.items():
        numbers[f"blockiness_{when}"] = one.blockiness
        numbers[f"grid_{when}"] = abs(one.blockiness - one.of_images)
        numbers[f"psnr_{when}"] = one.psnr_db
    numbers["encoder_changed"] = float(encoder_hash(vae) != encoder)
    return {"numbers": numbers, "levels": {}}


def _base_vae(seed: int, steps: int) -> AutoencoderKL:
    """A VAE with eight pixels a latent, trained on drawn pictures and textures."""
    tiny = read_section("base_model", BaseModelParams).tiny.model_copy(
        update={"vae_channels": _CHANNELS, "vae_steps": steps, "seed": seed}
    )
    torch.manual_seed(seed)
    vae = build_vae(tiny)
    train_vae(vae, tiny)
    return vae


def _tune(vae: AutoencoderKL, seed: int, steps: int, *, jpeg: bool) -> None:
    """Train the decoder on crops, or on what JPEG makes of them."""
    params = read_section("decoder", DecoderParams).model_copy(
        update={
            "steps": steps,
            "crop_px": _SIDE_PX,
            "learning_rate": _LEARNING_RATE,
            "ema_decay": _EMA_DECAY,
            "seed": seed,
        }
    )
    data = decoder_data()
    with Crops(data.train(), data.open_row, params, workers=1) as crops:

        def batches(step: int) -> tuple[torch.Tensor, torch.Tensor]:
            pixels_BCHW = crops.batch(step)
            return pixels_BCHW, _through_jpeg(pixels_BCHW) if jpeg else pixels_BCHW

        DecoderTuner(vae, params, batches).tune()


def _through_jpeg(pixels_BCHW: torch.Tensor) -> torch.Tensor:
    """Each picture compressed from its corner, so that blocks lie where latents do."""
    images = []
    for image in tensor_to_images(pixels_BCHW):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=_JPEG_QUALITY)
        images.append(Image.open(file))
    return images_to_tensor(images)


def _measure(vae: AutoencoderKL) -> Reconstruction:
    images = read_section("decoder", DecoderParams).measured_images
    found = reconstruct(vae, decoder_data().heldout(images))
    if found is None:
        raise NadirError(
            "the reproduction's data has no held-out picture",
            where=str(artifacts.MANIFEST),
            fix="raise validate.holdout_share in presets/tiny.yaml",
        )
    return found
