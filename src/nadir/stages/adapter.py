"""The adapter to train on from, whose content `ingest` looks at for DVC.

DVC watches files that `dvc.yaml` names, and this one is named in `params.yaml`. So the stage that
always runs leaves the file's hash, which `train` depends on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nadir.config.reader import read_yaml
from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.files import file_hash, read_json, write_json
from nadir.ground.workspace import PARAMS_FILE, resolve_local
from nadir.model.adapter_files.places import adapter_file

_HASH = "sha256"


def write_adapter_hash() -> None:
    """Leave the hash of the file that `train.adapter.from` names, or null.

    Raises:
        NadirError: No adapter is there.
    """
    write_json(artifacts.ADAPTER, {_HASH: _present_hash()})


def require_adapter_as_listed() -> None:
    """Refuse to train on from another file than DVC knows of.

    Raises:
        NadirError: It has changed since `ingest` ran, or is gone.
    """
    present = _present_hash()
    if present and read_json(artifacts.ADAPTER)[_HASH] != present:
        raise NadirError(
            "the adapter to train on from has changed since `ingest` looked at it",
            where="params.yaml train.adapter.from",
            fix="run the pipeline again (`nadir run`, or `dvc repro`)",
        )


def _present_hash() -> str | None:
    # Not the section's model, on which each change of a training setting would make ingest depend.
    found = read_yaml(Path(PARAMS_FILE))
    for key in ("train", "adapter", "from"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return file_hash(adapter_file(resolve_local(str(found)))) if found else None
