"""What "unchanged" means: a stage's inputs are those of `dvc.lock`, and so are its outputs.

Four places ask, and each gets its answer here:

- A run asks DVC about all stages at once (`change_by_dvc`).
- Of the stage that it then runs, DVC's own lines say what became of it (`state_by_dvc`).
- `nadir status` and the care for damaged outputs compare fingerprints (`change_of_inputs`), which
  tell inputs alone, but need no DVC and see through a stage that is outdated itself.
- `train` looks for a training of these very inputs that has ended (`change_of_training`).
"""

from __future__ import annotations

from enum import Flag, auto
from typing import TYPE_CHECKING, Any, Literal

from nadir.ground.errors import NadirError
from nadir.pipeline.fingerprint import entry_fingerprint, stage_fingerprint
from nadir.training.run_files import is_finished

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

StageState = Literal["executed", "restored", "unchanged", "failed", "registered"]


class Change(Flag):
    """What of a stage is other than `dvc.lock` says."""

    NOTHING = 0
    """It is unchanged."""
    INPUTS = auto()
    """A dependency, a parameter or the command; or it never ran."""
    OUTPUTS = auto()
    """An output is missing, or has other contents."""


def change_by_dvc(reasons: Iterable[str | Mapping[str, Any]]) -> Change:
    """What `dvc status` found of one stage, from its entry in the answer.

    Args:
        reasons: Such as `{"changed deps": {...}}` or `"changed command"`.
    """
    outputs, others = Change.NOTHING, Change.NOTHING
    for why in reasons:
        if isinstance(why, dict) and "changed outs" in why:
            outputs = Change.OUTPUTS
        else:
            others = Change.INPUTS
    return outputs | others


def state_by_dvc(line: str) -> StageState | None:
    """What a line that DVC printed says about the stage it runs; None of any other line.

    A stage about which it says neither is unchanged.
    """
    if " is cached - skipping run, checking out outputs" in line:
        return "restored"
    return "executed" if line.startswith("Running stage ") else None


def change_of_inputs(stage: str, root: Path, entry: Mapping[str, Any] | None) -> Change:
    """Whether a stage would be run with other inputs than those of its entry in `dvc.lock`.

    Args:
        stage: Its name.
        root: The project's root.
        entry: Its entry; None where it never ran.
    """
    if entry is None:
        return Change.INPUTS
    try:
        before = entry_fingerprint(dict(entry), published=True)
        same = stage_fingerprint(stage, root, published=True) == before
    except NadirError:
        return Change.INPUTS  # one is gone
    return Change.NOTHING if same else Change.INPUTS


def change_of_training(folder: Path) -> Change:
    """What is to be done in a training's own folder, which is named by its inputs' fingerprint.

    Returns:
        `OUTPUTS` where the training has ended, so that publishing its outputs is all; else
        `INPUTS`, for these have not been trained with to the end.
    """
    return Change.OUTPUTS if is_finished(folder) else Change.INPUTS
