"""Which runs something belongs to: one form for every file that holds the id of a run.

- `models/run.json`, and the same in a training's own folder: the training's MLflow run.
- `work/pipeline/runs/<flow run>.json`: a pipeline that is open, and its MLflow run once it has one.
- `work/pipeline/last.json`: the ids of the last pipeline, beside what it did.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from nadir.ground.files import read_json_object, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class RunRecord:
    """A run's ids; None is what it has not, or not yet.

    Attributes:
        run_id: In MLflow.
        flow_run_id: In Prefect, of the pipeline.
        fingerprint: Of the `train` stage, for a training.
        name: The run's.
        store: The MLflow store that has it, by its `store_name`.
        status: What became of it, where the store does not know it yet.
    """

    run_id: str | None = None
    flow_run_id: str | None = None
    fingerprint: str | None = None
    name: str | None = None
    store: str | None = None
    status: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What is known; that there is no MLflow run is said as well."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"run_id": None} | {name: value for name, value in found.items() if value}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> RunRecord:
        """The record in a JSON object; other keys are passed over."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: str(text) for name, text in value.items() if name in known and text})


def read_run(path: Path) -> RunRecord:
    """The record in a file; one that names no run where there is no such file.

    Raises:
        DamagedJsonError: The file is not a JSON object.
    """
    return RunRecord.of_json(read_json_object(path)) if path.is_file() else RunRecord()


def write_run(path: Path, run: RunRecord) -> None:
    """Write a record atomically."""
    write_json(path, run.as_json())
