"""The noise process of a single file: every place that names one, and that they agree.

Programs name it in different places: ComfyUI and its kin by the presence of tensors (`v_pred`,
`ztsnr`, `edm_...`), sd-scripts and ModelSpec by metadata, LDM by stored tables, Nadir by its own
metadata. A file is believed when all that it says is one process; where it says nothing, the
process is SDXL base's, which is what other programs then take.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from nadir.ground.errors import NadirError
from nadir.model.checkpoint.info import check_schedule
from nadir.model.checkpoint.scheduler import STOCK_NOISE
from nadir.model.recognition.noise_table import settings_of_table
from nadir.model.single_file.marks import (
    METADATA_KEY,
    V_MARKER,
    ZERO_SNR_MARKER,
    noise_markers,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PREDICTIONS = {
    "v": "v",
    "v_pred": "v",
    "v_prediction": "v",
    "velocity": "v",
    "v_zsnr": "v",
    "eps": "epsilon",
    "epsilon": "epsilon",
}
# The last is SwarmUI's, which writes it when a user edits a model there.
_PREDICTION_KEYS = ("modelspec.prediction_type", "modelspec.predict_key", "prediction_type")
_ZERO_ENDING = "zsnr"  # of SwarmUI's value `v-zsnr`, for which ModelSpec has no word
_KOHYA_V, _KOHYA_ZERO = "ss_v_parameterization", "ss_zero_terminal_snr"
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}
_EDM = "edm_"
# Handed on from SDXL base's own file by merges, so the stock one says nothing.
_INHERITED_TABLE = "denoiser.sigmas"
_FORMS = {
    "configs": {"unet", "vae", "text_encoder", "text_encoder_2"},
    "tokenizers": {"vocabulary", "merges", "words", "pad_token"},
    "training": set(),
}
"""Entries of Nadir's metadata that others read, and keys that each must have."""
_KNOWN_EMPTY = (V_MARKER, ZERO_SNR_MARKER, "scaled_fp8")


@dataclass(frozen=True)
class _Claim:
    """What one place in a file says of one setting."""

    source: str
    setting: str
    value: str | bool

    def __str__(self) -> str:
        if self.setting == "prediction":
            return f"{self.source} says {self.value}-prediction"
        return f"{self.source} says zero terminal SNR: {'yes' if self.value else 'no'}"


def single_file_noise(file: Path, opened: Any) -> dict[str, Any]:
    """The parameter section `noise` that a single file amounts to.

    Args:
        file: What to name in errors.
        opened: The file, from `safetensors.safe_open`; only small tensors are read.

    Raises:
        NadirError: A process that is not SDXL's, or places that contradict each other.
    """
    metadata, names = opened.metadata() or {}, set(opened.keys())
    _refuse_other_processes(file, opened, names)
    own = own_metadata(file, metadata).get("noise")
    if own is not None:
        _require_markers(file, own, names)
    claims = list(_claims(file, opened, metadata, names))
    if own is not None:
        claims += [
            _Claim(f"the metadata `{METADATA_KEY}`", setting, own[setting])
            for setting in ("prediction", "zero_terminal_snr")
        ]
    claimed = _agreed(file, claims)
    if own is not None:
        return dict(own)
    noise = STOCK_NOISE | claimed
    if noise["zero_terminal_snr"] and noise["prediction"] == "epsilon":
        claim = next(c for c in claims if c.setting == "zero_terminal_snr")
        raise _contradiction(f"{claim}, but nothing says v-prediction", file)
    return noise


def own_metadata(file: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """What `nadir export` wrote into a file's metadata; empty in others' files.

    Raises:
        NadirError: It is damaged, or its noise settings make another schedule than they did.
    """
    try:
        value = json.loads(metadata.get(METADATA_KEY, "{}"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(_is_sound(*entry) for entry in value.items()):
        raise _damaged(file)
    if value.get("noise") is not None:
        try:
            check_schedule(value["noise"], value.get("schedule"), where=str(file))
        except (TypeError, ValueError) as error:
            raise _damaged(file) from error
    return value


def _is_sound(name: str, value: Any) -> bool:
    """Whether an entry of Nadir's metadata has the form that its readers expect."""
    if value is None or name not in _FORMS:
        return True
    if name == "tokenizers":
        return isinstance(value, list) and len(value) == 2 and all(map(_is_tokenizer, value))
    parts = value.values() if isinstance(value, dict) and name == "configs" else ()
    keys = set(value) if isinstance(value, dict) else None
    return keys is not None and keys >= _FORMS[name] and all(isinstance(p, dict) for p in parts)


def _is_tokenizer(value: Any) -> bool:
    return isinstance(value, dict) and set(value) >= _FORMS["tokenizers"]


def _damaged(file: Path) -> NadirError:
    return NadirError(
        f"the metadata `{METADATA_KEY}` of the file are damaged",
        where=str(file),
        fix="export the model again",
    )


def _refuse_other_processes(file: Path, opened: Any, names: set[str]) -> None:
    edm = sorted(name for name in names if name.startswith(_EDM))
    empty = sorted(
        name
        for name in names
        if "." not in name and name not in _KNOWN_EMPTY and 0 in opened.get_slice(name).get_shape()
    )
    if edm:
        whose = "Playground v2.5" if edm[0] in ("edm_mean", "edm_std") else "CosXL"
        what = f"the noise process of EDM ({edm[0]}), as {whose} does, which is not SDXL's"
    elif empty:
        what = f"something that Nadir does not know, by an empty tensor named {empty[0]}"
    else:
        return
    raise NadirError(
        f"the file asks for {what}",
        where=str(file),
        fix="name an SDXL with epsilon- or v-prediction on SDXL's own schedule",
    )


def _require_markers(file: Path, own: dict[str, Any], names: set[str]) -> None:
    """Nadir writes markers wherever they hold, so one that is missing was lost on the way."""
    for marker in noise_markers(own):
        if marker not in names:
            raise _contradiction(
                f"the metadata `{METADATA_KEY}` say {own['prediction']}-prediction"
                f"{' with zero terminal SNR' if own['zero_terminal_snr'] else ''}, but the tensor "
                f"`{marker}`, by which other programs know it, is missing",
                file,
            )


def _claims(file: Path, opened: Any, metadata: dict[str, str], names: set[str]) -> Iterator[_Claim]:
    if V_MARKER in names:
        yield _Claim(f"the tensor `{V_MARKER}`", "prediction", "v")
    if ZERO_SNR_MARKER in names:
        yield _Claim(f"the tensor `{ZERO_SNR_MARKER}`", "zero_terminal_snr", value=True)
    for key in _PREDICTION_KEYS:
        if metadata.get(key, "").strip().lower().endswith(_ZERO_ENDING):
            yield _Claim(f"the metadata `{key}`", "zero_terminal_snr", value=True)
        if metadata.get(key, "").strip():
            yield _Claim(f"the metadata `{key}`", "prediction", _prediction(file, key, metadata))
    for key, setting in ((_KOHYA_V, "prediction"), (_KOHYA_ZERO, "zero_terminal_snr")):
        said = _truth(file, key, metadata.get(key, ""))
        if said is not None:
            value = ("v" if said else "epsilon") if setting == "prediction" else said
            yield _Claim(f"the metadata `{key}`", setting, value)
    yield from _table_claims(file, opened, names)


def _prediction(file: Path, key: str, metadata: dict[str, str]) -> str:
    said = metadata[key].strip().lower().replace("-", "_").replace(" ", "_")
    if said not in _PREDICTIONS:
        raise NadirError(
            f"the metadata `{key}` say {metadata[key]!r}, which is neither epsilon nor v",
            where=str(file),
            fix="name an SDXL with epsilon- or v-prediction on SDXL's own schedule",
        )
    return _PREDICTIONS[said]


def _truth(file: Path, key: str, text: str) -> bool | None:
    """Yes or no, as Python and JSON write it; None where nothing is said."""
    said = text.strip().lower()
    if said in ("", "none", "null"):
        return None
    if said not in _TRUTHS:
        raise NadirError(
            f"the metadata `{key}` say {text!r}, which is neither True nor False",
            where=str(file),
            fix="name an SDXL with epsilon- or v-prediction on SDXL's own schedule",
        )
    return _TRUTHS[said]


def _table_claims(file: Path, opened: Any, names: set[str]) -> Iterator[_Claim]:
    """What stored tables say of the terminal step."""
    for name in ("alphas_cumprod", "betas", _INHERITED_TABLE):
        if name not in names:
            continue
        found = settings_of_table(_alphas_cumprod(name, opened.get_tensor(name)), STOCK_NOISE)
        if found is None or found["sigma_shift"] != 1.0:
            raise NadirError(
                f"the table `{name}` in the file is not of SDXL's schedule",
                where=str(file),
                fix="name an SDXL with epsilon- or v-prediction on SDXL's own schedule",
            )
        zero = found["zero_terminal_snr"]
        if zero or name != _INHERITED_TABLE:
            yield _Claim(f"the table `{name}`", "zero_terminal_snr", zero)


def _alphas_cumprod(name: str, tensor: torch.Tensor) -> torch.Tensor:
    table = tensor.double().flatten()
    if name == "betas":
        return torch.cumprod(1 - table, dim=0)
    if name == _INHERITED_TABLE:
        # Kept in either direction; a last sigma of infinity is an alphas_cumprod of 0.
        return 1 / (1 + table.sort().values ** 2)
    return table


def _agreed(file: Path, claims: list[_Claim]) -> dict[str, Any]:
    """One value per setting that is claimed."""
    claimed: dict[str, _Claim] = {}
    for claim in claims:
        first = claimed.setdefault(claim.setting, claim)
        if first.value != claim.value:
            raise _contradiction(f"{first}, but {claim}", file)
    return {setting: claim.value for setting, claim in claimed.items()}


def _contradiction(what: str, file: Path) -> NadirError:
    return NadirError(
        what,
        where=str(file),
        fix="get the file from its author, or convert it to a diffusers folder whose "
        "scheduler_config.json says what holds",
    )
