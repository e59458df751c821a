"""What a check of the training measured, kept for plans of the same settings."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from nadir.ground.files import DamagedJsonError, read_json_object, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.config.train import TrainParams

_FILE = "work/check.json"
# Settings that do not change what a step costs.
_FREE = {
    "steps", "repeats", "learning_rate", "learning_rate_schedule", "warmup_steps", "betas",
    "weight_decay", "max_gradient_norm", "timesteps", "loss", "regularisation", "tag_weighting",
    "latent_scaling", "checkpoint_every", "checkpoint_in_background",
    "keep_checkpoints", "preview_every", "preview_prompts", "validation", "stop_on", "seed",
}  # fmt: skip


def keep_measured(root: Path, train: TrainParams, facts: dict[str, Any]) -> None:
    """Keep what `nadir train --check` has found for `measured_step`.

    Args:
        root: The project's.
        train: What was checked.
        facts: As the check leaves them: `device`, `processes`, `steps` with `seconds`.
    """
    write_json(root / _FILE, {"train": _costly(train), **facts})


def measured_step(root: Path, train: TrainParams, *, device: str, processes: int) -> float | None:
    """Seconds of a step with these settings; None when they have not been checked here."""
    facts: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError, DamagedJsonError):
        facts = read_json_object(root / _FILE)
    if not facts or facts.get("train") != _costly(train):
        return None
    if (facts.get("device"), facts.get("processes")) != (device, processes):
        return None
    return float(facts["steps"][-1]["seconds"])


def _costly(train: TrainParams) -> dict[str, Any]:
    return train.model_dump(mode="json", by_alias=True, exclude=_FREE)
