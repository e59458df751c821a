"""Names of what lies in a run's own folder, `work/training/<fingerprint>`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CHECKPOINTS = "checkpoints"
"""Resumable checkpoints, while the run goes on."""

OUTPUT = "output"
"""The finished run's outputs; the folder appears as a whole, at the very end."""

MODEL, METRICS, LOSS = "checkpoint", "training.json", "loss.csv"
"""What `output` holds: diffusers folder, metrics, plot data."""


CHECK = "check.json"
"""What `output` holds after `nadir train --check`."""
TRAINER_LOCK, LAUNCHER_LOCK = "trainer.lock", "launcher.lock"
"""Held by the first training process, and by what started it."""

RUN = "run.json"
"""Tracker's run id and the fingerprint."""


def is_finished(work: Path) -> bool:
    """Whether the training of this folder has ended and left its outputs."""
    return (work / OUTPUT).is_dir()
