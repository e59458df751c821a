"""Colour binding: does each of two things have its own colour (paper §2.2, figure 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metric import PromptMean
from nadir.evaluation.report.sections import CONTENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup
    from numpy.typing import NDArray

    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.subject import Subject
    from nadir.evaluation.values import Drawn


def is_best(
    margins_NT: NDArray[np.float64], wanted: int, group: Sequence[int]
) -> NDArray[np.bool_]:
    """Whether the probe sees the wanted tag more than any other of its group [N]."""
    others = [place for place in group if place != wanted]
    best: NDArray[np.bool_] = margins_NT[:, wanted] > margins_NT[:, others].max(axis=1)
    return best


class ColourBinding(PromptMean):
    """Share of pictures in which both things have the colour that was asked for.

    2 x 2 prompts with 4 seeds tell right (1) from chance (0.25); with colours of one name in both
    groups, swapping leaves half of the prompts right. For ±0.1 take 24 pictures a prompt.
    """

    name = "colour_binding"
    title = "Colour binding"
    unit = "share of pictures, 0 to 1"
    direction = "higher"
    meaning = (
        "Two things are asked for in every pair of colours (evaluate.colour_binding); both must "
        "look more like theirs than like the others. For 2 x 2 colours 0.25 is chance; swapped "
        "colours leave 0.5 where both things may have the same, else 0."
    )
    needs = frozenset({"reals"})
    section = CONTENT
    fixed_prompts = True

    def prepare(self, subject: Subject) -> None:
        """Find the tags of both groups; without a probe that sees them all there is no value."""
        self._probe = None
        asked, reals = subject.params.colour_binding, subject.reals
        if asked is None or reals is None:
            return
        places = {name: place for (name, _), place in reals.probe.column.items()}
        groups = (asked.first, asked.second)
        if all(name in places for group in groups for name in group):
            self._probe = reals.probe
            self._places = places
            self._groups = tuple([places[name] for name in group] for group in groups)

    def see(self, drawn: Drawn) -> NDArray[np.float64] | None:
        """1 where both colours are right, else 0."""
        if self._probe is None or drawn.prompt.colours is None:
            return None
        margins_NT = self._probe.margins(drawn.features.layout_NF)
        right = [
            is_best(margins_NT, self._places[name], group)
            for name, group in zip(drawn.prompt.colours, self._groups, strict=True)
        ]
        return (right[0] & right[1]).astype(np.float64)

    def charts(self, evaluation: Evaluation) -> list[Markup]:  # noqa: ARG002 - a hook
        """None: it is drawn at one scale; the number is in the table."""
        return []
