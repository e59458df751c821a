"""What a model folder says about how it must be sampled."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.files import read_json_object
from nadir.model.checkpoint.scheduler import noise_of_scheduler
from nadir.model.sdxl.scaling import LatentScaling

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT = 2
_READABLE = (1, FORMAT)  # 1 had the latent scaling in the VAE's configuration, 2 in its weights
NADIR_FILE = "nadir.json"


@dataclass(frozen=True)
class CheckpointInfo:
    """What one must know to sample a model.

    Attributes:
        noise: The values of the parameter section `noise`.
        latent_scaling: From the raw latents that it was trained on, the base's VAE's, to the
            U-Net's; what its own VAE needs stands in that one's configuration.
        training: What `save_checkpoint` was given; empty for foreign models.
    """

    noise: dict[str, Any]
    latent_scaling: LatentScaling
    training: dict[str, Any]

    @property
    def schedule(self) -> NoiseSchedule:
        """The schedule it was trained on and must be sampled on."""
        return NoiseSchedule.from_settings(**self.noise)


def check_schedule(noise: dict[str, Any], recorded: str | None, *, where: str) -> None:
    """Refuse a model whose settings no longer make the schedule that it was trained on.

    Args:
        noise: The values of the parameter section `noise`, as the model has them.
        recorded: Fingerprint of the training's schedule; None for models that name none.
        where: What to name in errors.

    Raises:
        NadirError: The settings were edited, or this version reads them otherwise.
    """
    made = NoiseSchedule.from_settings(**noise).fingerprint
    if recorded not in (None, made):
        raise NadirError(
            f"the noise settings make the schedule {made}, but the model was trained on {recorded}",
            where=where,
            fix="put the settings back as they were, or use the version of Nadir that wrote them",
        )


def folder_info(folder: Path) -> CheckpointInfo:
    """Noise and latent scaling of a checkpoint, or of any SDXL in diffusers' layout.

    A folder without `nadir.json` is read by its scheduler's and its VAE's configuration; in one
    with it, the scheduler must say the same.

    Raises:
        NadirError: No such model, one of a newer format or of a foreign noise process, or one
            whose noise settings were changed.
    """
    scheduler = folder / "scheduler" / "scheduler_config.json"
    missing = [p for p in (folder / "model_index.json", scheduler) if not p.is_file()]
    if missing:
        raise NadirError(
            f"no diffusers model here (no {missing[0].name})",
            where=str(folder),
            fix="name a checkpoint folder or a .safetensors file; `nadir run` makes "
            f"{artifacts.CHECKPOINT}",
        )
    stock = noise_of_scheduler(read_json_object(scheduler), where=str(scheduler))
    if not (folder / NADIR_FILE).is_file():
        return CheckpointInfo(noise=stock, latent_scaling=_scaling(folder), training={})
    with _damage(folder / NADIR_FILE):
        return _own_info(folder, stock)


def _own_info(folder: Path, stock: dict[str, Any]) -> CheckpointInfo:
    value = read_json_object(folder / NADIR_FILE)
    if value.get("format") not in _READABLE:
        raise NadirError(
            f"the checkpoint has format {value.get('format')}, this version reads {FORMAT}",
            where=str(folder / NADIR_FILE),
            fix="use the version of Nadir that wrote it",
        )
    check_schedule(value["noise"], value.get("schedule"), where=str(folder / NADIR_FILE))
    _require_agreement(value["noise"], stock, folder)
    return CheckpointInfo(
        noise=value["noise"],
        latent_scaling=LatentScaling.from_dict(value["latent_scaling"]),
        training=value["training"],
    )


def _scaling(folder: Path) -> LatentScaling:
    """What the configuration of a foreign model's VAE says."""
    place = folder / "vae" / "config.json"
    if not place.is_file():
        raise NadirError(
            "the folder has no VAE (vae/config.json), so it is not a whole SDXL",
            where=str(folder),
            fix="name a whole SDXL in diffusers' layout, or one in a .safetensors file",
        )
    with _damage(place):
        return LatentScaling.from_vae_config(read_json_object(place))


@contextlib.contextmanager
def _damage(file: Path) -> Iterator[None]:
    """A value that is missing or of another type is one error that names the file."""
    try:
        yield
    except NadirError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise NadirError(
            f"the file is damaged, or not a model's ({type(error).__name__}: {error})",
            where=str(file),
            fix="get the model again",
        ) from error


def _require_agreement(own: dict[str, Any], stock: dict[str, Any], folder: Path) -> None:
    """Refuse a checkpoint that stock diffusers would sample by other settings than Nadir."""
    differing = [name for name, value in own.items() if not _equal(value, stock[name])]
    if differing:
        name = differing[0]
        raise NadirError(
            f"{NADIR_FILE} says {name} {own[name]}, but scheduler_config.json says {stock[name]}",
            where=str(folder),
            fix="put back the file that was edited",
        )


def _equal(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float):
        return math.isclose(ours, float(theirs), rel_tol=1e-5)
    return bool(ours == theirs)
