"""Diffusers folders on disk: configurations without local paths, and usual permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nadir.ground.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
TOKENIZERS = ("tokenizer", "tokenizer_2")
ONE_FILE = "1TB"
"""`max_shard_size` above every network's."""
# diffusers and transformers note where a model came from; what we write holds no local path.
_UNWANTED_KEYS = ("_name_or_path",)


def edit_json(path: Path, changes: Mapping[str, Any] | None = None) -> None:
    """Rewrite a configuration with changes and without local paths.

    The file is replaced, so a hard link elsewhere keeps its content.
    """
    value = {k: v for k, v in read_json(path).items() if k not in _UNWANTED_KEYS}
    write_json(path, value | dict(changes or {}))


def write_model_index(folder: Path, source: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Write a pipeline's `model_index.json` from another's entries and changes to them."""
    value = {k: v for k, v in source.items() if k not in _UNWANTED_KEYS}
    write_json(folder / "model_index.json", value | dict(changes))


def make_readable(folder: Path) -> None:
    """Give all files of a folder the usual permissions; safetensors writes them for one user."""
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
