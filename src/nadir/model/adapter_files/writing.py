"""Writes an adapter's folder: one file for other programs, and diffusers' or peft's own form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nadir.model.adapter_files.diffusers_form import write_diffusers_form
from nadir.model.adapter_files.metadata import adapter_metadata
from nadir.model.adapter_files.names import KOHYA_PARTS, kohya_names
from nadir.model.adapter_files.places import KOHYA_FILE
from nadir.model.single_file.safetensors_writer import write_safetensors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    Layers = Mapping[str, Mapping[str, torch.Tensor]]
    """Weights of each adapted layer by their names in kohya's files, `alpha` among them."""

ADAPTER_FOLDER = "adapter"
"""The folder inside of a checkpoint that holds the adapter alone."""

MAGNITUDE = "magnitude"
"""DoRA's magnitude as it is trained; kohya's files have `dora_scale` instead."""


@dataclass(frozen=True)
class AdapterFacts:
    """What the files say besides the weights.

    Attributes:
        kind: `lora`, `dora`, `lokr`, `loha` or `oft`.
        rank: The usual one.
        alpha: The usual one.
        convolutions: Whether convolutions are adapted too.
        config: The U-Net's diffusers configuration.
        noise: The values of the parameter section `noise`.
        training: Facts about the training.
    """

    kind: str
    rank: int
    alpha: float
    convolutions: bool
    config: dict[str, Any]
    noise: dict[str, Any]
    training: dict[str, Any]


def write_adapter(folder: Path, layers: Layers, facts: AdapterFacts) -> None:
    """Write an adapter's folder, in float32, so that training on from it is exact.

    Args:
        folder: Made if missing.
        layers: Weights by the layer's name in diffusers and the weight's in kohya's files; of DoRA
            also `magnitude`.
        facts: For the metadata.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = kohya_names(layers, facts.config)
    tensors = {
        f"{names[path]}.{KOHYA_PARTS.get(part, part)}": tensor
        for path, parts in layers.items()
        for part, tensor in parts.items()
        if part != MAGNITUDE
    }
    write_safetensors(folder / KOHYA_FILE, tensors, adapter_metadata(facts))
    write_diffusers_form(folder, layers, facts)
