"""What a model's file or folder is, by which marks, and how each program will sample it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from nadir.ground.errors import NadirError
from nadir.model.checkpoint.info import folder_info
from nadir.model.recognition.kind import kind_of
from nadir.model.recognition.programs import (
    V_MARK,
    ZERO_MARK,
    Treatment,
    file_treatments,
    folder_treatments,
)
from nadir.model.single_file.modelspec import other_sizes
from nadir.model.single_file.noise import own_metadata, single_file_noise

if TYPE_CHECKING:
    from pathlib import Path

_MARKS = (V_MARK, ZERO_MARK, "edm_mean", "edm_std", "edm_vpred.sigma_max", "alphas_cumprod")
_SAID = {
    "modelspec.title": "title",
    "modelspec.date": "date",
    "modelspec.resolution": "resolution",
    "modelspec.license": "licence",
    "ss_network_module": "network",
    "ss_network_dim": "rank",
    "ss_network_alpha": "alpha",
    "ss_network_args": "arguments",
    "ss_base_model_version": "base",
    "ss_steps": "steps",
    "modelspec.usage_hint": "hint",
    "modelspec.author": "author",
    "modelspec.description": "description",
    "modelspec.tags": "tags",
}
"""Entries of the header that people ask for, by what they are called here."""
_LONGEST_YAML = 100_000  # characters; what is longer configures something else
_PROCESS_KEYS = (
    "modelspec.prediction_type",
    "modelspec.predict_key",
    "prediction_type",
    "ss_v_parameterization",
    "ss_zero_terminal_snr",
)


@dataclass(frozen=True)
class Description:
    """Of one model.

    Attributes:
        what: Its kind, such as "an SDXL" or "a LoRA".
        size: Number of weights and their precisions.
        noise: The section `noise` that its marks amount to; None where it has none of its own.
        marks: Everything that says something of the noise process.
        said: What its header says about itself.
        treatments: What each program makes of it.
        fault: Why nothing is known of its noise process, or marks that contradict each other.
    """

    what: str
    size: str
    noise: dict[str, Any] | None = None
    marks: list[str] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)
    treatments: list[Treatment] = field(default_factory=list)
    fault: str = ""


def describe(path: Path) -> Description:
    """Look at a file's header, or at a diffusers folder's configuration; no weights are loaded.

    Args:
        path: A `.safetensors` file, or a folder.

    Raises:
        NadirError: It is neither.
    """
    if path.is_dir():
        info = folder_info(path)
        treatments = folder_treatments(info.noise)
        mark = "scheduler_config.json"
        return Description("a diffusers folder", "", info.noise, [mark], {}, treatments)
    try:
        if not path.is_file():
            raise OSError("it is not a regular file")  # noqa: TRY301 - reading one may never end
        with safe_open(path, framework="pt") as opened:
            return _of_file(path, opened)
    except (SafetensorError, OSError) as error:
        raise NadirError(
            f"not a readable safetensors file: {error}",
            where=str(path),
            fix="name a .safetensors file or a diffusers folder; pickles (.ckpt) are never read",
        ) from error


def _of_file(path: Path, opened: Any) -> Description:
    metadata: dict[str, str] = opened.metadata() or {}
    slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
    shapes = {name: part.get_shape() for name, part in slices.items()}
    noise, fault, other = None, "", None
    configs: dict[str, Any] = {}
    try:
        configs = own_metadata(path, metadata).get("configs") or {}
        other = kind_of(shapes, configs.get("unet", {}))
        noise = None if other else single_file_noise(path, opened)
    except NadirError as error:
        fault = error.what
    marks = [f"tensor {name}" for name in _MARKS if name in shapes]
    marks += [f"metadata {key}: {metadata[key]}" for key in _PROCESS_KEYS if metadata.get(key)]
    return Description(
        what=other or "an SDXL",
        size=_size(slices),
        noise=noise,
        marks=marks or ["none; SDXL base's own process is meant then"] * (not other),
        said={name: metadata[key] for key, name in _SAID.items() if metadata.get(key)}
        | _to_know(metadata, configs, is_whole=not other),
        treatments=[] if other else file_treatments(shapes, metadata, beside=_beside(path)),
        fault=fault,
    )


def _to_know(
    metadata: dict[str, str], configs: dict[str, Any], *, is_whole: bool
) -> dict[str, str]:
    """What a user must know before the table of programs is true of the file."""
    if is_whole:
        size = other_sizes(configs) if configs else None
        return {"opened by": f"Nadir alone, since {size}"} if size else {}
    v, zero = (metadata.get(key) == "True" for key in _PROCESS_KEYS[-2:])
    if metadata.get(_PROCESS_KEYS[-2]) not in ("True", "False"):
        return {}
    process = ("v" if v else "epsilon") + ", zero terminal SNR" * zero
    return {"made for": f"a base of {process}, by whose marks programs sample it"}


def _beside(path: Path) -> str:
    """Text of the `.yaml` of a file's name; "" where there is none that can be read."""
    place = path.with_suffix(".yaml")
    try:
        return place.read_text(encoding="utf-8")[:_LONGEST_YAML] if place.is_file() else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _size(slices: dict[str, Any]) -> str:
    counts: Counter[str] = Counter()
    for part in slices.values():
        counts[part.get_dtype()] += prod(part.get_shape())
    total = sum(counts.values())
    shown = ", ".join(name for name, count in counts.most_common() if count)
    return f"{total:,} weights in {len(slices):,} tensors ({shown})"
