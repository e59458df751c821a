"""What a training run measures of itself, what it warns of, and whether that stops it."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError
from nadir.training.validation.alarms import (
    WINDOW,
    Alarm,
    extreme_pixels,
    high_sigma,
    is_spike,
    rare_tags,
    spikes,
)
from nadir.training.validation.levels import BANDS
from nadir.training.validation.pictures import extreme_share

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL.Image import Image

    from nadir.config.train import TrainParams

METRIC = "val/x0/{}"
"""Name of a held-out error in the tracker, by band or group."""
EXTREME_METRIC = "val/extreme_pixels"


class Watch:
    """Keeps the measurements of one run, in a form that its checkpoints hold.

    Args:
        params: Steps, how often to measure, which alarms stop.
        mean_error: What always guessing the mean gets in the held-out error.
        warn: Called with each alarm.

    Attributes:
        stopping: The alarm that stops the run, once there was one.
    """

    def __init__(
        self, params: TrainParams, *, mean_error: float, warn: Callable[[str], None]
    ) -> None:
        self._params = params
        self._mean_error = mean_error
        self._warn = warn
        self._quiet = max(WINDOW, params.steps // 10)
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._norms: deque[float] = deque(maxlen=WINDOW)
        self._spikes: list[int] = []
        self._told: dict[str, int] = {}
        self.validations: list[tuple[int, dict[str, float]]] = []
        self._shares: list[tuple[int, float]] = []
        self.stopping: Alarm | None = None

    def wants_validation(self, step: int) -> bool:
        """Whether the held-out error is due after `step` steps and not measured yet."""
        return self._is_due(step, self._params.validation.every, self.validations)

    def wants_previews(self, step: int) -> bool:
        """Whether previews are due after `step` steps and not drawn yet."""
        return self._is_due(step, self._params.preview_every, self._shares)

    def may_be_due(self, step: int) -> bool:
        """Whether any of both is due after `step` steps, measured or not."""
        params = self._params
        return any(
            self._is_due(step, n, ()) for n in (params.validation.every, params.preview_every)
        )

    def step(self, step: int, *, loss: float, gradient_norm: float) -> None:
        """Look at the step that made the count `step`."""
        seen = (("loss", loss, self._losses), ("gradient norm", gradient_norm, self._norms))
        for name, value, before in seen:
            if not math.isfinite(value):  # fp16 skips such a step, and no median holds it
                continue
            if is_spike(value, before):
                self._spikes = [*self._spikes[-WINDOW:], step]
                what = f"the last is a {name} of {value:.3g} at step {step}"
                self._raise(step, spikes(self._spikes, step, what))
            before.append(value)

    def validated(self, step: int, values: dict[str, float]) -> dict[str, float]:
        """Keep a measurement of the held-out error; gives the tracker's metrics."""
        self.validations.append((step, values))
        measured = [values for _, values in self.validations]
        self._raise(step, high_sigma(measured, self._mean_error))
        self._raise(step, rare_tags(measured))
        return {METRIC.format(name): value for name, value in values.items()}

    def previewed(self, step: int, images: Sequence[Image], real: float) -> dict[str, float]:
        """Keep the extreme pixels of a round of previews; gives the tracker's metrics.

        Args:
            step: Steps done.
            images: One per prompt.
            real: Mean share of such pixels in real images like the prompts.
        """
        share = sum(map(extreme_share, images)) / len(images)
        self._shares.append((step, share))
        self._raise(step, extreme_pixels([one for _, one in self._shares], real))
        return {EXTREME_METRIC: share, f"{EXTREME_METRIC}_real": real}

    @property
    def note(self) -> str:
        """The newest held-out error for the progress line, or nothing."""
        if not self.validations:
            return ""
        step, values = self.validations[-1]
        told = " ".join(
            f"{band.removesuffix('_sigma')} {values[band]:.3f}" for band in BANDS if band in values
        )
        return f", held-out error by sigma at step {step}: {told}"

    def summary(self) -> dict[str, float]:
        """The last held-out error, for the run's metrics."""
        if not self.validations:
            return {}
        return {f"heldout_{name}": value for name, value in self.validations[-1][1].items()}

    def columns(self) -> dict[str, dict[int, float]]:
        """Held-out errors by column of the loss curve, then by step."""
        names = sorted({name for _, values in self.validations for name in values})
        return {
            f"heldout_{name}": {s: values[name] for s, values in self.validations if name in values}
            for name in names
        }

    def fault(self) -> NadirError | None:
        """The end of a run that an alarm named in `train.stop_on` stops; None when none does."""
        if self.stopping is None or self.stopping.name not in self._params.stop_on:
            return None
        return NadirError(
            f"stopped by the alarm {self.stopping.name}: {self.stopping.what}; the state is saved",
            where="train.stop_on",
            fix=f"{self.stopping.fix}. To go on all the same from the saved state, take "
            f"{self.stopping.name} out of train.stop_on and run again",
        )

    def state(self) -> dict[str, Any]:
        """Everything as JSON values, for a checkpoint."""
        return {
            "losses": list(self._losses),
            "norms": list(self._norms),
            "spikes": self._spikes,
            "told": self._told,
            "validations": self.validations,
            "shares": self._shares,
            "stopping": vars(self.stopping) if self.stopping else None,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`; floats survive JSON exactly."""
        self._losses.extend(state["losses"])
        self._norms.extend(state["norms"])
        self._spikes = list(state["spikes"])
        self._told = dict(state["told"])
        self.validations = [(step, values) for step, values in state["validations"]]
        self._shares = [(step, share) for step, share in state["shares"]]
        self.stopping = Alarm(**state["stopping"]) if state["stopping"] else None

    def _is_due(self, step: int, every: int, done: Sequence[tuple[int, Any]]) -> bool:
        due = every and (step % every == 0 or step == self._params.steps)
        return bool(due) and not (done and done[-1][0] >= step)

    def _raise(self, step: int, alarm: Alarm | None) -> None:
        """Warn, but for one kind once in a while only; remember what stops the run."""
        if alarm is None:
            return
        if step - self._told.get(alarm.name, -self._quiet) >= self._quiet:
            self._told[alarm.name] = step
            self._warn(f"WARNING train: {alarm.name}: {alarm.what}; {alarm.fix}")
        if alarm.name in self._params.stop_on and self.fault() is None:
            self.stopping = alarm
