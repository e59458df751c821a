"""What a stage is made of, as one hash that is known before it runs."""

from __future__ import annotations

import json
from hashlib import md5
from typing import TYPE_CHECKING, Any

from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.files import canonical_hash, file_hash
from nadir.ground.workspace import PARAMS_FILE
from nadir.tracking.lock_file import load_yaml, output_hashes, read_lock, stage_definitions

if TYPE_CHECKING:
    from pathlib import Path


# Of `train`: whether to stop, and how its state gets to the disk.
_SHAPELESS = {"stop_on", "checkpoint_in_background"}
# What a finished training is published with: another one needs no training.
_PUBLISHED_WITH = {str(artifacts.DECODER)}


def stage_fingerprint(stage: str, root: Path, *, published: bool = False) -> str:
    """sha256 over a stage's command, the md5 of each dependency and its parameters.

    It is computed from the stages before it (their outputs in `dvc.lock`), the listed code and
    `params.yaml`, so it is known while the stage runs, and equals `entry_fingerprint` of the
    entry that DVC writes to `dvc.lock` afterwards.

    Args:
        stage: Name of a stage in `dvc.yaml`.
        root: The project's root.
        published: Whether what a finished training is only published with, the VAE's fine-tuned
            decoder, counts as well.

    Raises:
        NadirError: No such stage, a missing dependency or parameter.
    """
    definition = _definition(stage, root)
    outputs = output_hashes(read_lock(root))
    deps = {path: outputs.get(path) or path_md5(root / path) for path in definition.get("deps", [])}
    params = _params(definition.get("params", []), root, stage)
    return _hash(definition["cmd"], deps, params, published=published)


def entry_fingerprint(entry: dict[str, Any], *, published: bool = False) -> str:
    """The same hash, from a stage's entry in `dvc.lock`."""
    deps = {dep["path"]: dep["md5"] for dep in entry.get("deps", [])}
    return _hash(entry["cmd"], deps, entry.get("params", {}), published=published)


def path_md5(path: Path) -> str:
    """DVC's md5 of a file, or of a directory (its sorted list of file hashes; ends in `.dir`).

    Raises:
        NadirError: Nothing is there.
    """
    if path.is_file():
        return file_hash(path, "md5")
    if not path.is_dir():
        raise NadirError(
            "a dependency is missing", where=str(path), fix="run `nadir run`, which makes it"
        )
    return md5(folder_listing(path).encode(), usedforsecurity=False).hexdigest() + ".dir"


def folder_listing(path: Path) -> str:
    """The list of a folder's files and their hashes, as DVC keeps it; its own hash names both."""
    files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    entries = [{"md5": file_hash(files[name], "md5"), "relpath": name} for name in sorted(files)]
    return json.dumps(entries, sort_keys=True)


def _hash(cmd: Any, deps: dict[str, str], params: dict[str, Any], *, published: bool) -> str:
    if not published:
        deps = {path: md5 for path, md5 in deps.items() if path not in _PUBLISHED_WITH}
    return canonical_hash({"cmd": cmd, "deps": deps, "params": _shaping(params)})


def _shaping(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters without those of `train` that shape no weight: a run goes on without them."""
    return {
        file: {
            name: {key: one for key, one in value.items() if key not in _SHAPELESS}
            if name == "train" and isinstance(value, dict)
            else value
            for name, value in names.items()
        }
        for file, names in params.items()
    }


def _definition(stage: str, root: Path) -> dict[str, Any]:
    stages = stage_definitions(root)
    if stage not in stages:
        raise NadirError(
            f"no stage `{stage}`", where="dvc.yaml", fix=f"choose one of {', '.join(stages)}"
        )
    definition: dict[str, Any] = stages[stage]
    if "${" in json.dumps(definition):
        raise NadirError(
            f"stage `{stage}` uses DVC templates, which its fingerprint cannot see through",
            where="dvc.yaml",
            fix="write the value out, or read it from params.yaml in the stage",
        )
    return definition


def _params(entries: list[Any], root: Path, stage: str) -> dict[str, Any]:
    """Tracked parameters as `dvc.lock` writes them: by file, then by dotted key."""
    keys: dict[str, list[str]] = {}
    for entry in entries:
        by_file = {PARAMS_FILE: [entry]} if isinstance(entry, str) else entry
        for file, names in by_file.items():
            keys.setdefault(file, []).extend(names)
    found: dict[str, Any] = {}
    for file, names in keys.items():
        tree = load_yaml(root / file)
        found[file] = {name: _look_up(tree, name, f"{file} ({stage})") for name in names}
    return found


def _look_up(tree: Any, dotted: str, where: str) -> Any:
    for part in dotted.split("."):
        if not isinstance(tree, dict) or part not in tree:
            raise NadirError(
                f"no parameter `{dotted}`", where=where, fix="copy it from presets/tiny.yaml"
            )
        tree = tree[part]
    return tree
