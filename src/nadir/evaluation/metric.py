"""What a metric is: one class in one file of `metrics/`, with one line in the list of that package.

The table, the numbers, the gate, the report, MLflow and the comparison iterate over that list and
name no metric. An evaluation makes its own object of each class, so a metric may keep what it has
seen: features of a set of images, or a probe that it trained in `prepare`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from nadir.evaluation.gate import at_least, at_most
from nadir.evaluation.report.figures import numbers_by_scale, prompt_means_by_scale, scale_chart
from nadir.evaluation.report.sections import GUIDANCE
from nadir.evaluation.values import CheckpointValue, prompt_means
from nadir.ground.pages.charts import Level

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markupsafe import Markup
    from numpy.typing import NDArray

    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.gate import Check
    from nadir.evaluation.report.sections import Section
    from nadir.evaluation.subject import Subject
    from nadir.evaluation.values import Drawn, ScaleValues
    from nadir.evaluation.verdict.comparison import Direction

Ends = tuple[float, float]
"""Lower and upper end."""
Need = Literal["holdout", "references", "targets", "seeds", "reals"]


_FEWEST_REAL = 8  # held-out images, of which the middle 90 % mean something


class Metric:
    """One metric in one evaluation.

    Attributes:
        name: In tables, JSON files and MLflow.
        title: In the report.
        unit: Of its values, such as `luminance, 0 to 1`.
        direction: Which values are good. `target` is for values that are good or bad only beside
            a target, so no two checkpoints are compared by them.
        meaning: What a reader should know: what it measures, and which values are good.
        needs: What its values are made of: held-out images (`holdout`); a held-out image behind
            the prompt (`references`) or an asked luminance (`targets`), and other prompts are not
            shown to it; a second seed (`seeds`); enough real images to learn from (`reals`). Where
            there is none the report says so; hooks are called all the same and find nothing to
            measure.
        section: Where the report shows its charts.
        level: A dashed line to read its chart by.
        limit: The gate rejects what is beyond it, at the deciding scale; None for no check.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[str]
    direction: ClassVar[Direction]
    meaning: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset()
    section: ClassVar[Section] = GUIDANCE
    level: ClassVar[Level | None] = None
    limit: float | None = None

    def prepare(self, subject: Subject) -> None:
        """Once, before anything is drawn: what it needs of the parameters, the data, the model."""

    def not_run(self, subject: Subject) -> str | None:  # noqa: ARG002 - a hook
        """Why it has nothing to measure, and what to do, where `needs` cannot say it."""
        return None

    def see_reference(self, prompt_id: str, image_CHW: NDArray[np.float32]) -> None:
        """The held-out image behind a prompt, RGB in 0-1 through the VAE; before the drawings."""

    def see(
        self,
        drawn: Drawn,  # noqa: ARG002 - a hook
    ) -> NDArray[np.float64] | Mapping[str, NDArray[np.float64]] | None:
        """One value per image [N], NaN where it has none; None when it only keeps what it saw.

        Several values of an image go by name into the table: the metric's own, and its parts'.
        """
        return None

    def of_scale(self, values: ScaleValues) -> dict[str, float]:  # noqa: ARG002 - a hook
        """Its numbers at one scale by name, once all images are drawn; NaN is left out."""
        return {}

    def of_checkpoint(self, subject: Subject) -> CheckpointValue:  # noqa: ARG002 - a hook
        """What it says of the checkpoint as a whole, whatever the scale."""
        return CheckpointValue()

    def check(self, value: float | None) -> Check:
        """The gate's line for a metric with a limit; `value` is None when it was not measured."""
        limit = self.limit if self.limit is not None else float("inf")
        if self.direction == "higher":
            return at_least(self.name, value, limit, self.meaning)
        size = abs(value) if value is not None and self.direction == "zero" else value
        return at_most(self.name, size, limit, self.meaning)

    def interval(self, evaluation: Evaluation) -> Ends | None:  # noqa: ARG002 - a hook
        """95 % interval of the number that the gate checks; None where it has none."""
        return None

    def usual(self) -> Ends | None:
        """Between what numbers a scale is usable: those that real images themselves have."""
        return None

    def columns(self) -> dict[str, str]:
        """Titles of the numbers that `of_scale` gives, by name."""
        return {self.name: self.title}

    def charts(self, evaluation: Evaluation) -> list[Markup]:
        """Its charts: its number over the scales, none without numbers."""
        series = numbers_by_scale(self, evaluation)
        return [scale_chart(self, evaluation, series)] if series else []

    def card(self, evaluation: Evaluation) -> dict[str, str] | None:  # noqa: ARG002 - a hook
        """Label, value and note of a large number at the head of the report; None for most."""
        return None


class PromptMean(Metric):
    """A metric whose number is the mean over prompts of the mean over seeds, with its interval."""

    def of_scale(self, values: ScaleValues) -> dict[str, float]:
        """That mean; NaN when no image has a value."""
        means = prompt_means(values.rows)
        return {self.name: float(means.mean()) if len(means) else float("nan")}

    def charts(self, evaluation: Evaluation) -> list[Markup]:
        """The mean over the scales with its bootstrap interval; none where a scale has no value."""
        series = prompt_means_by_scale(self, evaluation)
        return [scale_chart(self, evaluation, series)] if series else []


class Gap(PromptMean):
    """A value of each image minus that of the held-out image behind the prompt.

    That image is seen through the same VAE, so a black background is not taken for a fault.
    """

    direction: ClassVar[Direction] = "zero"
    needs: ClassVar[frozenset[Need]] = frozenset({"references"})
    level: ClassVar[Level | None] = Level(0.0, "as in real images")

    def __init__(self) -> None:
        self._real: dict[str, float] = {}

    @staticmethod
    def value(images_NCHW: NDArray[np.float32]) -> NDArray[np.float64]:
        """The value of each image [N] whose gap this is."""
        raise NotImplementedError

    def see_reference(self, prompt_id: str, image_CHW: NDArray[np.float32]) -> None:
        """Keep the value of the real image."""
        self._real[prompt_id] = float(self.value(image_CHW[None])[0])

    def usual(self) -> Ends | None:
        """Where the middle 90 % of the held-out images are, as gaps to their mean; None of few."""
        real = np.array(list(self._real.values()), dtype=np.float64)
        if len(real) < _FEWEST_REAL:
            return None
        low, high = np.quantile(real - real.mean(), [0.05, 0.95])
        return float(low), float(high)

    def see(self, drawn: Drawn) -> NDArray[np.float64]:
        """The gap of each image."""
        return self.value(drawn.images_NCHW) - self._real[drawn.prompt.id]
