"""A checkpoint's adapter as one file for other programs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open

from nadir.ground.errors import NadirError
from nadir.ground.files import read_json
from nadir.model.adapter_files.places import KOHYA_FILE
from nadir.model.adapter_files.writing import ADAPTER_FOLDER
from nadir.model.checkpoint.info import folder_info
from nadir.model.single_file.modelspec import Words, side_px, usage_hints
from nadir.model.single_file.safetensors_writer import write_safetensors

if TYPE_CHECKING:
    from pathlib import Path

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def export_adapter(
    folder: Path,
    file: Path,
    *,
    precision: str = "fp16",
    date: str | None = None,
    words: Words | None = None,
) -> None:
    """Write the adapter of a checkpoint in kohya's names.

    Args:
        folder: A checkpoint that was trained with an adapter.
        file: The `.safetensors` file to write.
        precision: `fp32`, `fp16` or `bf16`; of all weights, but `alpha` stays as it is.
        date: ISO 8601, for the metadata; None leaves it out.
        words: What its maker says of it, in the metadata.

    Raises:
        NadirError: The checkpoint has no adapter, or a weight does not fit the precision.
    """
    source = folder / ADAPTER_FOLDER / KOHYA_FILE
    if not source.is_file():
        raise NadirError(
            "the model was trained without an adapter",
            where=str(folder),
            fix="export it without --adapter, or train with train.adapter",
        )
    with safe_open(source, framework="pt") as opened:
        metadata = dict(opened.metadata())
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    for name, tensor in tensors.items():
        if not name.endswith(".alpha"):
            tensors[name] = tensor.to(_DTYPES[precision])
        if not bool(tensors[name].isfinite().all()):
            raise NadirError(
                f"the weight {name} holds NaN or infinity in {precision}",
                where=str(source),
                fix="use --precision fp32; if that says the same, export an earlier model",
            )
    said = words or Words()
    metadata |= _modelspec(folder, metadata, replace(said, date=date or said.date))
    write_safetensors(file, tensors, metadata, hash_key="modelspec.hash_sha256")


def _modelspec(folder: Path, metadata: dict[str, str], words: Words) -> dict[str, str]:
    """What the checkpoint and its maker say besides what training wrote of the adapter."""
    info = folder_info(folder)
    side = side_px({part: read_json(folder / part / "config.json") for part in ("unet", "vae")})
    network = json.loads(metadata["ss_network_args"]).get("algo", "lora")
    said = words.entries(
        title=metadata["modelspec.title"],
        description=metadata["modelspec.description"],
        tags=(network, metadata["modelspec.prediction_type"]),
    )
    hint = {"modelspec.usage_hint": " ".join(usage_hints(info, side))}
    return {**said, **hint, "modelspec.resolution": f"{side}x{side}"}
