"""Tag recall: are asked tags drawn, rare ones as often as common ones (paper §4.3)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metric import PromptMean
from nadir.evaluation.metrics.tags.asked import Look, Seen
from nadir.evaluation.metrics.tags.worst import TagResult, worst_table
from nadir.evaluation.report.figures import SCALE_AXIS
from nadir.evaluation.report.sections import CONTENT
from nadir.evaluation.results import scale_key
from nadir.ground.pages.charts import Level, Series, line_chart

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from markupsafe import Markup
    from numpy.typing import NDArray

    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.reals.probe import TagProbe
    from nadir.evaluation.subject import Subject
    from nadir.evaluation.values import Drawn, ScaleValues
    from nadir.heldout.thumbnails import Tag

_RARITIES = ("head", "mid", "tail")
_MIN_USES = 12
"""Pictures that must ask for tags of a group before it has a number."""


def relative_recall(
    seen_NT: NDArray[np.bool_], asked_T: NDArray[np.bool_], recall_T: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of asked tags that are seen in each image, over that in real images [N].

    NaN where no judged tag is asked for.
    """
    expected = float(recall_T[asked_T].sum())
    if not expected:
        return np.full(len(seen_NT), np.nan)
    found: NDArray[np.float64] = seen_NT[:, asked_T].sum(axis=1) / expected
    return found


class TagRecall(PromptMean):
    """Recall of asked tags relative to real images, in all, by rarity and by class.

    64 images see a third of rare tags go missing (18 standard deviations; no distance of sets sees
    it at 1,024). One tag alone takes 20 pictures for ±0.17 and 100 for ±0.08 (95 % Wilson at 0.8).
    """

    name = "tag_recall"
    title = "Tag recall"
    unit = "share of asked tags, over that in real images"
    direction = "higher"
    meaning = (
        "How many of the asked tags a probe of this project's images sees, over how many it sees "
        "in real images that have them. 1 is as in real images, over 1 is clearer than there."
    )
    needs = frozenset({"reals"})
    section = CONTENT
    level = Level(1.0, "as in real images")

    def prepare(self, subject: Subject) -> None:
        """Train the probe."""
        self._probe: TagProbe | None = subject.reals.probe if subject.reals else None
        self._look = Look(self._probe, subject) if self._probe else None
        self._rarity = subject.reals.rarity if subject.reals else {}
        self._decision_cfg = subject.params.decision_cfg
        self._seen: list[Seen] = []

    def see(self, drawn: Drawn) -> dict[str, NDArray[np.float64]] | None:
        """Relative recall of each image, of all tags and of each group that it asks for.

        Brightness probes ask for too little to count.
        """
        wanted = drawn.prompt.kind in {"fixed", "holdout"}
        if self._probe is None or self._look is None or not wanted:
            return None
        seen = self._look(drawn)
        self._seen.append(seen)
        judged = self._probe.judged
        groups = {self.name: np.ones(len(judged.tags), dtype=np.bool_)} | {
            name: np.array([belongs(tag) for tag in judged.tags], dtype=np.bool_)
            for name, (_, belongs) in self._groups().items()
        }
        return {
            name: relative_recall(seen.seen, seen.asked_T & members_T, judged.recall_T)
            for name, members_T in groups.items()
        }

    def of_scale(self, values: ScaleValues) -> dict[str, float]:
        """The mean over prompts, and the ratio of sums of each rarity and class."""
        if self._probe is None:
            return {}
        here = [seen for seen in self._seen if seen.cfg_scale == values.cfg_scale]
        return super().of_scale(values) | {
            name: self._of_group(here, belongs) for name, (_, belongs) in self._groups().items()
        }

    def columns(self) -> dict[str, str]:
        """All tags, then each group."""
        return {self.name: self.title} | {k: title for k, (title, _) in self._groups().items()}

    def charts(self, evaluation: Evaluation) -> list[Markup]:
        """Recall by rarity over the scales, and the worst tags with a picture of each."""
        charts = super().charts(evaluation)
        if self._probe is None or not self._seen:
            return charts
        scales = list(evaluation.plan.cfg_scales)
        keys = [f"{self.name}_{rarity}" for rarity in _RARITIES]
        lines = [
            Series(
                key.rsplit("_", 1)[1],
                scales,
                [evaluation.scales[scale_key(s)].get(key, float("nan")) for s in scales],
            )
            for key in keys
        ]
        by_rarity = line_chart(
            [line for line in lines if np.isfinite(line.y).any()],
            title="Tag recall by rarity",
            x_label=SCALE_AXIS,
            x_ticks=scales,
            levels=[self.level] if self.level else [],
            from_zero=True,
            caption="Rare tags (tail) far below common ones (head) are not learnt. A line is "
            f"missing where pictures ask for fewer than {_MIN_USES} of its tags.",
        )
        table = worst_table(self._results(), evaluation, self._probe.judged, self._decision_cfg)
        return [*charts, by_rarity, table]

    def _groups(self) -> Mapping[str, tuple[str, Callable[[Tag], bool]]]:
        """Name, title and members of each group of tags."""
        groups: dict[str, tuple[str, Callable[[Tag], bool]]] = {
            f"{self.name}_{rarity}": (f"Recall of {rarity} tags", partial(self._is_of, rarity))
            for rarity in _RARITIES
        }
        # Both together: few prompts ask for tags of the tail, too few for a guard of its own.
        groups[f"{self.name}_rare"] = ("Recall of mid and tail tags", self._is_rare)
        found = {kind for _, kind in self._probe.judged.tags} if self._probe else set()
        return groups | {
            f"{self.name}_class_{kind}": (f"Recall of {kind} tags", partial(_has_class, kind))
            for kind in sorted(found)
        }

    def _is_of(self, rarity: str, tag: Tag) -> bool:
        return self._rarity.get(tag) == rarity

    def _is_rare(self, tag: Tag) -> bool:
        return self._rarity.get(tag) in {"mid", "tail"}

    def _of_group(self, here: Sequence[Seen], belongs: Callable[[Tag], bool]) -> float:
        if self._probe is None:
            return float("nan")
        judged = self._probe.judged
        members_T = np.array([belongs(tag) for tag in judged.tags], dtype=np.bool_)
        found = expected = uses = 0.0
        for seen in here:
            wanted_T = seen.asked_T & members_T
            found += float(seen.seen[:, wanted_T].sum())
            expected += float(judged.recall_T[wanted_T].sum()) * len(seen.seeds)
            uses += float(wanted_T.sum()) * len(seen.seeds)
        return found / expected if uses >= _MIN_USES else float("nan")

    def _results(self) -> list[TagResult]:
        """Each judged tag that was asked for at the deciding scale."""
        if self._probe is None:
            return []
        results = []
        for place, tag in enumerate(self._probe.judged.tags):
            pictures = [
                (float(margin), seen.prompt_id, seed)
                for seen in self._seen
                if seen.cfg_scale == self._decision_cfg and seen.asked_T[place]
                for margin, seed in zip(seen.margins_NT[:, place], seen.seeds, strict=True)
            ]
            if pictures:
                rarity, real = self._rarity.get(tag, ""), self._probe.judged.recall_T[place]
                results.append(TagResult(tag, rarity, float(real), tuple(sorted(pictures))))
        return results


def _has_class(kind: str, tag: Tag) -> bool:
    return tag[1] == kind
