"""Outputs on disk that are not the ones `dvc.lock` speaks of."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvc.repo import Repo


def differing_outputs(repo: Repo) -> dict[str, dict[str, str]]:
    """By stage, outputs that are there and have other contents than `dvc.lock` says.

    DVC remembers the hash of a file by its place, size and time, so only what changed is read.

    Args:
        repo: The project's, open.

    Returns:
        For each path the hash of what is there; empty when DVC cannot tell.
    """
    from dvc.exceptions import DvcException

    try:
        return outputs_that_differ(repo)
    except (DvcException, OSError):
        return {}


def outputs_that_differ(repo: Repo) -> dict[str, dict[str, str]]:
    """As `differing_outputs`.

    Raises:
        DvcException: DVC cannot tell.
        OSError: An output cannot be read.
    """
    from dvc.stage import PipelineStage

    found: dict[str, dict[str, str]] = {}
    for stage in (stage for stage in repo.index.stages if isinstance(stage, PipelineStage)):
        for out in stage.outs:
            there = out.get_hash() if out.hash_info and out.exists else out.hash_info
            if there != out.hash_info:
                found.setdefault(stage.name, {})[str(out.def_path)] = str(there.value)
    return found
