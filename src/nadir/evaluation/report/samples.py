"""The folder of samples: single pictures, a sheet per guidance scale, and one sheet of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.evaluation.report.grid import sample_grid
from nadir.evaluation.results import scale_key

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.protocol import EvalPrompt

_SHEET_ROWS = 8


def sample_sheets(evaluation: Evaluation) -> dict[str, Image.Image]:
    """Pictures by file name.

    `grid.png` has a row per prompt and a column per scale, all of the first seed; `cfg-4.5.png`
    and those of the other scales have a column per seed; `prompt_…-cfg-4.5-seed-1.png` and so on
    are single pictures of the prompts in the parameters.
    """
    plan = evaluation.plan
    fixed = plan.of_kind("fixed")
    shown = [*fixed, *plan.of_kind("brightness"), *plan.of_kind("holdout")][:_SHEET_ROWS]
    labels = [prompt.text for prompt in shown]
    sheets = {
        "grid.png": sample_grid(
            [[evaluation.pictures[s, p.id, p.seeds[0]] for s in plan.cfg_scales] for p in shown],
            row_labels=labels,
            column_labels=[f"CFG {scale_key(scale)}" for scale in plan.cfg_scales],
        )
    }
    seeds = fixed[0].seeds
    for scale in plan.cfg_scales:
        sheets[f"cfg-{scale_key(scale)}.png"] = sample_grid(
            [[evaluation.pictures[scale, p.id, seed] for seed in seeds] for p in shown],
            row_labels=labels,
            column_labels=[f"seed {seed}" for seed in seeds],
        )
    for prompt in fixed:
        sheets |= _singles(evaluation, prompt)
    return sheets


def write_samples(folder: Path, sheets: dict[str, Image.Image]) -> None:
    """Write the pictures as PNG into a folder, which DVC empties before a stage runs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in sheets.items():
        picture.save(folder / name, optimize=True)


def _singles(evaluation: Evaluation, prompt: EvalPrompt) -> dict[str, Image.Image]:
    return {
        f"{prompt.id}-cfg-{scale_key(scale)}-seed-{seed}.png": evaluation.pictures[
            scale, prompt.id, seed
        ]
        for scale in evaluation.plan.cfg_scales
        for seed in prompt.seeds
    }
