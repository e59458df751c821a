"""Writes checkpoints: a diffusers folder that stock programs sample rightly, plus `nadir.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.files import atomic_folder, link_tree, read_json, write_json
from nadir.model.checkpoint.folder_files import (
    ONE_FILE,
    TEXT_ENCODERS,
    TOKENIZERS,
    edit_json,
    make_readable,
    write_model_index,
)
from nadir.model.checkpoint.folding import write_vae
from nadir.model.checkpoint.info import FORMAT, NADIR_FILE
from nadir.model.checkpoint.portable import make_portable
from nadir.model.checkpoint.scheduler import stock_scheduler

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transformers import PreTrainedModel

    from nadir.model.sdxl.scaling import LatentScaling


_INDEX = {
    "_class_name": "StableDiffusionXLPipeline",
    # Caption dropout trains the encoded empty prompt, not zeros.
    "force_zeros_for_empty_prompt": False,
}


class WritesItself(Protocol):
    """A network, or what makes one while it is written."""

    def save_pretrained(self, save_directory: Path, **options: Any) -> None:
        """Write configuration and weights as diffusers does."""
        ...


def save_checkpoint(
    folder: Path,
    *,
    base: Path,
    unet: WritesItself,
    noise: dict[str, Any],
    scaling: LatentScaling,
    training: dict[str, Any],
    encoders: Mapping[str, PreTrainedModel] | None = None,
) -> None:
    """Write a checkpoint; the folder is replaced as a whole.

    Text encoders, tokenizers and a VAE that stays as it was are hard links into the base where the
    disk allows it. Any latent scaling but SDXL's own is folded into the VAE.

    Args:
        folder: Where to write; an old one there is replaced.
        base: The base model's diffusers folder.
        unet: The weights to publish (the EMA's), in the precision to store.
        noise: `NoiseParams.model_dump()`.
        scaling: What turned the training latents into the U-Net's input.
        training: Facts about the training, plain JSON values.
        encoders: Text encoders that were trained too, by their folder's name, in the precision to
            store.
    """
    trained = encoders or {}
    with atomic_folder(folder) as new:
        for part in (*TEXT_ENCODERS, *TOKENIZERS):
            if part not in trained:
                link_tree(base / part, new / part)
        write_vae(base / "vae", new / "vae", scaling)
        for part, model in {"unet": unet, **trained}.items():
            model.save_pretrained(new / part, safe_serialization=True, max_shard_size=ONE_FILE)
            edit_json(new / part / "config.json")
            make_readable(new / part)
        scheduler = stock_scheduler(noise)
        scheduler.save_pretrained(new / "scheduler")
        index = _INDEX | {"scheduler": ["diffusers", type(scheduler).__name__]}
        write_model_index(new, read_json(base / "model_index.json"), index)
        make_portable(new)
        value = {
            "format": FORMAT,
            "noise": noise,
            # What the settings must make again when they are read.
            "schedule": NoiseSchedule.from_settings(**noise).fingerprint,
            "latent_scaling": scaling.as_dict(),
            "training": training,
        }
        write_json(new / NADIR_FILE, value)
