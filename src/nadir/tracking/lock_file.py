"""`dvc.lock`, read as the plain YAML it is: what each stage was made of, and what came out."""

from __future__ import annotations

import copy
import functools
import itertools
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from nadir.ground.errors import NadirError

LOCK_FILE = "dvc.lock"
_HASHES = {"md5", "etag", "checksum"}


def load_yaml(path: Path) -> Any:
    """Parse YAML 1.2 as DVC does: `no` is a text, `1e-3` a number.

    Raises:
        NadirError: The file is not valid YAML.
    """
    from ruamel.yaml.error import YAMLError

    try:
        return copy.deepcopy(_parsed(path.read_text(encoding="utf-8")))
    except (YAMLError, UnicodeDecodeError) as error:
        if path.name == LOCK_FILE:
            raise damaged_lock_file(f"not valid YAML: {error}", path) from error
        raise NadirError(
            f"not valid YAML: {error}",
            where=str(path),
            fix=f"restore the file with `git checkout {path.name}`",
        ) from error


def damaged_lock_file(what: str, path: Path) -> NadirError:
    """The error for a `dvc.lock` that cannot be read; `what` says why."""
    return NadirError(
        f"the file is damaged: {what}",
        where=str(path),
        fix=f"`git checkout {LOCK_FILE}`, or delete the file: the next run then takes from DVC's "
        "cache whatever is there",
    )


@functools.lru_cache(maxsize=8)
def _parsed(text: str) -> Any:
    """Remembered, since one command reads the same files for every stage, and parsing is slow."""
    # Not `pure`: the parser in C, where there is one, takes a quarter of the time. What a value is
    # gets resolved by the same rules.
    return YAML(typ="safe").load(text)


def stage_definitions(root: Path) -> dict[str, dict[str, Any]]:
    """The stages of `dvc.yaml`, by name.

    Raises:
        NadirError: The file is not YAML, or names no stages, as a power cut may leave it.
    """
    path = root / "dvc.yaml"
    tree = load_yaml(path)
    stages = tree.get("stages") if isinstance(tree, dict) else None
    if not isinstance(stages, dict):
        raise NadirError(
            "the file names no stages",
            where=str(path),
            fix=f"restore the file with `git checkout {path.name}`",
        )
    return stages


def read_lock(root: Path) -> dict[str, dict[str, Any]]:
    """Entry by stage; empty before the first run.

    Each entry has `cmd`, `deps` and `outs` (lists of `path`, `md5`, ...) and `params`
    (by file, then by key).
    """
    path = root / LOCK_FILE
    if not path.is_file():
        return {}
    tree = load_yaml(path) or {}
    stages = tree.get("stages") or {} if isinstance(tree, dict) else tree
    require_whole(stages, path)
    return dict(stages)


def require_whole(stages: Any, path: Path) -> None:
    """Refuse a `dvc.lock` that ends before its time, as a kill may leave it.

    Raises:
        NadirError: It holds no entries, an entry lacks a path, or a path its hash.
    """
    if not isinstance(stages, dict):
        raise damaged_lock_file("it holds no stages", path)
    for stage, entry in stages.items():
        whole = isinstance(entry, dict)
        lists: list[Any] = [entry.get(key, []) for key in ("deps", "outs")] if whole else []
        if not whole or not all(isinstance(parts, list) for parts in lists):
            raise damaged_lock_file(f"stage `{stage}` ends before its time", path)
        for part in itertools.chain(*lists):
            # DVC does not mind before it runs the stage, and then gives no reason.
            known = part if isinstance(part, dict) else {}
            if not known.get("path") or not _HASHES & known.keys():
                what = f"stage `{stage}`: `{known.get('path') or '?'}` has no hash"
                raise damaged_lock_file(what, path)


def read_lock_text(text: str) -> dict[str, dict[str, Any]]:
    """As `read_lock`, of a text such as `git show` gives.

    Raises:
        NadirError: It is not valid YAML.
    """
    from ruamel.yaml.error import YAMLError

    try:
        tree = copy.deepcopy(_parsed(text))
    except YAMLError as error:
        raise damaged_lock_file(f"not valid YAML: {error}", Path(LOCK_FILE)) from error
    return dict((tree or {}).get("stages", {}))


def output_hash(root: Path, artifact: Path) -> str | None:
    """DVC's md5 of one output (`nadir.ground.artifacts`); None before it was first made."""
    return output_hashes(read_lock(root)).get(artifact.as_posix())


def output_hashes(lock: dict[str, dict[str, Any]]) -> dict[str, str]:
    """DVC's md5 of every output of every stage, by path; directories end in `.dir`."""
    outputs = (out for entry in lock.values() for out in entry.get("outs", []))
    return {out["path"]: out["md5"] for out in outputs if "md5" in out}
