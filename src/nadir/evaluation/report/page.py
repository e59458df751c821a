"""The evaluation report: one page that says what was drawn, how good it is, and how to read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nadir.evaluation.metrics import METRICS
from nadir.evaluation.report.lineage import REGISTRATION
from nadir.evaluation.report.sections import BRIGHTNESS, GUIDANCE
from nadir.evaluation.report.shown import grids, picture_uris, strips
from nadir.evaluation.report.usable import obstacles
from nadir.evaluation.report.versus import trade_off
from nadir.evaluation.results import scale_key
from nadir.ground.pages.page import number, render_page

if TYPE_CHECKING:
    from markupsafe import Markup

    from nadir.config.evaluate import EvaluateParams
    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.report.origin import Origin
    from nadir.evaluation.report.sections import Section

_VERDICTS = {
    "promote": ("good", "This checkpoint passes its own checks"),
    "reject": ("bad", "This checkpoint does not pass its own checks"),
    "inconclusive": ("unsure", "The data do not show yet whether this checkpoint is sound"),
}
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
    origin: Origin | None = None,
) -> str:
    """The report as HTML.

    Args:
        evaluation: What to show.
        params: Section `evaluate`, for the gate's limit and the deciding scale.
        checkpoint: Hash of the weights.
        training: What the checkpoint says about its training; shown as it is.
        origin: How it was made; None of a model made elsewhere.
    """
    state, headline = _VERDICTS[evaluation.gate.verdict]
    thumbnails = picture_uris(evaluation, params.decision_cfg)
    intervals = {
        metric.check(None).name: ends
        for metric in evaluation.metrics
        if metric.limit is not None and (ends := metric.interval(evaluation))
    }
    return render_page(
        "evaluation.html",
        package="nadir.evaluation.report",
        evaluation=evaluation,
        plan=evaluation.plan,
        params=params,
        facts={"Weights": checkpoint, **_facts(evaluation, training)},
        verdict={"state": state, "headline": headline},
        badges=_BADGES,
        intervals={name: _interval(ends) for name, ends in intervals.items()},
        cards=[card for metric in evaluation.metrics if (card := metric.card(evaluation))],
        brightness=BRIGHTNESS,
        charts=_charts(evaluation),
        obstacles={scale_key(scale): names for scale, names in obstacles(evaluation).items()},
        origin=origin,
        registration=REGISTRATION,
        columns=_columns(evaluation),
        whole=_whole(evaluation),
        better=_BETTER,
        scale_key=scale_key,
        strips=strips(evaluation, params.decision_cfg, thumbnails),
        grids=grids(evaluation, thumbnails),
    )


def _interval(ends: tuple[float, float]) -> str:
    return " to ".join(number(end) for end in ends)


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
    path = trade_off([evaluation.frame], ["this checkpoint"], METRICS)
    if path is not None:
        charts.setdefault(GUIDANCE, []).insert(0, path)
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
