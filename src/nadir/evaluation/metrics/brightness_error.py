"""How far drawn brightness is from what was asked: the paper's check of zero terminal SNR (§2.2).

This is the one metric that the gate, the report's strips and the plot of `dvc.yaml` are built on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.gate import at_most
from nadir.evaluation.known_tags import unknown_tags
from nadir.evaluation.metric import Metric
from nadir.evaluation.metrics.brightness import region_luminance
from nadir.evaluation.report.sections import BRIGHTNESS
from nadir.evaluation.results import scale_key
from nadir.evaluation.verdict.intervals import stratified_mean
from nadir.ground.pages.page import number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.gate import Check
    from nadir.evaluation.metric import Ends
    from nadir.evaluation.subject import Subject
    from nadir.evaluation.values import Drawn, ScaleValues


class BrightnessError(Metric):
    """Distance between asked and drawn luminance over all brightness probes."""

    name = "brightness_error"
    title = "Brightness error"
    unit = "luminance, 0 to 1"
    direction = "lower"
    meaning = (
        "Root mean square of drawn minus asked luminance. Lower is better; 0.4 or more means that "
        "black and white both came out grey."
    )
    needs = frozenset({"targets"})
    section = BRIGHTNESS

    def prepare(self, subject: Subject) -> None:
        """Keep the limit, the deciding scale, and words that no training image taught."""
        self.limit = subject.params.max_brightness_error
        self._decision_cfg = subject.params.decision_cfg
        probes = (probe.text for probe in subject.plan.of_kind("brightness"))
        self._unknown = unknown_tags(probes, subject.known)

    def see(self, drawn: Drawn) -> NDArray[np.float64] | None:
        """Distance of each image's luminance from what its probe asks for."""
        if drawn.prompt.kind != "brightness":
            return None
        measured_N = region_luminance(drawn.images_NCHW, drawn.prompt.region or "whole")
        return np.abs(measured_N - (drawn.prompt.target or 0.0))

    def of_scale(self, values: ScaleValues) -> dict[str, float]:
        """Root mean square over all seeds of all probes."""
        errors = values.rows["value"].to_numpy(dtype=np.float64)
        return {self.name: root_mean_square(errors) if len(errors) else float("nan")}

    def interval(self, evaluation: Evaluation) -> Ends | None:
        """Seeds are exchanged within each probe; there are no other probes to speak of."""
        mine = evaluation.frame[evaluation.frame["metric"] == self.name]
        here = mine[mine["cfg_scale"] == self._decision_cfg]
        squares = [
            part.to_numpy(dtype=np.float64) ** 2 for _, part in here.groupby("prompt_id")["value"]
        ]
        if not squares or min(len(part) for part in squares) < 2:
            return None
        found = stratified_mean(squares)
        return max(found.low, 0.0) ** 0.5, found.high**0.5

    def check(self, value: float | None) -> Check:
        """A failure proves nothing about a model that was not trained on a probe's words."""
        check = at_most(
            self.name,
            # Nothing was measured: every image of a probe has NaN or infinity, which must not pass.
            float("inf") if value is None else value,
            float("inf") if self.limit is None else self.limit,
            "Root mean square distance between asked and drawn luminance at CFG "
            f"{scale_key(self._decision_cfg)}. The tiny model, trained as SDXL was, has 0.18.",
        )
        if check.state == "pass" or not self._unknown:
            return check
        doubt = (
            f"No training image has {', '.join(self._unknown)}, so a failure proves nothing. Ask "
            "with tags of your own: evaluate.brightness in params.yaml."
        )
        return replace(check, state="unresolved", meaning=f"{check.meaning} {doubt}")

    def card(self, evaluation: Evaluation) -> dict[str, str]:
        """The error at the deciding scale."""
        decision = scale_key(self._decision_cfg)
        return {
            "label": f"{self.title} at CFG {decision}",
            "value": number(evaluation.scales[decision].get(self.name)),
            "note": f"limit {number(self.limit)}",
        }


def root_mean_square(errors: NDArray[np.float64]) -> float:
    """Root of the mean square of errors [N]."""
    return float(np.sqrt(np.mean(errors**2)))
