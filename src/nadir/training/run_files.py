"""Names of what lies in a run's own folder, `work/training/<fingerprint>`."""

CHECKPOINTS = "checkpoints"
"""Resumable checkpoints, while the run goes on."""

OUTPUT = "output"
"""The finished run's outputs; the folder appears as a whole, at the very end."""

MODEL, METRICS, LOSS = "checkpoint", "training.json", "loss.csv"
"""What `output` holds: diffusers folder, metrics, plot data."""

CHECK = "check.json"
"""What `output` holds after `nadir train --check`."""

FAILURE = "failure.json"
"""Why the trainer ended early, for the launcher to tell."""

TRAINER_LOCK, LAUNCHER_LOCK = "trainer.lock", "launcher.lock"
"""Held by the first training process, and by what started it."""

RUN = "run.json"
"""Tracker's run id and the fingerprint."""
