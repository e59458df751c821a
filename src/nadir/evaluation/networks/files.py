"""Files of networks: where they are, and that they are what the parameters say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.config.networks import CharacterParams, TaggerParams
from nadir.ground.errors import NadirError
from nadir.ground.files import file_hash
from nadir.ground.workspace import expanded, resolve_local

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.config.networks import NetworksParams

WEIGHTS = "model.safetensors"
FOLDERS = {"clip", "dinov2"}
"""Networks that are folders."""
_TAKE_OUT = "or set it to null in params.yaml, then what needs it is not run"


def where_of(key: str) -> str:
    """How a network is named in params.yaml."""
    return f"evaluate.networks.{key}"


def check_files(params: NetworksParams) -> None:
    """Check every file that is named; a training of days is not to end at a wrong path.

    Raises:
        NadirError: One is not there, or another one.
    """
    for key in type(params).model_fields:
        given = getattr(params, key)
        if given is None:
            continue
        folder = key in FOLDERS
        (checked_folder if folder else checked_file)(given.path, given.sha256, key=key)
        if isinstance(given, TaggerParams):
            checked_file(given.tags, given.tags_sha256, key=key)
        if isinstance(given, CharacterParams):
            checked_file(given.differences, given.differences_sha256, key=key)


def checked_file(location: str, sha256: str, *, key: str) -> Path:
    """The place of a file.

    Args:
        location: From params.yaml.
        sha256: What its content must have.
        key: The network it belongs to.

    Raises:
        NadirError: It is not there, or another one.
    """
    place = _place(location)
    if not place.is_file():
        raise NadirError(
            f"there is no file {place}", where=where_of(key), fix=f"correct its path, {_TAKE_OUT}"
        )
    found = file_hash(place)
    if found != sha256:
        raise NadirError(
            f"{place.name} has the sha256 {found}, not {sha256}",
            where=where_of(key),
            fix="fetch the file again, or write its sha256 if it is the one you mean",
        )
    return place


def checked_folder(location: str, sha256: str, *, key: str) -> Path:
    """The place of a folder that transformers wrote, by the hash of its weights.

    Raises:
        NadirError: It is not there, holds no safetensors, or other ones.
    """
    place = _place(location)
    if not (place / "config.json").is_file():
        raise NadirError(
            f"{place} is not a folder with config.json and {WEIGHTS}",
            where=where_of(key),
            fix=f"name a folder as transformers writes it, {_TAKE_OUT}",
        )
    checked_file(str(place / WEIGHTS), sha256, key=key)
    return place


def _place(location: str) -> Path:
    """Outside a project, where other models are evaluated, relative paths begin here."""
    try:
        return resolve_local(location)
    except NadirError:
        return expanded(location).resolve()
