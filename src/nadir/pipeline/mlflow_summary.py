"""The end of a pipeline's MLflow run: what became of each stage, and what tells why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.ground import artifacts
from nadir.ground.files import write_text
from nadir.pipeline.record import pipeline_folder
from nadir.tracking.runs.pipeline_run import RunStatus, finish_pipeline_run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nadir.pipeline.processes.process import StageResult
    from nadir.pipeline.watching.drift import Drift
    from nadir.tracking.registry.registration import Registration

_VALIDATE, _DECODER = "validate", "decoder"
_TAG_CHARACTERS = 5000


def close_in_mlflow(
    run_id: str,
    status: RunStatus,
    *,
    results: Mapping[str, StageResult],
    registering: StageResult | None,
    registration: Registration | None,
    root: Path,
    drift: Drift | None = None,
) -> None:
    """Close the run with tags, durations, parameters and lock file; a failed one keeps its log.

    A decoder that was trained adds what it is worth, as `decoder/blockiness_after`.

    Args:
        run_id: The pipeline's run.
        status: What became of the pipeline.
        results: What became of each stage.
        registering: What became of the registry's step, if it was reached.
        registration: The model version, once registered.
        root: The project's root.
        drift: How far its dataset is from the champion's, where that was looked at.

    Raises:
        NadirError: The store cannot be written to.
    """
    ends = [*results.values(), *([registering] if registering is not None else [])]
    failed = next((end for end in ends if end.state == "failed"), None)
    tags: dict[str, str] = {f"nadir.stage.{name}": result.state for name, result in results.items()}
    log: tuple[Path, ...] = ()
    if failed is not None:
        error = failed.error[:_TAG_CHARACTERS]
        tags |= {"nadir.failed_stage": failed.stage, "nadir.error": error}
        log = (failed.log,) if failed.log is not None else ()
    if registration is not None:
        version = registration.version
        tags["nadir.model_version"] = f"{version.name}/{version.version}"
    if drift is not None and drift.over:
        tags["nadir.drift"] = "; ".join(drift.warnings())[:_TAG_CHARACTERS]
    finish_pipeline_run(
        run_id,
        status,
        tags=tags,
        durations={name: r.duration_s for name, r in results.items() if r.duration_s},
        numbers=_decoder(results) | _drift(drift),
        files=(root / "params.yaml", root / "dvc.lock", *_validation(results, drift, root), *log),
        root=root,
    )


def _validation(
    results: Mapping[str, StageResult], drift: Drift | None, root: Path
) -> tuple[Path, ...]:
    """The gate's page and numbers, when this run made them, also of a dataset that it stops.

    The page as DVC keeps it knows no registry; the run's has the warnings about drift as well.
    """
    result = results.get(_VALIDATE)
    if result is None or result.state == "unchanged":
        return ()
    page = root / artifacts.VALIDATION_PAGE
    if drift is not None and drift.over and page.is_file():
        told = drift.on_page(page.read_text(encoding="utf-8"))
        page = pipeline_folder(root) / page.name
        write_text(page, told)
    return page, root / artifacts.VALIDATION


def _drift(drift: Drift | None) -> dict[str, float]:
    """Distances from the champion's dataset."""
    return {} if drift is None else {f"drift/{name}": n for name, n in drift.shares.items()}


def _decoder(results: Mapping[str, StageResult]) -> dict[str, float]:
    """What the decoder was before and after this run trained it."""
    facts = results[_DECODER].facts if _DECODER in results else {}
    if not facts.get("steps"):
        return {}
    return {f"{_DECODER}/{k}": float(v) for k, v in facts.items() if isinstance(v, int | float)}
