"""A loss that is not a number: which images and noise levels brought it about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.tables import MANIFEST, read_table
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nadir.training.run import Run

_SHOWN = 8
_LEARNING = (
    "lower train.learning_rate or raise train.warmup_steps; with fp16 use bf16 or no; if it "
    "happens at the same step again, look at these images"
)


def diverged(loss: float, step: int, run: Run) -> NadirError:
    """The error that names the batch.

    Args:
        loss: What it is.
        step: Steps made before this one.
        run: Knows the batch, and where its images come from.
    """
    hashes, timesteps_B, finite_B = run.loader.drawn(step)
    sigmas = run.objective.schedule.sigmas[timesteps_B].tolist()
    paths = _paths(run.data / "manifest.parquet", hashes)
    broken = [not finite for finite in finite_B.tolist()]
    # Broken latents first: they are the cause.
    order = sorted(range(len(hashes)), key=lambda place: not broken[place])
    lines = [
        f"{hashes[at][:12]}{paths.get(hashes[at], '')}, sigma {sigmas[at]:.4g}"
        + (", its latent is not finite" if broken[at] else "")
        for at in order[:_SHOWN]
    ]
    if len(order) > _SHOWN:
        lines.append(f"and {len(order) - _SHOWN} more")
    return NadirError(
        f"the loss is {loss} at step {step + 1}, whose batch is: " + "; ".join(lines),
        where="train",
        fix="these are broken latents: `nadir latents verify`, then `nadir run`"
        if any(broken)
        else _LEARNING,
    )


def _paths(manifest: Path, hashes: Sequence[str]) -> dict[str, str]:
    """Where images come from, in brackets, by sha256."""
    table = read_table(manifest, MANIFEST, ["sha256", "path"])
    chosen = table.filter(pc.is_in(table["sha256"], value_set=pa.array(hashes, pa.string())))
    pairs = zip(chosen["sha256"].to_pylist(), chosen["path"].to_pylist(), strict=True)
    return {sha256: f" ({path})" for sha256, path in pairs}
