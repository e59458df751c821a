"""The evaluation report: one page that says what was drawn, how good it is, and how to read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nadir.evaluation.report.sections import BRIGHTNESS
from nadir.evaluation.results import scale_key
from nadir.ground.pages.page import number, render_page, thumbnail_uri

if TYPE_CHECKING:
    from markupsafe import Markup
    from PIL import Image

    from nadir.config.evaluate import EvaluateParams
    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.protocol import EvalPrompt, Kind
    from nadir.evaluation.report.sections import Section

_THUMBNAIL_PX = 192
# Keeps the page far below 20 MB: a thumbnail has at most about 20 kB.
_MAX_PICTURES = 480

_VERDICTS = {
    "promote": ("good", "This checkpoint passes its own checks"),
    "reject": ("bad", "This checkpoint does not pass its own checks"),
    "inconclusive": ("unsure", "The data do not show yet whether this checkpoint is sound"),
}
_STRIPS: tuple[Kind, ...] = ("brightness", "ladder", "canvas")
_BADGES = {"pass": "pass", "fail": "fail", "unresolved": "warn", "skipped": "skip"}
_BETTER = {
    "higher": "higher is better",
    "lower": "lower is better",
    "zero": "0 is best",
    "target": "what was asked for, or what real images have",
}


def render_report(
    evaluation: Evaluation,
    params: EvaluateParams,
    *,
    checkpoint: str,
    training: dict[str, Any],
) -> str:
    """The report as HTML.

    Args:
        evaluation: What to show.
        params: Section `evaluate`, for the gate's limit and the deciding scale.
        checkpoint: Hash of the weights.
        training: What the checkpoint says about its training; shown as it is.
    """
    state, headline = _VERDICTS[evaluation.gate.verdict]
    thumbnails = {key: thumbnail_uri(p, _THUMBNAIL_PX) for key, p in _shown(evaluation).items()}
    return render_page(
        "evaluation.html",
        package="nadir.evaluation.report",
        evaluation=evaluation,
        plan=evaluation.plan,
        params=params,
        facts={"Weights": checkpoint, **_facts(evaluation, training)},
        verdict={"state": state, "headline": headline},
        badges=_BADGES,
        cards=[card for metric in evaluation.metrics if (card := metric.card(evaluation))],
        brightness=BRIGHTNESS,
        charts=_charts(evaluation),
        columns=_columns(evaluation),
        whole=_whole(evaluation),
        better=_BETTER,
        scale_key=scale_key,
        strips=_strips(evaluation, params.decision_cfg, thumbnails),
        grids=_grids(evaluation, thumbnails),
    )


def _facts(evaluation: Evaluation, training: dict[str, Any]) -> dict[str, str]:
    plan, noise = evaluation.plan, evaluation.plan.noise
    terminal = "zero terminal SNR" if noise["zero_terminal_snr"] else "stock terminal SNR"
    seeds = max(len(prompt.seeds) for prompt in plan.prompts)
    plain = {k: v for k, v in training.items() if isinstance(v, int | float | str)}
    return {
        "Protocol": f"{plan.protocol_id} (only reports with the same id may be compared)",
        "Noise": f"{noise['prediction']}-prediction, {noise['beta_schedule']}, {terminal} "
        f"(schedule {evaluation.sampling['schedule']})",
        "Sampler": f"{plan.sampler}, {plan.steps} steps, {plan.spacing} spacing, guidance rescale "
        f"{plan.guidance_rescale:g}",
        "Images": f"{plan.images} of {plan.width_px} x {plan.height_px} px: {len(plan.prompts)} "
        f"prompts, up to {seeds} seeds, {len(plan.cfg_scales)} guidance scales",
        **{f"Training {name}": _plain(value) for name, value in sorted(plain.items())},
    }


def _plain(value: float | str) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _charts(evaluation: Evaluation) -> dict[Section, list[Markup]]:
    """Charts of all metrics by the part of the page they belong to, in the order of the list."""
    charts: dict[Section, list[Markup]] = {}
    for metric in evaluation.metrics:
        charts.setdefault(metric.section, []).extend(metric.charts(evaluation))
    return charts


def _columns(evaluation: Evaluation) -> dict[str, str]:
    """Numbers that at least one scale has, and their titles."""
    present = {name for numbers in evaluation.scales.values() for name in numbers}
    titles = {k: v for metric in evaluation.metrics for k, v in metric.columns().items()}
    return {name: title for name, title in titles.items() if name in present}


def _whole(evaluation: Evaluation) -> dict[str, str]:
    """Numbers of the checkpoint as a whole, by the metric's title."""
    found, numbers = {}, evaluation.checkpoint_json()
    for metric in evaluation.metrics:
        value = numbers.get(metric.name)
        if isinstance(value, dict):
            found[metric.title] = ", ".join(f"{name} {number(v)}" for name, v in value.items())
        elif value is not None:
            found[metric.title] = number(value)
    return {title: text for title, text in found.items() if text}


def _strips(
    evaluation: Evaluation, scale: float, thumbnails: dict[tuple[float, str, int], str]
) -> list[dict[str, Any]]:
    """Each brightness probe at the deciding scale: its pictures with what was measured.

    The one place here that knows a metric: these pictures are the paper's check, made visible.
    """
    measured = {
        (row.prompt_id, row.seed): row.value
        for row in evaluation.rows
        if row.cfg_scale == scale and row.metric == "luminance"
    }
    strips = []
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
        strips.append({"probe": probe, "tiles": tiles, "mean": mean})
    return strips


def _grids(
    evaluation: Evaluation, thumbnails: dict[tuple[float, str, int], str]
) -> list[dict[str, Any]]:
    """One table per seed: a row per prompt, a column per scale."""
    prompts = _pictured(evaluation)
    references = {
        name: thumbnail_uri(picture, _THUMBNAIL_PX)
        for name, picture in evaluation.references.items()
    }
    grids = []
    for seed in _shown_seeds(evaluation):
        rows = [
            {
                "prompt": prompt,
                "reference": references.get(prompt.id),
                "uris": [thumbnails[s, prompt.id, seed] for s in evaluation.plan.cfg_scales],
            }
            for prompt in prompts
        ]
        grids.append({"seed": seed, "rows": rows})
    return grids


def _pictured(evaluation: Evaluation) -> list[EvalPrompt]:
    return [*evaluation.plan.of_kind("fixed"), *evaluation.plan.of_kind("holdout")]


def _shown_seeds(evaluation: Evaluation) -> tuple[int, ...]:
    prompts = _pictured(evaluation)
    per_seed = len(prompts) * len(evaluation.plan.cfg_scales)
    return prompts[0].seeds[: max(_MAX_PICTURES // per_seed, 1)]


def _shown(evaluation: Evaluation) -> dict[tuple[float, str, int], Image.Image]:
    """The pictures the page shows: grids of few seeds, probes at the scales of the plan."""
    seeds = set(_shown_seeds(evaluation))
    probes = {prompt.id for prompt in evaluation.plan.of_kind(*_STRIPS)}
    pictured = {prompt.id for prompt in _pictured(evaluation)}
    return {
        key: picture
        for key, picture in evaluation.pictures.items()
        if key[1] in probes or (key[1] in pictured and key[2] in seeds)
    }
