"""What an adapter's file says of itself: kohya's `ss_*` entries and Stability's ModelSpec."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nadir.model.adapter_files.writing import AdapterFacts

DORA_KEY, DORA_OF_BASE = "nadir.dora_scale", "magnitude x norm of the base / norm of the sum"
_ARCHITECTURE = "stable-diffusion-xl-v1-base/lora"


def adapter_metadata(facts: AdapterFacts) -> dict[str, str]:
    """Entries of the header: what it was trained on, how, and how to sample with it.

    Args:
        facts: Of the adapter.
    """
    is_v, zero = facts.noise["prediction"] == "v", facts.noise["zero_terminal_snr"]
    prediction = "epsilon" if facts.noise["prediction"] == "epsilon" else "v"
    process = f"{prediction}-prediction" + (", zero terminal SNR" if zero else "")
    entries = {
        "format": "pt",
        "ss_v_parameterization": str(is_v),
        "ss_zero_terminal_snr": str(zero),
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_network_dim": str(facts.rank),
        "ss_network_alpha": f"{facts.alpha:g}",
        **_network(facts),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": _ARCHITECTURE,
        "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
        "modelspec.title": _title(facts),
        "modelspec.description": f"An adapter of SDXL trained with Nadir ({process}).",
        "modelspec.prediction_type": prediction,
        "modelspec.predict_key": prediction,
    }
    if "steps" in facts.training:
        entries["ss_steps"] = str(facts.training["steps"])
    if facts.kind == "dora":
        entries[DORA_KEY] = DORA_OF_BASE
    return entries


def _network(facts: AdapterFacts) -> dict[str, str]:
    """The module that made it, in kohya's terms, and its arguments."""
    arguments: dict[str, str] = {}
    if facts.convolutions:
        arguments |= {"conv_dim": str(facts.rank), "conv_alpha": f"{facts.alpha:g}"}
    if facts.kind == "lora":
        module = "networks.lora"
    else:
        module = "lycoris.kohya"
        algorithm = {"dora": "lora", "oft": "diag-oft"}.get(facts.kind, facts.kind)
        arguments["algo"] = algorithm
        if facts.kind == "dora":
            arguments |= {"dora_wd": "True", "wd_on_output": "True"}
    return {
        "ss_network_module": module,
        "ss_network_args": json.dumps(arguments, sort_keys=True),
    }


def _title(facts: AdapterFacts) -> str:
    mark = str(facts.training.get("fingerprint", ""))[:12]
    return " ".join(word for word in ("Nadir", facts.kind, "adapter", mark) if word)
