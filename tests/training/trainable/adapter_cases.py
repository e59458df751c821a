"""Adapters of every kind, moved off their start as a training would move them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from nadir.config.noise import NoiseParams
from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.config.train_parts import AdapterParams, TextEncodersParams
from nadir.model.load import LatentScaling
from nadir.training.trainable import make_trainable

ROOT = Path(__file__).resolve().parents[3]
PARAMS = ROOT / "params.yaml"
KINDS = ("lora", "dora", "lokr", "loha", "oft")
PARTS = ("unet", "text_encoder", "text_encoder_2")
RATES = {"learning_rate_factor": {"first": 1.0, "second": 0.5}}


def params_of(kind: str, *, layers: Any = None, **adapter: Any) -> TrainParams:
    """`train` of the default params.yaml with an adapter everywhere."""
    value = {
        "kind": kind,
        "rank": 2,
        "alpha": 3.0,
        "patterns": {},
        "convolutions": True,
        "text_encoders": True,
        "from": None,
    } | adapter
    rates = (
        TextEncodersParams.model_validate_json(json.dumps(RATES))
        if value["text_encoders"]
        else None
    )
    update = {
        "adapter": AdapterParams.model_validate_json(json.dumps(value)),
        "text_encoders": rates,
        "layers": layers,
    }
    return read_section("train", TrainParams, PARAMS).model_copy(update=update)


def moved(params: TrainParams, base: Path) -> Any:
    """What is trained, with every weight changed a little."""
    trainable = make_trainable(params, base)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in trainable.weights().values():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
    return trainable


def write(trainable: Any, folder: Path, base: Path) -> Path:
    """Its checkpoint."""
    noise = read_section("noise", NoiseParams, PARAMS).model_dump()
    scaling = LatentScaling("sdxl", scaling_factor=0.13025)
    trainable.write(folder, base=base, noise=noise, scaling=scaling, training={"steps": 3})
    return folder


def weights(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """A model folder's weights by part."""
    found = {}
    for part in PARTS:
        (path,) = (folder / part).glob("*.safetensors")
        found[part] = load_file(path)
    return found
