"""The head of a file of benchmarks/, beside its section `evaluate`, and the row it prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from nadir.config.base import Section

if TYPE_CHECKING:
    from nadir.config.evaluate import EvaluateParams
    from nadir.evaluation.others.model import OtherModel


class BenchmarkParams(Section):
    """What a benchmark is called and which numbers make its row."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    """Name in reported rows."""
    version: Annotated[int, Field(ge=1)]
    """Rises whenever prompts, sizes, steps or seeds change: rows of two versions differ."""
    report: Annotated[tuple[str, ...], Field(min_length=1)]
    """Metrics of the row, at `evaluate.decision_cfg` or of the checkpoint as a whole."""


def row(one: OtherModel, section: EvaluateParams, head: BenchmarkParams) -> str:
    """What was measured, by which version and protocol, as one line.

    Args:
        one: The model.
        section: The benchmark's protocol.
        head: The benchmark's head.
    """
    from nadir.evaluation.results import scale_key

    numbers = {
        **one.evaluation.checkpoint_json(),
        **one.evaluation.scales[scale_key(section.decision_cfg)],
    }
    cells = []
    for name in head.report:
        value = numbers.get(name)
        shown = f"{value:.4f}" if isinstance(value, float) else "not run"
        cells.append(f"{name} {shown}")
    return (
        f"{head.name} {head.version}, weights {one.weights}, protocol {one.shared_id}: "
        f"{', '.join(cells)}\n"
    )
