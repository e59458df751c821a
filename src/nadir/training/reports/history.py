"""The course of the loss: what is logged, plotted and summed up at the end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nadir.ground.files import write_text
from nadir.training.validation.levels import BANDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_LAST = 100
_COLUMNS = ("step", "images", "loss", "unweighted_loss")
_OF_BANDS = [f"training_{band}" for band in BANDS]
_NO_SAMPLE = ([0.0] * len(BANDS), [0.0] * len(BANDS))


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
        self._rows: list[tuple[int, int, float, float, dict[str, float]]] = []
        self._window: list[tuple[float, float, float]] = []
        self._bands: list[tuple[list[float], list[float]]] = []
        self._recent: list[float] = []

    def add(
        self,
        step: int,
        *,
        loss: float,
        unweighted: float,
        gradient_norm: float,
        by_band: tuple[Sequence[float], Sequence[float]] = _NO_SAMPLE,
    ) -> dict[str, float] | None:
        """Note the step that made the count `step`; gives the means when a row is due.

        Args:
            step: The count.
            loss: That is minimised.
            unweighted: Mean squared error.
            gradient_norm: Before clipping.
            by_band: Sums of squared errors by band of sigma, and of how many samples.

        Returns:
            `loss`, `unweighted_loss` and `gradient_norm` averaged over the row's steps, and
            `training_low_sigma` … over its samples of each band; or None.
        """
        self._window.append((loss, unweighted, gradient_norm))
        self._bands.append((list(by_band[0]), list(by_band[1])))
        self._recent = [*self._recent[1 - _LAST :], loss]
        if step % self.every and step < self._steps:
            return None
        count = len(self._window)
        # In fp16 a skipped step has an infinite gradient; it belongs to no mean.
        norms = [norm for *_, norm in self._window if math.isfinite(norm)]
        mean_loss = math.fsum(row[0] for row in self._window) / count
        mean_unweighted = math.fsum(row[1] for row in self._window) / count
        bands = self._means_of_bands()
        self._rows.append((step, self._images_before(step), mean_loss, mean_unweighted, bands))
        self._window, self._bands = [], []
        means = {"loss": mean_loss, "unweighted_loss": mean_unweighted, **bands}
        return means | ({"gradient_norm": math.fsum(norms) / len(norms)} if norms else {})

    def _means_of_bands(self) -> dict[str, float]:
        """Mean squared error of the row's samples of each band that has some."""
        means = {}
        for place, name in enumerate(_OF_BANDS):
            count = math.fsum(counts[place] for _, counts in self._bands)
            if count:
                means[name] = math.fsum(sums[place] for sums, _ in self._bands) / count
        return means

    def state(self) -> dict[str, Any]:
        """Everything as JSON values, for a checkpoint."""
        return {
            "rows": self._rows,
            "window": self._window,
            "bands": self._bands,
            "recent": self._recent,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`; floats survive JSON exactly."""
        self._rows = [(row[0], row[1], row[2], row[3], row[4]) for row in state["rows"]]
        self._window = [(row[0], row[1], row[2]) for row in state["window"]]
        self._bands = [(list(sums), list(counts)) for sums, counts in state["bands"]]
        self._recent = list(state["recent"])

    def summary(self) -> dict[str, float]:
        """Metrics of the finished run; no wall times, so that equal runs give equal files."""
        step, images, loss, *_ = self._rows[-1]
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
        bands = [name for name in _OF_BANDS if any(name in found for *_, found in self._rows)]
        lines, before = [",".join([*_COLUMNS, *bands, *columns])], 0
        for step, images, loss, raw, found in self._rows:
            cells = [f"{step}", f"{images}", f"{loss:.6g}", f"{raw:.6g}"]
            cells += [f"{found[name]:.6g}" if name in found else "" for name in bands]
            for values in columns.values():
                inside = [value for at, value in values.items() if before < at <= step]
                cells.append(f"{inside[-1]:.6g}" if inside else "")
            lines.append(",".join(cells))
            before = step
        write_text(path, "\n".join(lines) + "\n")
