"""Brightness against what the prompt asks for: the test of zero terminal SNR (paper §2.2).

A model that never saw pure noise cannot leave middle grey: asked for "completely black" it draws a
dark grey picture with something bright in it. The mean luminance shows it from a few images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from nadir.evaluation.metric import Metric
from nadir.evaluation.report.figures import SCALE_AXIS
from nadir.evaluation.report.sections import BRIGHTNESS
from nadir.evaluation.results import scale_key
from nadir.ground.luminance import REC709
from nadir.ground.pages.charts import Level, Series, line_chart, scatter_chart

if TYPE_CHECKING:
    import pandas as pd
    from markupsafe import Markup
    from numpy.typing import NDArray

    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.protocol import EvalPrompt
    from nadir.evaluation.subject import Subject
    from nadir.evaluation.values import Drawn, ScaleValues

Region = Literal["whole", "border"]

# As in the manifest.
_REC709 = np.array(REC709, dtype=np.float32)
_BORDER_SHARE = 8


def luminance(images_NCHW: NDArray[np.float32]) -> NDArray[np.float32]:
    """Luminance [N, H, W] (0-1) of RGB images in 0-1."""
    weighted: NDArray[np.float32] = np.einsum("nchw,c->nhw", images_NCHW, _REC709)
    return weighted


def border_mask(height: int, width: int) -> NDArray[np.bool_]:
    """Where the background shows: an eighth of the shorter side along the top and upper sides.

    The lower half is left out, because a figure that is cut by the frame is cut there.
    """
    thickness = max(1, round(min(height, width) / _BORDER_SHARE))
    mask = np.zeros((height, width), dtype=np.bool_)
    mask[:thickness] = True
    mask[: height // 2, :thickness] = True
    mask[: height // 2, -thickness:] = True
    return mask


def region_luminance(images_NCHW: NDArray[np.float32], region: Region) -> NDArray[np.float64]:
    """Mean luminance [N] (0-1) of the whole image or of its border."""
    values_NHW = luminance(images_NCHW).astype(np.float64)
    mask = np.ones(values_NHW.shape[1:], dtype=np.bool_)
    if region == "border":
        mask = border_mask(*values_NHW.shape[1:])
    means: NDArray[np.float64] = values_NHW[:, mask].mean(axis=1)
    return means


class Luminance(Metric):
    """The value of each image; of a probe it is measured where the prompt asks for it."""

    name = "luminance"
    title = "Luminance"
    unit = "0 black to 1 white"
    direction = "target"
    meaning = "Mean luminance of the image, or of its border where a probe asks for a background."
    section = BRIGHTNESS

    def prepare(self, subject: Subject) -> None:
        """Keep the probes and the scale whose drawings are set against what was asked."""
        self._probes = subject.plan.of_kind("brightness")
        self._levels = subject.plan.of_kind("brightness", "ladder")
        self._decision_cfg = subject.params.decision_cfg

    def see(self, drawn: Drawn) -> NDArray[np.float64]:
        """Luminance of each image, or of its border."""
        return region_luminance(drawn.images_NCHW, drawn.prompt.region or "whole")

    def of_scale(self, values: ScaleValues) -> dict[str, float]:
        """Mean over seeds of each probe."""
        numbers = {}
        for probe in self._probes:
            mine = values.rows[values.rows["prompt_id"] == probe.id]["value"]
            numbers[f"{probe.id}_luminance"] = float(np.mean(mine)) if len(mine) else float("nan")
        return numbers

    def columns(self) -> dict[str, str]:
        """A column per probe."""
        return {
            f"{probe.id}_luminance": f"{probe.id.capitalize()} (asked {probe.target:g})"
            for probe in self._probes
        }

    def charts(self, evaluation: Evaluation) -> list[Markup]:
        """Drawn luminance of each probe: by scale, and against what was asked."""
        frame = evaluation.frame[evaluation.frame["metric"] == self.name]
        scales = list(evaluation.plan.cfg_scales)
        targets = sorted({probe.target for probe in self._probes if probe.target is not None})
        at_decision = frame[frame["cfg_scale"] == self._decision_cfg]
        return [
            line_chart(
                [_seed_range(frame, probe.id, scales) for probe in self._probes],
                title="Luminance that was drawn",
                x_label=SCALE_AXIS,
                x_ticks=scales,
                levels=[Level(value, f"asked: {value:g}") for value in targets],
                caption="0 is black, 1 is white; the band spans all seeds. Lines should lie on "
                "their dashed target and stay there as guidance rises.",
            ),
            scatter_chart(
                [_asked_and_drawn(at_decision, probe) for probe in self._levels],
                title=f"Drawn by asked, CFG {scale_key(self._decision_cfg)}",
                x_label="asked luminance",
                caption="One mark per seed. On the dashed line the model draws what was asked; a "
                "flat row of marks is a model that cannot leave grey.",
            ),
        ]


def _seed_range(frame: pd.DataFrame, probe: str, scales: list[float]) -> Series:
    """Mean luminance of a probe per scale, with the range over seeds."""
    groups = frame[frame["prompt_id"] == probe].groupby("cfg_scale")["value"]
    mean, low, high = (stat.reindex(scales) for stat in (groups.mean(), groups.min(), groups.max()))
    return Series(probe, scales, mean.tolist(), low.tolist(), high.tolist())


def _asked_and_drawn(frame: pd.DataFrame, probe: EvalPrompt) -> Series:
    """Target and measured luminance of each seed."""
    drawn: list[float] = frame[frame["prompt_id"] == probe.id]["value"].tolist()
    return Series(probe.id, [probe.target or 0.0] * len(drawn), drawn)
