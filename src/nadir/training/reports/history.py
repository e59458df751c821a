"""The course of the loss: what is logged, plotted and summed up at the end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nadir.ground.files import write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_LAST = 100
_COLUMNS = ("step", "images", "loss", "unweighted_loss")


class History:
    """Collects every step and keeps a row, the mean since the last one, every few steps.

    Args:
        steps: Optimizer steps of the whole run; sets how many of them make a row (10, fewer in a
            run of less than 200).
        images_before: Images in all batches before a step.
    """

    def __init__(self, steps: int, images_before: Callable[[int], int]) -> None:
        self.every = max(1, min(10, steps // 20))
        self._steps = steps
        self._images_before = images_before
        self._rows: list[tuple[int, int, float, float]] = []
        self._window: list[tuple[float, float, float]] = []
        self._recent: list[float] = []

    def add(
        self, step: int, *, loss: float, unweighted: float, gradient_norm: float
    ) -> dict[str, float] | None:
        """Note the step that made the count `step`; gives the means when a row is due.

        Returns:
            `loss`, `unweighted_loss` and `gradient_norm` averaged over the row's steps, or None.
        """
        self._window.append((loss, unweighted, gradient_norm))
        self._recent = [*self._recent[1 - _LAST :], loss]
        if step % self.every and step < self._steps:
            return None
        count = len(self._window)
        # In fp16 a skipped step has an infinite gradient; it belongs to no mean.
        norms = [norm for *_, norm in self._window if math.isfinite(norm)]
        mean_loss = math.fsum(row[0] for row in self._window) / count
        mean_unweighted = math.fsum(row[1] for row in self._window) / count
        self._rows.append((step, self._images_before(step), mean_loss, mean_unweighted))
        self._window = []
        means = {"loss": mean_loss, "unweighted_loss": mean_unweighted}
        return means | ({"gradient_norm": math.fsum(norms) / len(norms)} if norms else {})

    def state(self) -> dict[str, Any]:
        """Everything as JSON values, for a checkpoint."""
        return {"rows": self._rows, "window": self._window, "recent": self._recent}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`; floats survive JSON exactly."""
        self._rows = [(row[0], row[1], row[2], row[3]) for row in state["rows"]]
        self._window = [(row[0], row[1], row[2]) for row in state["window"]]
        self._recent = list(state["recent"])

    def summary(self) -> dict[str, float]:
        """Metrics of the finished run; no wall times, so that equal runs give equal files."""
        step, images, loss, _ = self._rows[-1]
        last = math.fsum(self._recent) / len(self._recent)
        return {"steps": step, "images": images, "loss": loss, "loss_last_100": last}

    def write_csv(self, path: Path, more: Mapping[str, Mapping[int, float]] | None = None) -> None:
        """Write the rows for `dvc plots`.

        Args:
            path: The file.
            more: Further columns, values by step; each stands in the first row at its step or
                after it, and step 0 in none. Empty elsewhere.
        """
        columns = more or {}
        lines, before = [",".join([*_COLUMNS, *columns])], 0
        for step, images, loss, raw in self._rows:
            cells = [f"{step}", f"{images}", f"{loss:.6g}", f"{raw:.6g}"]
            for values in columns.values():
                inside = [value for at, value in values.items() if before < at <= step]
                cells.append(f"{inside[-1]:.6g}" if inside else "")
            lines.append(",".join(cells))
            before = step
        write_text(path, "\n".join(lines) + "\n")
