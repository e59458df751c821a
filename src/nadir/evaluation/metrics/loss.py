"""Loss on held-out images with fixed noise: is it learning, and at which noise level."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from nadir.evaluation.metric import Metric
from nadir.evaluation.report.figures import interval_series
from nadir.evaluation.report.sections import LOSS
from nadir.evaluation.values import CheckpointValue, Row
from nadir.ground.pages.charts import Level, line_chart
from nadir.ground.pages.page import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.subject import Subject
    from nadir.heldout.losses import LossValue

_FLAT_SIGMA = 1e6  # above it a level is pure noise: infinity, or the float that stands for it


class HeldOutLoss(Metric):
    """Error of the guessed clean latent (x0) at each noise level."""

    name = "loss"
    title = "Loss by noise level"
    unit = "mean squared error of normalised latents"
    direction = "lower"
    meaning = (
        "Error of the guessed clean image on held-out images with fixed noise. 1 knows nothing, 0 "
        "is perfect."
    )
    needs = frozenset({"holdout"})
    section = LOSS

    def __init__(self) -> None:
        self._errors: dict[int, list[float]] = defaultdict(list)  # by timestep, noisiest first
        self._sigmas: dict[int, float] = {}

    @staticmethod
    def _whole(values: Sequence[LossValue], noise: int) -> list[Row]:
        """A row per image: its mean over noise levels, by which checkpoints are compared."""
        errors: dict[str, list[float]] = defaultdict(list)
        for value in values:
            errors[value.image].append(value.x0_mse)
        return [
            Row(None, f"image_{image[:12]}", noise, HeldOutLoss.name, float(np.mean(found)))
            for image, found in errors.items()
            if np.isfinite(found).all()
        ]

    def of_checkpoint(self, subject: Subject) -> CheckpointValue:
        """Mean over images by timestep (`t999` and so on), and the mean of those as `mean`."""
        rows = []
        for value in subject.losses:
            if math.isfinite(value.x0_mse):
                timestep = int(value.timestep)
                self._errors[timestep].append(value.x0_mse)
                image, metric = f"image_{value.image[:12]}", f"x0_mse_t{timestep}"
                rows.append(Row(None, image, 0, metric, value.x0_mse))
        rows += [*self._whole(subject.losses, 0), *self._whole(subject.losses_again, 1)]
        self._sigmas = {step: float(subject.schedule.sigmas[step]) for step in self._errors}
        means = {f"t{step}": float(np.mean(errors)) for step, errors in self._errors.items()}
        if means:
            means["mean"] = float(np.mean(list(means.values())))
        return CheckpointValue(means, tuple(rows))

    def charts(self, evaluation: Evaluation) -> list[Markup]:  # noqa: ARG002 - a hook
        """The error over the timesteps, and the same as a table with each level's sigma."""
        if not self._errors:
            return []
        steps = sorted(self._errors)
        groups = [np.array(self._errors[step], dtype=np.float64) for step in steps]
        chart = line_chart(
            [interval_series("error", [float(step) for step in steps], groups)],
            title="Error of the guessed clean image",
            x_label="timestep (0 is clean, the last is pure noise)",
            levels=[Level(1.0, "knows nothing")],
            from_zero=True,
            caption="Held-out images, fixed noise; the band is the 95 % interval over images. At "
            "the right end only the caption is left to go by, so just below 1 is already a "
            "success.",
        )
        return [chart, self._level_table()]

    def card(self, evaluation: Evaluation) -> dict[str, str]:
        """The mean over noise levels."""
        found = evaluation.checkpoint.get(self.name)
        note = "1 knows nothing, 0 is perfect" if found else "not run"
        mean = found.get("mean") if isinstance(found, dict) else None
        return {"label": "Error on held-out images", "value": number(mean), "note": note}

    def _level_table(self) -> Markup:
        cell = Markup('<td class="n">{}</td>')
        rows = Markup("").join(
            Markup("<tr>{}</tr>").format(
                Markup("").join(
                    cell.format(text)
                    for text in (step, _sigma(self._sigmas[step]), number(float(np.mean(errors))))
                )
            )
            for step, errors in self._errors.items()
        )
        return Markup(
            '<figure class="chart levels"><div class="chart-title">By noise level</div><table>'
            '<thead><tr><th class="n">Timestep</th><th class="n">Noise (sigma)</th>'
            '<th class="n">Error</th></tr></thead><tbody>{}</tbody></table></figure>'
        ).format(rows)


def _sigma(sigma: float) -> str:
    return "∞, pure noise" if sigma > _FLAT_SIGMA else number(sigma)
