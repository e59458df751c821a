"""Reading checkpoints and other SDXL models; `nadir.model.checkpoint.writing` writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from diffusers import StableDiffusionXLPipeline

from nadir.diffusion.samplers import Sampler, make_sampler
from nadir.model.checkpoint.folder_checks import require_plain, require_tokenizers
from nadir.model.checkpoint.info import CheckpointInfo, folder_info
from nadir.model.checkpoint.writing import save_checkpoint
from nadir.model.sdxl.progress_bars import hide_progress_bars
from nadir.model.sdxl.scaling import LatentScaling
from nadir.model.single_file.reading import load_single_file, single_file_info

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "CheckpointInfo",
    "LatentScaling",
    "load_checkpoint_info",
    "load_pipeline",
    "save_checkpoint",
]


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
    spacing: str = "native",
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
    hide_progress_bars()
    info = load_checkpoint_info(model)
    if not isinstance(sampler, Sampler):
        prediction = info.noise["prediction"]
        name = sampler or "euler"
        sampler = make_sampler(info.schedule, prediction=prediction, name=name, spacing=spacing)
    if model.is_file():
        pipeline = load_single_file(model).to(dtype=dtype)
    else:
        require_plain(model)
        require_tokenizers(model, str(model))
        pipeline = StableDiffusionXLPipeline.from_pretrained(
            model, dtype=dtype, use_safetensors=True, local_files_only=True, add_watermarker=False
        )
    for tokenizer in (pipeline.tokenizer, pipeline.tokenizer_2):
        # A pipeline that is asked in words has the tokens of `model.text.token_ids`.
        tokenizer.split_special_tokens = True
    pipeline.scheduler = sampler
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)
