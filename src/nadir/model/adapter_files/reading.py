"""Reads adapters back, in kohya's names or in diffusers' form."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open

from nadir.ground.errors import NadirError
from nadir.model.adapter_files.diffusers_form import (
    LORA_NAMES,
    METADATA_KEY,
    TEXT_ROOT,
)
from nadir.model.adapter_files.metadata import DORA_KEY
from nadir.model.adapter_files.names import (
    KOHYA_PARTS,
    PREFIXES,
    alternative_names,
    kohya_names,
)
from nadir.model.adapter_files.places import adapter_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_DIFFUSERS = re.compile(
    r"(unet|text_encoder(?:_2)?)\.(.+)\."
    r"(lora_A\.weight|lora_B\.weight|lora_magnitude_vector)(?:\.weight)?"
)


@dataclass(frozen=True)
class ReadAdapter:
    """An adapter as a file has it.

    Attributes:
        layers: Weights by the layer's name and the weight's in kohya's files, with `alpha` where it
            is said.
        unknown: Names in the file that belong to no layer that was asked for.
        dora_of_base: Whether `dora_scale` is relative to the base's norm, as Nadir writes it.
        file: What was read.
    """

    layers: dict[str, dict[str, torch.Tensor]]
    unknown: list[str]
    dora_of_base: bool
    file: Path


def read_adapter(source: Path, paths: Iterable[str], config: Mapping[str, Any]) -> ReadAdapter:
    """Read an adapter's file.

    Args:
        source: A file, or a folder that Nadir or diffusers wrote.
        paths: The layers that may be in it, as `kohya_names` has them.
        config: The U-Net's diffusers configuration.

    Raises:
        NadirError: There is no such file, or it is not an adapter in either form.
    """
    file = adapter_file(source)
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise NadirError(
            f"not a safetensors file: {error}", where=str(file), fix="name an adapter's file"
        ) from error
    known = list(paths)
    if any(name.startswith(PREFIXES) for name in tensors):
        layers, unknown = _kohya(tensors, known, config)
    elif any(_DIFFUSERS.fullmatch(name) for name in tensors):
        layers, unknown = _diffusers(tensors, known, _said(metadata, file))
    else:
        raise NadirError(
            f"not an adapter in kohya's names or diffusers' form (it holds {min(tensors)!r})"
            if tensors
            else "the file holds no tensor",
            where=str(file),
            fix="name an adapter that Nadir, kohya's trainer, LyCORIS or diffusers wrote for SDXL",
        )
    return ReadAdapter(layers, unknown, DORA_KEY in metadata, file)


def _kohya(
    tensors: Mapping[str, torch.Tensor], paths: list[str], config: Mapping[str, Any]
) -> tuple[dict[str, dict[str, torch.Tensor]], list[str]]:
    path_of = {name: path for path, name in alternative_names(paths).items()}
    path_of |= {name: path for path, name in kohya_names(paths, config).items()}
    part_of = {theirs: ours for ours, theirs in KOHYA_PARTS.items()}
    layers: dict[str, dict[str, torch.Tensor]] = {}
    unknown = []
    for key, tensor in tensors.items():
        name, _, part = key.partition(".")
        if name in path_of:
            layers.setdefault(path_of[name], {})[part_of.get(part, part)] = tensor
        else:
            unknown.append(name)
    return layers, sorted(set(unknown))


def _diffusers(
    tensors: Mapping[str, torch.Tensor], paths: list[str], said: Mapping[str, Any]
) -> tuple[dict[str, dict[str, torch.Tensor]], list[str]]:
    part_of = {theirs: ours for ours, theirs in LORA_NAMES.items()}
    layers: dict[str, dict[str, torch.Tensor]] = {}
    unknown = []
    for key, tensor in tensors.items():
        found = _DIFFUSERS.fullmatch(key)
        place, name, part = found.groups() if found else ("", key, "")
        inner = TEXT_ROOT + name.removeprefix(TEXT_ROOT)
        path = name if place in ("unet", "") else f"{place}.{inner}"
        if path not in paths or part not in part_of:
            unknown.append(path)
            continue
        layers.setdefault(path, {})[part_of[part]] = tensor
        if part_of[part] == "lora_down":
            alpha = said.get(f"{place}.alpha_pattern", {}).get(re.escape(name))
            usual = said.get(f"{place}.lora_alpha", tensor.shape[0])
            layers[path]["alpha"] = torch.tensor(float(usual if alpha is None else alpha))
    return layers, sorted(set(unknown))


def _said(metadata: Mapping[str, str], file: Path) -> dict[str, Any]:
    """What diffusers wrote of an adapter's settings."""
    try:
        found = json.loads(metadata.get(METADATA_KEY, "{}"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise NadirError(
            f"the metadata `{METADATA_KEY}` of the file are damaged",
            where=str(file),
            fix="get the adapter again",
        )
    return found
