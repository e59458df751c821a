"""kohya's dataset TOML; also musubi-tuner's, with the same words, and diffusion-pipe's.

Settings of `[general]` hold for all datasets, those of a dataset for its subsets. As there, a
folder's subfolders are not read unless a metadata file names images in them.
"""

from __future__ import annotations

from typing import Any

from nadir.data.sources.dataset_files.datasets import Dataset, Datasets, text_of, whole_number

_FOLDERS = ("image_dir", "image_directory", "path")
_TABLES = ("metadata_file", "image_jsonl_file")
_TAKEN = {
    *_FOLDERS, *_TABLES, "num_repeats", "class_tokens", "caption_extension", "recursive",
    "subsets", "datasets", "directory", "general", "is_reg",
}  # fmt: skip
_HINTS = {
    "batch_size": "train.batch_size",
    "resolution": "bucket.max_area_px",
    "resolutions": "bucket.max_area_px",
    "enable_bucket": "bucket",
    "bucket_no_upscale": "bucket.upscale",
    "bucket_reso_steps": "bucket.step_px",
    "min_bucket_reso": "bucket.min_side_px",
    "max_bucket_reso": "bucket.max_side_px",
    "flip_aug": "encode.flip",
    "random_crop": "bucket.crop",
    "shuffle_caption": "train.caption.shuffle",
    "caption_dropout_rate": "train.caption.drop_all",
    "caption_tag_dropout_rate": "train.caption.drop_tag",
    "keep_tokens": "train.caption.keep_first",
    "keep_tokens_separator": "train.caption.keep_first",
    "caption_prefix": "train.caption.prefix",
    "caption_suffix": "train.caption.suffix",
    "prior_loss_weight": "train.regularisation",
}


def datasets(document: dict[str, Any]) -> Datasets:
    """The folders that a TOML document names.

    Raises:
        ValueError: It has no datasets.
    """
    if not any(isinstance(document.get(key), list) for key in ("datasets", "directory")):
        raise ValueError("it has neither [[datasets]] nor [[directory]]")
    found, general = Datasets(), _section(document.get("general"))
    _leave(found, {**document, **general})
    for dataset in _list(document, "datasets") + _list(document, "directory"):
        common = {**general, **dataset}
        _leave(found, dataset)
        subsets = _list(dataset, "subsets")
        for subset in subsets or [dataset]:
            _leave(found, subset)
            _add(found, {**common, **subset}, alone=not subsets)
    return found


def _add(found: Datasets, settings: dict[str, Any], *, alone: bool) -> None:
    place = next((text_of(settings.get(key)) for key in _FOLDERS if settings.get(key)), "")
    table = next((text_of(settings.get(key)) for key in _TABLES if settings.get(key)), "")
    # musubi's lines name images anywhere; those below their own folder are found.
    place = place or (table.replace("\\", "/").rpartition("/")[0] or "." if table else "")
    if not place:
        if alone:
            found.notes.append("a dataset without a folder of images is not read")
        return
    # diffusion-pipe's captions are .txt; kohya's ending is set on its command line as well.
    ending = text_of(settings.get("caption_extension"))
    found.datasets.append(
        Dataset(
            place,
            times=whole_number(settings.get("num_repeats"), 1),
            words=text_of(settings.get("class_tokens")),
            direct=not table and settings.get("recursive") is not True,
            text=ending if ending.startswith(".") else f".{ending}" if ending else None,
            table=table,
        )
    )
    if settings.get("is_reg") is True:
        found.notes.append(
            f"{place} holds regularisation images (is_reg), which count as others do unless "
            "train.regularisation.folders names their folder"
        )


def _leave(found: Datasets, settings: dict[str, Any]) -> None:
    found.left |= {key: _HINTS.get(key, "") for key in settings if key not in _TAKEN}


def _section(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(settings: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = settings.get(key)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
