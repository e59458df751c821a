"""The charts of the evaluation report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.comparison import bootstrap_mean
from nadir.evaluation.results import prompt_values, scale_key
from nadir.ground.charts import Level, Series, line_chart, scatter_chart

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup

    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.protocol import EvalPrompt

_AXIS = "CFG scale"
_RESAMPLES = 2_000


def brightness_charts(
    evaluation: Evaluation, frame: pd.DataFrame, *, limit: float, decision_cfg: float
) -> list[Markup]:
    """Drawn luminance of each probe: by scale, against the target, and as one error."""
    scales = list(evaluation.plan.cfg_scales)
    probes = evaluation.plan.of_kind("brightness")
    drawn = [_seed_range(frame, probe.id, scales) for probe in probes]
    targets = sorted({probe.target for probe in probes if probe.target is not None})
    error = Series("error", scales, _numbers(evaluation, "brightness_error"))
    return [
        line_chart(
            drawn,
            title="Luminance that was drawn",
            x_label=_AXIS,
            x_ticks=scales,
            levels=[Level(value, f"asked: {value:g}") for value in targets],
            caption="0 is black, 1 is white; the band spans all seeds. Lines should lie on their "
            "dashed target and stay there as guidance rises.",
        ),
        scatter_chart(
            [_asked_and_drawn(frame, probe, decision_cfg) for probe in probes],
            title=f"Drawn by asked, CFG {scale_key(decision_cfg)}",
            x_label="asked luminance",
            caption="One mark per seed. On the dashed line the model draws what was asked; a flat "
            "row of marks is a model that cannot leave grey.",
        ),
        line_chart(
            [error],
            title="Brightness error",
            x_label=_AXIS,
            x_ticks=scales,
            levels=[Level(limit, "limit of the gate")],
            from_zero=True,
            caption="Root mean square of drawn minus asked luminance. Lower is better; 0.4 or more "
            "means that black and white both came out grey.",
        ),
    ]


def guidance_charts(evaluation: Evaluation, frame: pd.DataFrame) -> list[Markup]:
    """What guidance does to colour, contrast, clipping, detail and variety, over the scales."""
    scales = list(evaluation.plan.cfg_scales)
    charts = []
    for metric, title, caption in _GAPS:
        series = _with_interval(frame, metric, scales, title)
        if series is not None:
            levels = [Level(0.0, "as in real images")] if metric != "diversity" else []
            charts.append(
                line_chart(
                    [series],
                    title=title,
                    x_label=_AXIS,
                    x_ticks=scales,
                    levels=levels,
                    from_zero=metric == "diversity",
                    caption=caption,
                )
            )
    distance = _numbers(evaluation, "spectrum_distance")
    if np.isfinite(distance).any():
        charts.append(
            line_chart(
                [Series("distance", scales, distance)],
                title="Spectrum distance",
                x_label=_AXIS,
                x_ticks=scales,
                from_zero=True,
                caption="How far the spread of detail over fine and coarse scales is from real "
                "images, in factors of ten. Blur and speckle raise it; 0 is best.",
            )
        )
    return charts


def loss_chart(frame: pd.DataFrame) -> Markup | None:
    """Error of the clean latent by timestep on held-out images; None when it was not run."""
    rows = frame[frame["metric"].str.startswith("x0_mse_t")]
    if rows.empty:
        return None
    timesteps = rows["metric"].str.removeprefix("x0_mse_t").astype(int)
    groups = [(step, rows[timesteps == step]["value"]) for step in sorted(set(timesteps))]
    intervals = [
        bootstrap_mean(np.asarray(values, dtype=np.float64), resamples=_RESAMPLES)
        for _, values in groups
    ]
    series = Series(
        "error",
        [float(step) for step, _ in groups],
        [interval.mean for interval in intervals],
        [interval.low for interval in intervals],
        [interval.high for interval in intervals],
    )
    return line_chart(
        [series],
        title="Error of the guessed clean image",
        x_label="timestep (0 is clean, the last is pure noise)",
        levels=[Level(1.0, "knows nothing")],
        from_zero=True,
        caption="Held-out images, fixed noise; the band is the 95 % interval over images. At the "
        "right end only the caption is left to go by, so just below 1 is already a success.",
    )


_GAPS = (
    (
        "chroma_gap",
        "Chroma gap",
        (
            "Colourfulness minus that of held-out images with the same captions. Above 0 is "
            "oversaturated, the usual price of strong guidance."
        ),
    ),
    (
        "contrast_gap",
        "Contrast gap",
        (
            "Spread of light and dark within an image, minus that of real ones. Above 0 is harsh, "
            "below 0 is flat."
        ),
    ),
    (
        "clip_gap",
        "Clipping gap",
        (
            "Share of colour values at full black or full white, minus that of real ones. Above 0 "
            "is burnt."
        ),
    ),
    (
        "diversity",
        "Diversity",
        (
            "How different the seeds of one prompt look. Strong guidance tends to lower it; "
            "compare checkpoints at one scale."
        ),
    ),
)


def _seed_range(frame: pd.DataFrame, probe: str, scales: list[float]) -> Series:
    """Mean luminance of a probe per scale, with the range over seeds."""
    mine = frame[(frame["prompt_id"] == probe) & (frame["metric"] == "luminance")]
    groups = mine.groupby("cfg_scale")["value"]
    mean, low, high = (stat.reindex(scales) for stat in (groups.mean(), groups.min(), groups.max()))
    return Series(probe, scales, mean.tolist(), low.tolist(), high.tolist())


def _asked_and_drawn(frame: pd.DataFrame, probe: EvalPrompt, scale: float) -> Series:
    """Target and measured luminance of each seed at one scale."""
    mine = frame[
        (frame["prompt_id"] == probe.id)
        & (frame["metric"] == "luminance")
        & (frame["cfg_scale"] == scale)
    ]
    drawn: list[float] = mine["value"].tolist()
    return Series(probe.id, [probe.target or 0.0] * len(drawn), drawn)


def _with_interval(
    frame: pd.DataFrame, metric: str, scales: list[float], name: str
) -> Series | None:
    """Mean over prompts per scale with its bootstrap interval; None when nothing was measured."""
    values = [prompt_values(frame[frame["cfg_scale"] == scale], metric) for scale in scales]
    if not all(len(part) for part in values):
        return None
    intervals = [bootstrap_mean(part, resamples=_RESAMPLES) for part in values]
    return Series(
        name,
        scales,
        [interval.mean for interval in intervals],
        [interval.low for interval in intervals],
        [interval.high for interval in intervals],
    )


def _numbers(evaluation: Evaluation, metric: str) -> list[float]:
    return [
        evaluation.scales[scale_key(scale)].get(metric, float("nan"))
        for scale in evaluation.plan.cfg_scales
    ]
