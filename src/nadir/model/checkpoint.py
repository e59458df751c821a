"""Checkpoints: a diffusers folder that stock programs sample rightly, plus `nadir.json`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import StableDiffusionXLPipeline

from nadir.diffusion.samplers import Sampler, make_sampler
from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.files import read_json, write_json
from nadir.model.folders import edit_json, link_tree, write_model_index
from nadir.model.info import FORMAT, NADIR_FILE, CheckpointInfo, folder_info
from nadir.model.scaling import LatentScaling
from nadir.model.scheduler import stock_scheduler
from nadir.model.single_file_import import load_single_file, single_file_info

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

_FROM_BASE = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
_ONE_FILE = "1TB"

_INDEX = {
    "_class_name": "StableDiffusionXLPipeline",
    "scheduler": ["diffusers", "DDIMScheduler"],
    # Caption dropout trains the encoded empty prompt, not zeros.
    "force_zeros_for_empty_prompt": False,
}

__all__ = [
    "CheckpointInfo",
    "LatentScaling",
    "load_checkpoint_info",
    "load_pipeline",
    "save_checkpoint",
]


def save_checkpoint(
    folder: Path,
    *,
    base: Path,
    unet: UNet2DConditionModel,
    noise: dict[str, Any],
    scaling: LatentScaling,
    training: dict[str, Any],
) -> None:
    """Write a checkpoint; the folder is replaced as a whole.

    VAE, text encoders and tokenizers are hard links into the base where the disk allows it.

    Args:
        folder: Where to write; an old one there is replaced.
        base: The base model's diffusers folder.
        unet: The weights to publish (the EMA's), in the precision to store.
        noise: `NoiseParams.model_dump()`.
        scaling: What turned the training latents into the U-Net's input.
        training: Facts about the training, plain JSON values.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        new = Path(scratch) / folder.name
        for part in _FROM_BASE:
            link_tree(base / part, new / part)
        edit_json(new / "vae" / "config.json", scaling.vae_config())
        unet.save_pretrained(new / "unet", safe_serialization=True, max_shard_size=_ONE_FILE)
        edit_json(new / "unet" / "config.json")
        stock_scheduler(noise).save_pretrained(new / "scheduler")
        write_model_index(new, read_json(base / "model_index.json"), _INDEX)
        value = {
            "format": FORMAT,
            "noise": noise,
            "latent_scaling": scaling.as_dict(),
            "training": training,
        }
        write_json(new / NADIR_FILE, value)
        if folder.exists():
            shutil.rmtree(folder)
        new.replace(folder)


def load_checkpoint_info(model: Path) -> CheckpointInfo:
    """Noise and latent scaling of a checkpoint, or of any SDXL.

    Args:
        model: A checkpoint; another diffusers folder, which is read by its scheduler's and its
            VAE's configuration; or a single file, by its metadata and markers.

    Raises:
        NadirError: No such model, or one of a newer format.
    """
    return single_file_info(model) if model.is_file() else folder_info(model)


def load_pipeline(
    model: Path,
    *,
    sampler: Sampler | str | None = None,
    spacing: str = "trailing",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> StableDiffusionXLPipeline:
    """A model as diffusers' SDXL pipeline, sampled by Nadir's sampler on the model's own schedule.

    Args:
        model: A checkpoint, any SDXL in diffusers' layout, or a single `.safetensors` file.
        sampler: A sampler, or a name for `make_sampler`; None is `euler`.
        spacing: How the timesteps of a named sampler lie.
        device: Where to run.
        dtype: Precision of all parts.

    Raises:
        NadirError: No such model, or one that Nadir cannot sample.
    """
    info = load_checkpoint_info(model)
    if not isinstance(sampler, Sampler):
        schedule = NoiseSchedule.from_settings(**info.noise)
        prediction = info.noise["prediction"]
        name = sampler or "euler"
        sampler = make_sampler(schedule, prediction=prediction, name=name, spacing=spacing)
    if model.is_file():
        pipeline = load_single_file(model).to(dtype=dtype)
    else:
        pipeline = StableDiffusionXLPipeline.from_pretrained(
            model, dtype=dtype, use_safetensors=True, local_files_only=True, add_watermarker=False
        )
    pipeline.scheduler = sampler
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)
