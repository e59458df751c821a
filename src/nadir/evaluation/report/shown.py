"""The pictures of the report: strips of brightness probes, and grids by prompt and guidance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nadir.ground.pages.page import thumbnail_uri

if TYPE_CHECKING:
    from PIL import Image

    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.protocol import EvalPrompt, Kind

Key = tuple[float, str, int]
"""Scale, prompt id and seed."""

# Keep the page far below 20 MB: a thumbnail has at most about 20 kB at 192 pixels, 45 kB at 384.
_MAX_PICTURES = 480
_SIDES_PX = ((120, 384), (240, 272), (_MAX_PICTURES, 192))
_STRIPS: tuple[Kind, ...] = ("brightness", "ladder", "canvas")


def picture_uris(evaluation: Evaluation, scale: float) -> dict[Key, str]:
    """Thumbnails of the pictures that the page shows, the larger the fewer there are.

    Args:
        evaluation: Holds the pictures.
        scale: Of the strips.
    """
    shown = _shown(evaluation, scale)
    side = thumbnail_side(len(shown))
    return {key: thumbnail_uri(picture, side) for key, picture in shown.items()}


def thumbnail_side(count: int) -> int:
    """Longer side in pixels of so many thumbnails."""
    return next((side for most, side in _SIDES_PX if count <= most), _SIDES_PX[-1][1])


def strips(
    evaluation: Evaluation, scale: float, thumbnails: dict[Key, str]
) -> list[dict[str, Any]]:
    """Each brightness probe at the deciding scale: its pictures with what was measured.

    The one place here that knows a metric: these pictures are the paper's check, made visible.
    """
    measured = {
        (row.prompt_id, row.seed): row.value
        for row in evaluation.rows
        if row.cfg_scale == scale and row.metric == "luminance"
    }
    found_strips = []
    for probe in evaluation.plan.of_kind(*_STRIPS):
        tiles = [
            {
                "uri": thumbnails[scale, probe.id, seed],
                "seed": seed,
                "value": measured.get((probe.id, seed)),
            }
            for seed in probe.seeds
        ]
        found = [measured[probe.id, s] for s in probe.seeds if (probe.id, s) in measured]
        mean = sum(found) / len(found) if found else None
        found_strips.append({"probe": probe, "tiles": tiles, "mean": mean})
    return found_strips


def grids(evaluation: Evaluation, thumbnails: dict[Key, str]) -> list[dict[str, Any]]:
    """One table per seed: a row per prompt, a column per scale."""
    prompts = _pictured(evaluation)
    side = thumbnail_side(len(thumbnails) + len(evaluation.references))
    references = {
        name: thumbnail_uri(picture, side) for name, picture in evaluation.references.items()
    }
    found = []
    for seed in _shown_seeds(evaluation):
        rows = [
            {
                "prompt": prompt,
                "reference": references.get(prompt.id),
                "uris": [thumbnails[s, prompt.id, seed] for s in evaluation.plan.cfg_scales],
            }
            for prompt in prompts
        ]
        found.append({"seed": seed, "rows": rows})
    return found


def _pictured(evaluation: Evaluation) -> list[EvalPrompt]:
    return [*evaluation.plan.of_kind("fixed"), *evaluation.plan.of_kind("holdout")]


def _shown_seeds(evaluation: Evaluation) -> tuple[int, ...]:
    prompts = _pictured(evaluation)
    per_seed = len(prompts) * len(evaluation.plan.cfg_scales)
    return prompts[0].seeds[: max(_MAX_PICTURES // per_seed, 1)]


def _shown(evaluation: Evaluation, scale: float) -> dict[Key, Image.Image]:
    """The pictures the page shows: grids of few seeds, probes at one scale."""
    seeds = set(_shown_seeds(evaluation))
    probes = {prompt.id for prompt in evaluation.plan.of_kind(*_STRIPS)}
    pictured = {prompt.id for prompt in _pictured(evaluation)}
    return {
        key: picture
        for key, picture in evaluation.pictures.items()
        if (key[1] in probes and key[0] == scale) or (key[1] in pictured and key[2] in seeds)
    }
