"""Models from the Hugging Face hub, pinned to a commit."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from nadir.ground.errors import NadirError
from nadir.model.base.diffusers_folder import WEIGHTS

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SMALL = [
    "model_index.json",
    "*/config.json",
    "scheduler/*.json",
    "tokenizer/*.json",
    "tokenizer/*.txt",
    "tokenizer_2/*.json",
    "tokenizer_2/*.txt",
]


def download(model: str, revision: str | None, variant: str | None) -> Path:
    """Download an SDXL's safetensors at a pinned commit; what is there already is not fetched.

    Args:
        model: Hub id, `owner/name`.
        revision: A full commit id.
        variant: Such as `fp16`; None for the plain files.

    Returns:
        The snapshot's folder in the hub's own cache.

    Raises:
        NadirError: No pinned commit, no such model, or no connection.
    """
    if revision is None or not _COMMIT.fullmatch(revision):
        raise NadirError(
            f"the hub model {model} is not pinned to a commit",
            where="params.yaml base_model.revision",
            fix=f"set it to {_current_commit(model, revision)}",
        )
    middle = f".{variant}" if variant else ""
    weights = []
    for part, stem in WEIGHTS.items():
        weights += [f"{part}/{stem}{middle}.safetensors", f"{part}/{stem}{middle}-0*.safetensors"]
        weights += [f"{part}/{stem}*.safetensors.index{middle}.json"]
        weights += [f"{part}/{stem}-0*{middle}.safetensors"] if variant else []
    return snapshot(model, revision, [*_SMALL, *weights])


def snapshot(model: str, revision: str, patterns: list[str]) -> Path:
    """The files of a commit that match, from the cache or the hub.

    Raises:
        NadirError: No such commit, or no connection.
    """
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, httpx.HTTPError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no answer"
        raise NadirError(
            f"{model} cannot be downloaded ({reason})",
            where=f"hub, commit {revision}",
            fix="check the id, the commit, the network and HF_TOKEN; without a network, copy the "
            "model here and set base_model.source to its folder",
        ) from error


def _current_commit(model: str, revision: str | None) -> str:
    """The commit that a branch, tag or nothing means now, as advice."""
    try:
        return str(HfApi().model_info(model, revision=revision).sha)
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, httpx.HTTPError):
        return "the full commit id that the model's page shows under Files"
