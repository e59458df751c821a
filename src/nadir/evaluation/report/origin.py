"""What the report says of a checkpoint's making: its training, its data, its lineage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nadir.evaluation.report.dataset import DataSummary, data_summary
from nadir.evaluation.report.lineage import data_lineage
from nadir.evaluation.report.training_curve import training_charts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from markupsafe import Markup


@dataclass(frozen=True)
class Origin:
    """The making of a checkpoint.

    Attributes:
        training: Charts of its course.
        data: What it was trained on.
        lineage: Hashes and counts by name.
    """

    training: list[Markup] = field(default_factory=list)
    data: DataSummary | None = None
    lineage: dict[str, str] = field(default_factory=dict)


def read_origin(
    facts: Mapping[str, Any], *, manifest: Path, tags: Path, latents: Path, curve: Path
) -> Origin:
    """The making of the project's checkpoint.

    Args:
        facts: What the checkpoint says of its training.
        manifest: `data/manifest.parquet`.
        tags: `data/tags.parquet`.
        latents: Folder `data/latents`.
        curve: `reports/loss.csv`.

    Raises:
        NadirError: A table is missing or damaged.
    """
    files = {"manifest": manifest, "tags": tags, "latents": latents}
    return Origin(training_charts(curve), data_summary(**files), data_lineage(facts, **files))
