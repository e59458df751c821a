"""What was measured of all arms, by arm, measure and seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nadir.reproduction.arms import USUAL

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class MissingResultError(LookupError):
    """A number that an effect needs was not measured, for want of time."""


@dataclass(frozen=True)
class Results:
    """The measures that are there.

    Attributes:
        found: Measures by name, by arm and seed.
        seeds: Training seeds that were asked for.
        data: The data project, for what is computed from it; None where it is not there.
    """

    found: Mapping[tuple[str, int], Mapping[str, Any]]
    seeds: tuple[int, ...]
    data: Path | None = None

    def number(self, arm: str, metric: str, measure: str = USUAL) -> list[float]:
        """A number of every seed that has it, in order.

        Raises:
            MissingResultError: No seed has it.
        """
        values = [
            float(numbers[metric])
            for seed in self.seeds
            if metric in (numbers := self._of(arm, seed, measure).get("numbers", {}))
        ]
        if not values:
            raise MissingResultError(f"{arm}: {measure}: {metric}")
        return values

    def differences(
        self, worse: tuple[str, str], better: tuple[str, str], metric: str
    ) -> list[float]:
        """By seed, a metric of the first (arm, measure) minus that of the second.

        Raises:
            MissingResultError: No seed has both.
        """
        values = []
        for seed in self.seeds:
            pair = [self._of(*_place(one, seed)).get("numbers", {}) for one in (worse, better)]
            if all(metric in numbers for numbers in pair):
                values.append(float(pair[0][metric]) - float(pair[1][metric]))
        if not values:
            raise MissingResultError(f"{worse[0]}, {better[0]}: {metric}")
        return values

    def levels(self, arm: str, measure: str = USUAL) -> list[dict[str, float]]:
        """Luminance by step of the ladder, of every seed that has it."""
        every = [self._of(arm, seed, measure).get("levels") for seed in self.seeds]
        found = [levels for levels in every if levels]
        if not found:
            raise MissingResultError(f"{arm}: {measure}")
        return found

    def _of(self, arm: str, seed: int, measure: str) -> Mapping[str, Any]:
        values: Mapping[str, Any] = self.found.get((arm, seed), {}).get(measure, {})
        return values


def _place(one: tuple[str, str], seed: int) -> tuple[str, int, str]:
    return one[0], seed, one[1]
