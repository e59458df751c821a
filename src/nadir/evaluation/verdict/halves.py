"""The prompts of a protocol in two halves: one chooses the guidance scale, the other judges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from nadir.ground.chance import seed_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.evaluation.verdict.comparison import Criterion


@dataclass(frozen=True)
class Halves:
    """The rows of a metric, parted.

    Prompts are dealt out by the hash of their id, so that neither their order nor their kind has a
    say, and the halves are of one size or differ by one. Where the prompts themselves are the
    question, both halves have all of them and the seeds are dealt out.

    Attributes:
        column: What is dealt out.
        first: Names in the half that chooses.
    """

    column: str
    first: frozenset[object]

    @classmethod
    def of(cls, tables: Sequence[pd.DataFrame], criterion: Criterion) -> Halves:
        """The halves of a metric: the same for every checkpoint in `tables` and every scale."""
        column = "prompt_id" if criterion.unit == "prompt" else "seed"
        mine = [table[table["metric"] == criterion.metric][column] for table in tables]
        names = sorted(set(pd.concat(mine)), key=lambda one: (seed_of(f"half\0{one}"), str(one)))
        return cls(column, frozenset(names[::2]))

    def choosing(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows that the scale is chosen by."""
        return rows[rows[self.column].isin(self.first)]

    def judging(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The others."""
        return rows[~rows[self.column].isin(self.first)]
