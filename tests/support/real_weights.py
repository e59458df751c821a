"""The miniature project with a real, tiny SDXL for its checkpoint, registered as users do."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.mini.project import MiniProject, trained_template
from tests.support.small_checkpoint import write_base, write_checkpoint

from nadir.pipeline.fingerprint import entry_fingerprint
from nadir.tracking.lock_file import read_lock
from nadir.tracking.registry.registration import Registration, register

if TYPE_CHECKING:
    from pathlib import Path


def with_real_weights(folder: Path, params: Path) -> MiniProject:
    """The project after its training; `models/checkpoint` draws.

    Args:
        folder: Where to make it.
        params: The parameter file whose tiny SDXL it is.
    """
    project = MiniProject(folder / "project")
    shutil.copytree(trained_template(), project.root)
    write_base(folder / "base", params)
    shutil.rmtree(project.root / "models/checkpoint")
    write_checkpoint(project.root / "models/checkpoint", folder / "base", params)
    project.dvc("commit", "-q", "-f", "train")
    return project


def registered(project: MiniProject) -> Registration:
    """Register what `dvc.lock` names."""
    return register(project.root, fingerprint=entry_fingerprint(read_lock(project.root)["train"]))
