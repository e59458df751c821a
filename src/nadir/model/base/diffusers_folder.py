"""Copying an SDXL out of a diffusers folder: safetensors of one variant, nothing else."""

from __future__ import annotations

import shutil
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError
from nadir.ground.files import read_json, write_json
from nadir.model.checkpoint.folder_checks import require_plain
from nadir.model.checkpoint.folder_files import TOKENIZERS, edit_json, write_model_index
from nadir.model.checkpoint.portable import has_vocabulary, make_portable
from nadir.model.checkpoint.scheduler import noise_of_scheduler

if TYPE_CHECKING:
    from pathlib import Path

# Stem of the weight files of each part.
WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}
_INDEX = "model_index.json"
_SCHEDULER = "scheduler/scheduler_config.json"


def copy_model(source: Path, target: Path, variant: str | None) -> None:
    """Copy an SDXL's parts into a new folder, under their plain names and in their portable form.

    The files are copied, never linked: what happens to the base later must not touch the
    original.

    Args:
        source: A diffusers folder.
        target: A folder that does not exist yet.
        variant: Such as `fp16`; None for the plain files.

    Raises:
        NadirError: It is not an SDXL model, has no safetensors of this variant, or a damaged file.
    """
    index = _read_index(source)
    for part, stem in WEIGHTS.items():
        (target / part).mkdir(parents=True)
        shutil.copyfile(source / part / "config.json", target / part / "config.json")
        edit_json(target / part / "config.json")
        _copy_weights(source / part, target / part, stem, variant)
    for part in TOKENIZERS:
        (target / part).mkdir()
        for path in sorted((source / part).iterdir()):
            if path.suffix in (".json", ".txt") and path.is_file():
                if path.suffix == ".json":
                    read_json(path)  # a damaged one is named where it lies
                shutil.copyfile(path, target / part / path.name)
    (target / "scheduler").mkdir()
    shutil.copyfile(source / _SCHEDULER, target / _SCHEDULER)
    write_model_index(target, index, {"_class_name": "StableDiffusionXLPipeline"})
    require_plain(target, where=str(source))
    make_portable(target)


def _read_index(source: Path) -> dict[str, Any]:
    if not (source / _INDEX).is_file():
        raise NadirError(
            f"the folder holds no diffusers model (no {_INDEX})",
            where=str(source),
            fix="name the folder that holds unet, vae, text_encoder and text_encoder_2",
        )
    index = _object(source / _INDEX)
    needed = [f"{part}/config.json" for part in WEIGHTS] + [_SCHEDULER]
    missing = [name for name in needed if not (source / name).is_file()]
    missing += [part for part in TOKENIZERS if not has_vocabulary(source / part)]
    named = (*WEIGHTS, *TOKENIZERS, "scheduler")
    missing += [f"{part} in {_INDEX}" for part in named if not index.get(part)]
    if missing or "XL" not in str(index.get("_class_name")):
        lacks = f" (it lacks {', '.join(missing)})" if missing else ""
        raise NadirError(
            f"the model is a {index.get('_class_name')}, not a whole SDXL{lacks}",
            where=str(source),
            fix="name a text-to-image SDXL model",
        )
    for name in needed:
        _object(source / name)
    noise_of_scheduler(_object(source / _SCHEDULER), where=str(source / _SCHEDULER))
    return index


def _object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise _damaged(path, "holds no JSON object")
    return value


def _damaged(path: Path, what: str) -> NadirError:
    return NadirError(f"{path.name} {what}", where=str(path.parent), fix="get the model again")


def _copy_weights(source: Path, target: Path, stem: str, variant: str | None) -> None:
    middle = f".{variant}" if variant else ""
    single = source / f"{stem}{middle}.safetensors"
    if single.is_file():
        shutil.copyfile(single, target / f"{stem}.safetensors")
        return
    # The two forms in which libraries have written the index of a model in several files.
    names = (f"{stem}.safetensors.index{middle}.json", f"{stem}{middle}.safetensors.index.json")
    for name in names:
        if (source / name).is_file():
            index = _object(source / name)
            for shard in _shards(source / name, index):
                shutil.copyfile(source / shard, target / shard)
            write_json(target / f"{stem}.safetensors.index.json", index)
            return
    raise _no_weights(source, stem, variant)


def _shards(path: Path, index: dict[str, Any]) -> list[str]:
    """The files that an index names: beside it, for a model may be anybody's."""
    places = index.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise _damaged(path, "has no weight_map")
    names = sorted({str(place) for place in places.values()})
    for name in names:
        if PurePath(name).name != name or not name.endswith(".safetensors"):
            raise _damaged(path, f"names {name!r}, which is not a safetensors file beside it")
        if not (path.parent / name).is_file():
            raise _damaged(path, f"names {name}, which is missing")
    return names


def _no_weights(source: Path, stem: str, variant: str | None) -> NadirError:
    there = sorted(path.name for path in source.glob(f"{stem}*.safetensors"))
    pickles = sorted(path.name for path in source.glob("*.bin"))
    wanted = f"no safetensors of variant {variant}" if variant else "no plain safetensors"
    if there:
        fix = f"set base_model.variant to fit what is there: {', '.join(there)}"
    elif pickles:
        fix = f"{pickles[0]} is a pickle and is not read; get the model's safetensors"
    else:
        fix = "get the model's safetensors"
    return NadirError(f"the model has {wanted}", where=str(source), fix=fix)
