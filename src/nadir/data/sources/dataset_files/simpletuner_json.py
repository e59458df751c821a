"""SimpleTuner's backend JSON (`multidatabackend.json`): a list of data backends.

Its `repeats` are how often an epoch shows an image again, so 0 is once.
"""

from __future__ import annotations

from typing import Any

from nadir.data.sources.dataset_files.datasets import Dataset, Datasets, text_of, whole_number

_TAKEN = {
    "id", "type", "dataset_type", "disabled", "disable", "instance_data_dir", "instance_data_root",
    "aws_bucket_name", "aws_data_prefix", "caption_strategy", "instance_prompt",
    "only_instance_prompt", "repeats", "parquet", "metadata_backend",
}  # fmt: skip
_HINTS = {
    "resolution": "bucket.max_area_px",
    "resolution_type": "bucket",
    "crop": "bucket.crop",
    "crop_style": "bucket.crop",
    "crop_aspect": "bucket",
    "minimum_image_size": "validate.min_side_px",
    "aws_endpoint_url": "ingest.endpoint_url",
    "aws_access_key_id": "the environment",
    "aws_secret_access_key": "the environment",
    "prepend_instance_prompt": "train.caption",
    "is_regularisation_data": "train.regularisation.folders",
    "is_regularization_data": "train.regularisation.folders",
}


def datasets(document: Any) -> Datasets:
    """The folders that a JSON document names.

    Raises:
        ValueError: It is not a list of backends.
    """
    if not isinstance(document, list) or not all(isinstance(entry, dict) for entry in document):
        raise ValueError("it is not a list of data backends")
    found = Datasets()
    for entry in document:
        name = text_of(entry.get("id")) or "a backend without id"
        if why := _passed_over(entry):
            found.notes.append(f"{name} is not read: {why}")
            continue
        found.datasets.append(_dataset(entry))
        found.left |= {key: _HINTS.get(key, "") for key in entry if key not in _TAKEN}
        table = entry.get("parquet") if entry.get("caption_strategy") == "parquet" else None
        if isinstance(table, dict):
            columns = [f"{key} {value}" for key, value in table.items() if key != "path"]
            found.notes.append(
                f"{name}: of its table the columns id, file_name, tags, caption are read, not by "
                f"these settings: {', '.join(columns)}"
            )
    return found


def _passed_over(entry: dict[str, Any]) -> str:
    """Why a backend is not a folder of images to read; "" when it is."""
    if entry.get("disabled") is True or entry.get("disable") is True:
        return "it is disabled"
    kind = text_of(entry.get("dataset_type")) or "image"
    if kind != "image":
        return f"it holds {kind}"
    if not _place(entry):
        return f"a place of type {text_of(entry.get('type')) or 'local'} cannot be opened"
    return ""


def _place(entry: dict[str, Any]) -> str:
    kind = text_of(entry.get("type")) or "local"
    if kind == "aws" and text_of(entry.get("aws_bucket_name")):
        return f"s3://{entry['aws_bucket_name']}/{text_of(entry.get('aws_data_prefix'))}"
    folder = text_of(entry.get("instance_data_dir")) or text_of(entry.get("instance_data_root"))
    return folder if kind == "local" else ""


def _dataset(entry: dict[str, Any]) -> Dataset:
    strategy = text_of(entry.get("caption_strategy")) or "textfile"
    alone = strategy == "instanceprompt" or entry.get("only_instance_prompt") is True
    table = entry.get("parquet")
    return Dataset(
        _place(entry),
        times=whole_number(entry.get("repeats"), 0) + 1,
        words=text_of(entry.get("instance_prompt")),
        text="" if alone or strategy == "filename" else ".txt" if strategy == "textfile" else None,
        from_names=strategy == "filename" and not alone,
        table=text_of(table.get("path"))
        if strategy == "parquet" and isinstance(table, dict)
        else "",
    )
