"""The base model from wherever it comes, written as one plain diffusers folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError
from nadir.ground.files import atomic_folder, write_json
from nadir.ground.workspace import resolve_local
from nadir.model.base.diffusers_folder import copy_model
from nadir.model.base.hub import download
from nadir.model.checkpoint.folder_checks import load_checked
from nadir.model.checkpoint.folder_files import make_readable
from nadir.model.checkpoint.info import folder_info
from nadir.model.sdxl.hashing import encoder_hash, unet_hash
from nadir.model.single_file.reading import import_single_file
from nadir.model.tiny.networks import make_tiny

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nadir.config.base_model import BaseModelParams

TINY = "tiny"
_PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")


def fetch_base(
    params: BaseModelParams, folder: Path, *, on_step: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Make or copy the base model into `folder`, which is replaced as a whole.

    Args:
        params: `source` is `tiny`, a diffusers folder, a `.safetensors` file or a hub id.
        folder: Where the diffusers folder goes.
        on_step: Called after each step of making the tiny one.

    Returns:
        What `base.json` holds: kind of source, hub id and revision, its noise process, hashes,
        parameter counts.

    Raises:
        NadirError: There is no such model, it is not a whole SDXL, it is a pickle, quantised,
            broken or of a foreign noise process, or the hub is out of reach.
    """
    with atomic_folder(folder) as new:
        origin = _fetch(params, new, on_step)
        facts = origin | _facts(new, params.source)
        write_json(new / "base.json", facts)
        make_readable(new)
    return facts


def _fetch(
    params: BaseModelParams, new: Path, on_step: Callable[[str], None] | None
) -> dict[str, Any]:
    if params.source == TINY:
        make_tiny(new, params.tiny, on_step=on_step)
        return {"source": TINY, "model": None, "revision": None}
    place = resolve_local(params.source)
    if place.is_dir():
        copy_model(place, new, params.variant)
        return {"source": "folder", "model": None, "revision": None}
    if place.suffix.lower() in _PICKLES:
        raise NadirError(
            f"{place.name} is a pickle, which can run any program when it is read",
            where="params.yaml base_model.source",
            fix="use the .safetensors form of the model",
        )
    if place.is_file():
        import_single_file(place, new)
        return {"source": "file", "model": None, "revision": None}
    if not _is_hub_id(params.source):
        raise NadirError(
            f"there is no model at {params.source}",
            where="params.yaml base_model.source",
            fix="set it to tiny, a diffusers folder, a .safetensors file or a hub id (owner/name)",
        )
    copy_model(download(params.source, params.revision, params.variant), new, params.variant)
    return {"source": "hub", "model": params.source, "revision": params.revision}


def _is_hub_id(source: str) -> bool:
    """`owner/name`, neither of which looks like a path."""
    parts = source.split("/")
    return (
        len(parts) == 2
        and all(part and part[0].isalnum() for part in parts)
        and (not source.endswith(".safetensors"))
    )


def _facts(folder: Path, where: str) -> dict[str, Any]:
    noise = folder_info(folder).noise
    parts = load_checked(folder, where=where)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    return {
        "noise": noise,
        "unet_hash": unet_hash(parts["unet"]),
        "vae_hash": encoder_hash(parts["vae"]),
        "parameters": counts,
    }
