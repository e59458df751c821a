"""A reproduction as a whole: which jobs it has, which fit the budget, and what comes of them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError
from nadir.ground.locks import LockedError, exclusive_lock
from nadir.reproduction.arms import Size, jobs_of
from nadir.reproduction.claims import Claim, chosen
from nadir.reproduction.results import Results
from nadir.reproduction.running import CHECKPOINT, Place, costs, kept_results, run_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from nadir.reproduction.arms import Job

_UNITS = {"s": 1, "m": 60, "h": 3600}
MOST_SEEDS = 20
_TRAIN = "train"


def seconds_of(budget: str) -> float:
    """A length of time such as `90s`, `45m` or `2h` in seconds.

    Raises:
        NadirError: It is none.
    """
    number, unit = budget[:-1], budget[-1:]
    try:
        seconds = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        seconds = float("nan")
    if not 0 < seconds < float("inf"):
        raise NadirError(
            f"{budget!r} is no length of time above zero",
            where="--budget",
            fix="write a number with s, m or h behind it, such as 45m or 2h",
        )
    return seconds


@dataclass
class Reproduction:
    """What one call of `nadir reproduce` does.

    Attributes:
        place: Where it works, and at what size.
        claims: What is asked.
        seeds: Training seeds.
        budget_s: Seconds that the arms may take, those of earlier calls among them: a killed
            reproduction ends where an undisturbed one would.
        left_out: By job, what of it did not fit.
    """

    place: Place
    claims: list[Claim]
    seeds: tuple[int, ...]
    budget_s: float
    left_out: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def planned(
        cls,
        root: Path,
        *,
        claims: Sequence[str] | None,
        seeds: int,
        budget: str,
        size: Size | None = None,
    ) -> Reproduction:
        """A reproduction from what a user asks for.

        Args:
            root: The project's root.
            claims: Names or numbers of claims; None is all.
            seeds: How many seeds, 1 to 20.
            budget: Length of time, such as `2h`.
            size: How large; None is the usual size.

        Raises:
            NadirError: A wrong claim, number of seeds or budget.
        """
        if not 1 <= seeds <= MOST_SEEDS:
            raise NadirError(
                f"{seeds} seeds cannot be trained",
                where="--seeds",
                fix=f"ask for 1 to {MOST_SEEDS}; intervals need 2, and 3 are usual",
            )
        place = Place(root, size or Size())
        return cls(place, chosen(claims), tuple(range(seeds)), seconds_of(budget))

    @cached_property
    def jobs(self) -> list[Job]:
        """Arms by seed in the order of the claims, each with all that any claim needs of it."""
        needs: dict[str, tuple[str, ...]] = {}
        for claim in self.claims:
            for arm, measures in claim.needs.items():
                needs[arm] = tuple(dict.fromkeys([*needs.get(arm, ()), *measures]))
        return jobs_of(needs, self.seeds)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other reproductions of this workspace from training the same arms.

        Raises:
            NadirError: There is one.
        """
        lock = self.place.work / "reproduction.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            with exclusive_lock(lock):
                yield
        except LockedError as error:
            raise NadirError(
                f"another reproduction is running here (process {error.holder or 'unknown'})",
                where=str(self.place.work),
                fix="wait until it has ended, or stop it; what it made is kept",
            ) from None

    def run(self, job: Job, *, say: Callable[[str], None]) -> bool:
        """Run as much of a job as fits into what is left of the budget; record it in MLflow.

        Returns:
            Whether all of it was run, now or before.
        """
        found: dict[str, Any] = {}
        for name in (*([] if self._is_trained(job) else [_TRAIN]), *job.measures):
            part = replace(job, measures=() if name == _TRAIN else (name,))
            left = self.budget_s - self.spent()
            estimate = self.estimate(job, name)
            if estimate is not None and estimate >= left:
                say(f"{job.name}: no {name}, about {estimate:.0f} s of {max(left, 0):.0f} s left")
                self.left_out.setdefault(job.name, []).append(name)
                if name == _TRAIN:
                    return False
                continue
            found |= run_job(self.place, part, say=say)
        self._record(job, found)
        return job.name not in self.left_out

    def estimate(self, job: Job, name: str) -> float | None:
        """Seconds that a part of a job will take, by what was measured of others.

        Args:
            job: Whose.
            name: `train`, or one of its measures.

        Returns:
            0 where nothing is known of its like; None for what is kept from before.
        """
        known = self._known_costs()
        if name == _TRAIN:
            return job.arm.steps(self.place.size) * known.get("step", 0.0)
        if (self.place.folder(job) / "measures" / f"{name}.json").is_file():
            return None
        return known.get(name, known.get(name.partition("_")[0], 0.0))

    def _is_trained(self, job: Job) -> bool:
        return not job.arm.network or (self.place.folder(job) / CHECKPOINT).is_dir()

    def _known_costs(self) -> dict[str, float]:
        """Mean seconds of a training step, and of a measure by its name and by its kind."""
        every: dict[str, list[float]] = {}
        for job in self.jobs:
            for name, seconds in costs(self.place.folder(job)).items():
                if name == _TRAIN:
                    every.setdefault("step", []).append(seconds / job.arm.steps(self.place.size))
                else:
                    every.setdefault(name, []).append(seconds)
                    every.setdefault(name.partition("_")[0], []).append(seconds)
        return {name: sum(values) / len(values) for name, values in every.items()}

    def spent(self) -> float:
        """Seconds that all arms took, whenever they were run."""
        return sum(sum(costs(self.place.folder(job)).values()) for job in self.jobs)

    def results(self) -> Results:
        """All that is there by now."""
        found = {(job.arm.name, job.seed): kept_results(self.place, job) for job in self.jobs}
        return Results(found, self.seeds, self.place.data("clean"))

    def _record(self, job: Job, found: dict[str, Any]) -> None:
        from nadir.tracking.runs.reproduction_run import record_arm

        metrics = {
            f"{measure}/{name.replace('@', '_at_')}": value
            for measure, values in found.items()
            for name, value in values["numbers"].items()
        }
        size = self.place.size
        steps = job.arm.steps(size) if job.arm.network else size.decoder_steps
        params = {"arm": job.arm.name, "seed": job.seed, "steps": steps}
        params |= dict(setting.split("=", 1) for setting in job.arm.settings)
        record_arm(
            self.place.root, key=self.place.key(job), name=job.name, params=params, metrics=metrics
        )
