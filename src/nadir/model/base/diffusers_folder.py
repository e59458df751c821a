"""Copying an SDXL out of a diffusers folder: safetensors of one variant, nothing else."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.ground.files import read_json, write_json
from nadir.model.checkpoint.folder_files import edit_json, write_model_index
from nadir.model.checkpoint.portable import make_portable

if TYPE_CHECKING:
    from pathlib import Path

# Stem of the weight files of each part.
WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}
_TOKENIZERS = ("tokenizer", "tokenizer_2")
_INDEX = "model_index.json"


def copy_model(source: Path, target: Path, variant: str | None) -> None:
    """Copy an SDXL's parts into a new folder, under their plain names and in their portable form.

    The files are copied, never linked: what happens to the base later must not touch the
    original.

    Args:
        source: A diffusers folder.
        target: A folder that does not exist yet.
        variant: Such as `fp16`; None for the plain files.

    Raises:
        NadirError: It is not an SDXL model, or has no safetensors of this variant.
    """
    index = _read_index(source)
    for part, stem in WEIGHTS.items():
        (target / part).mkdir(parents=True)
        shutil.copyfile(source / part / "config.json", target / part / "config.json")
        edit_json(target / part / "config.json")
        _copy_weights(source / part, target / part, stem, variant)
    for part in _TOKENIZERS:
        (target / part).mkdir()
        for path in sorted((source / part).iterdir()):
            if path.suffix in (".json", ".txt"):
                shutil.copyfile(path, target / part / path.name)
    (target / "scheduler").mkdir()
    name = "scheduler/scheduler_config.json"
    shutil.copyfile(source / name, target / name)
    write_model_index(target, index, {"_class_name": "StableDiffusionXLPipeline"})
    make_portable(target)


def _read_index(source: Path) -> dict[str, object]:
    if not (source / _INDEX).is_file():
        raise NadirError(
            f"the folder holds no diffusers model (no {_INDEX})",
            where=str(source),
            fix="name the folder that holds unet, vae, text_encoder and text_encoder_2",
        )
    index: dict[str, object] = read_json(source / _INDEX)
    needed = [f"{part}/config.json" for part in WEIGHTS] + ["scheduler/scheduler_config.json"]
    missing = [name for name in needed if not (source / name).is_file()]
    missing += [part for part in _TOKENIZERS if not (source / part).is_dir()]
    if missing or "XL" not in str(index.get("_class_name")):
        lacks = f" (it lacks {', '.join(missing)})" if missing else ""
        raise NadirError(
            f"the model is a {index.get('_class_name')}, not a whole SDXL{lacks}",
            where=str(source),
            fix="name a text-to-image SDXL model",
        )
    return index


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
            index = read_json(source / name)
            write_json(target / f"{stem}.safetensors.index.json", index)
            for shard in sorted(set(index["weight_map"].values())):
                shutil.copyfile(source / shard, target / shard)
            return
    raise _no_weights(source, stem, variant)


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
