"""Adapters as diffusers and peft have them.

LoRA and DoRA are one file that `pipeline.load_lora_weights(folder)` reads. LoKr and LoHa are a
folder for each network that `PeftModel.from_pretrained(pipeline.unet, folder)` reads. peft's OFT
rotates inputs, so it has no form for ours.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from nadir.ground.files import write_json
from nadir.model.adapter_files.places import DIFFUSERS_FILE
from nadir.model.single_file.safetensors_writer import write_safetensors

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.model.adapter_files.writing import AdapterFacts, Layers

PEFT_FOLDER = "peft"
METADATA_KEY = "lora_adapter_metadata"
LORA_NAMES = {
    "lora_down": "lora_A.weight",
    "lora_up": "lora_B.weight",
    "magnitude": "lora_magnitude_vector",
}
_PARTS = ("text_encoder", "text_encoder_2")
TEXT_ROOT = "text_model."
_TYPES = {"lokr": "LOKR", "loha": "LOHA"}


def write_diffusers_form(folder: Path, layers: Layers, facts: AdapterFacts) -> None:
    """Write the form beside kohya's file; of OFT nothing.

    Args:
        folder: The adapter's.
        layers: As `write_adapter` has them.
        facts: Of the adapter.
    """
    by_part = _by_part(layers)
    if facts.kind in _TYPES:
        for part, own in by_part.items():
            _write_peft_folder(folder / PEFT_FOLDER / part, own, facts)
    elif facts.kind != "oft":
        _write_lora_file(folder / DIFFUSERS_FILE, by_part, facts)


def _by_part(layers: Layers) -> dict[str, Layers]:
    """The layers of each network by their names in it."""
    found: dict[str, dict[str, Any]] = {}
    for path, parts in layers.items():
        head, _, rest = path.partition(".")
        part, name = (head, rest) if head in _PARTS else ("unet", path)
        if part == _PARTS[0]:
            # What transformers 5 calls them since it dropped the first part. Earlier versions read
            # kohya's file, whose names diffusers turns into theirs.
            name = name.removeprefix(TEXT_ROOT)
        found.setdefault(part, {})[name] = parts
    return dict(found)


def _write_lora_file(path: Path, by_part: dict[str, Layers], facts: AdapterFacts) -> None:
    tensors: dict[str, Any] = {}
    config: dict[str, Any] = {}
    for part, layers in by_part.items():
        for name, parts in layers.items():
            for ours, theirs in LORA_NAMES.items():
                if ours in parts:
                    # transformers, which loads those of text encoders, wants the weight's own name.
                    end = ".weight" if ours == "magnitude" and part in _PARTS else ""
                    tensors[f"{part}.{name}.{theirs}{end}"] = parts[ours]
        own = _config(layers, facts) | {
            "use_dora": facts.kind == "dora",
            "lora_alpha": facts.alpha,
        }
        config |= {f"{part}.{key}": value for key, value in own.items()}
    text = json.dumps(config, sort_keys=True)
    write_safetensors(path, tensors, {"format": "pt", METADATA_KEY: text})


def _write_peft_folder(folder: Path, layers: Layers, facts: AdapterFacts) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"base_model.model.{name}.{part}": tensor
        for name, parts in layers.items()
        for part, tensor in parts.items()
        if part != "alpha"
    }
    write_safetensors(folder / "adapter_model.safetensors", tensors, {"format": "pt"})
    config = _config(layers, facts) | {"peft_type": _TYPES[facts.kind], "alpha": facts.alpha}
    write_json(folder / "adapter_config.json", config)


def _config(layers: Layers, facts: AdapterFacts) -> dict[str, Any]:
    """What peft is configured by: the usual rank, and where a layer has another rank or alpha."""
    ranks = {name: _rank(parts) for name, parts in layers.items()}
    alphas = {name: float(parts["alpha"]) for name, parts in layers.items()}
    return {
        "r": facts.rank,
        "target_modules": sorted(layers),
        "rank_pattern": {
            re.escape(name): rank for name, rank in ranks.items() if rank != facts.rank
        },
        "alpha_pattern": {
            re.escape(name): alpha for name, alpha in alphas.items() if alpha != facts.alpha
        },
    }


def _rank(parts: Any) -> int:
    """Of a layer, read off a matrix that has it as a side."""
    for name in ("lora_down", "hada_w1_b", "lokr_w1_b", "lokr_w2_b"):
        if name in parts:
            return int(parts[name].shape[0])
    return int(parts["alpha"])  # two whole matrices, which are not scaled
