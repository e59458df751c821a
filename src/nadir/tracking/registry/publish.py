"""What `evaluate` found, put on the run that trained the model."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nadir.ground import artifacts
from nadir.ground.files import file_hash, read_json, write_text
from nadir.ground.run_record import read_run
from nadir.ground.workspace import PARAMS_FILE
from nadir.tracking.lineage import FINGERPRINT_TAG
from nadir.tracking.lock_file import output_hash
from nadir.tracking.registry.origins import origin_facts, training_parameters
from nadir.tracking.runs.pipeline_run import set_tags
from nadir.tracking.runs.training_run import now_ms
from nadir.tracking.store.connection import experiment_id, missing_is_none

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient

    from nadir.tracking.registry.versions import Version

_FILES = (
    artifacts.EVALUATION_TABLE,
    artifacts.VALIDATION_PAGE,
    artifacts.EVALUATION,
    artifacts.VALIDATION,
    artifacts.PROFILE,
    artifacts.TAG_NUMBERS,
    artifacts.TAG_USE_CHART,
    artifacts.TAG_WEIGHTS_CHART,
    artifacts.BUCKET_NUMBERS,
    artifacts.BUCKET_USES,
    PARAMS_FILE,
)
# What the evaluation report says besides metrics; all else in it is a metric of the checkpoint.
EVALUATION_FACTS = ("protocol_id", "sampling", "images", "nonfinite", "cfg_scales", "gate")
# A run has a `loss` already, that of its training.
_OTHER_NAMES = {"loss": "x0_mse"}
_PUBLISHED_TAG = "nadir.evaluation_md5"
_CFG_STEPS = 100  # a step is a whole number, and scales are not


def training_run_id(client: MlflowClient, root: Path, fingerprint: str) -> str:
    """The run named in `models/run.json`, or a stand-in where this store does not have it.

    The store may be another than the one the model was trained with, and a training by
    `dvc repro` with tracking switched off has no run at all.
    """
    named = read_run(root / artifacts.TRAINING_RUN).run_id
    if named and _is_there(client, named):
        return named
    return _stand_in(client, root, named or "", fingerprint)


def publish_evaluation(client: MlflowClient, run_id: str, root: Path) -> bool:
    """Log metrics per CFG scale, the reports and the sample images, once per evaluation.

    Its page comes last, by `publish_page`, for it names the version.

    Returns:
        Whether anything was logged: false when this very evaluation already is on the run.
    """
    if client.get_run(run_id).data.tags.get(_PUBLISHED_TAG) == _evaluation_md5(root):
        return False
    report = read_json(root / artifacts.EVALUATION)
    _log_metrics(client, run_id, evaluation_metrics(report))
    for scale, metrics in metrics_by_scale(report).items():
        _log_metrics(client, run_id, metrics, step=round(_CFG_STEPS * scale))
    if (root / artifacts.VALIDATION).is_file():
        _log_metrics(client, run_id, validation_metrics(read_json(root / artifacts.VALIDATION)))
    for name in _FILES:
        if (root / name).is_file():
            client.log_artifact(run_id, str(root / name))
    if (root / artifacts.SAMPLES).is_dir():
        client.log_artifacts(run_id, str(root / artifacts.SAMPLES), "samples")
    return True


def publish_page(client: MlflowClient, run_id: str, root: Path, version: Version) -> None:
    """Log the evaluation's page with the lineage of the version, and call it published."""
    from nadir.evaluation.report.lineage import with_registration

    page = root / artifacts.EVALUATION_PAGE
    if page.is_file():
        facts = origin_facts(version) | training_parameters(root)
        text = with_registration(page.read_text(encoding="utf-8"), facts)
        client.log_text(run_id, text, page.name)
        if version.held:
            _attach(client, version.model_id, page.name, text, root)
    verdict = gate_verdict(read_json(root / artifacts.EVALUATION))
    tags = {_PUBLISHED_TAG: _evaluation_md5(root), "nadir.gate": verdict}
    set_tags(client, run_id, {key: value for key, value in tags.items() if value})


def _attach(client: MlflowClient, model_id: str, name: str, text: str, root: Path) -> None:
    """Send page and sample grid into a copy, for whoever has the model alone."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name]
        write_text(files[0], text)
        grid = root / artifacts.SAMPLES / "grid.png"
        if grid.is_file():
            files.append(shutil.copyfile(grid, Path(folder) / "samples.png"))
        for file in files:
            client.log_model_artifact(model_id, str(file))


def _evaluation_md5(root: Path) -> str:
    """What tells one evaluation from another."""
    # The verdict hangs on the limits as well, which only the report knows.
    table = output_hash(root, artifacts.EVALUATION_TABLE) or "none"
    return f"{table}/{file_hash(root / artifacts.EVALUATION)[:16]}"


def gate_verdict(report: Mapping[str, Any]) -> str:
    """`promote`, `reject` or `inconclusive`, as `evaluate` wrote it."""
    return str(report.get("gate", {}).get("verdict", ""))


def evaluation_metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of `reports/evaluation.json` under MLflow's names.

    Those of a scale are called `cfg_4.5.contrast_gap`, those of the checkpoint as a whole by the
    metric's name alone, or by it and their own: `x0_mse.t999`.
    """
    metrics: dict[str, float] = {}
    for scale, values in report.get("cfg_scales", {}).items():
        metrics |= {f"cfg_{scale}.{name}": value for name, value in values.items()}
    for key, found in report.items():
        if key not in EVALUATION_FACTS:
            name = _OTHER_NAMES.get(key, key)
            parts = found if isinstance(found, dict) else {"": found}
            metrics |= {f"{name}.{part}" if part else name: v for part, v in parts.items()}
    return {name: float(v) for name, v in metrics.items() if isinstance(v, int | float)}


def metrics_by_scale(report: Mapping[str, Any]) -> dict[float, dict[str, float]]:
    """Numbers of `reports/evaluation.json` by CFG scale, under one name each at all scales.

    MLflow draws a metric over its step: `by_cfg.contrast_gap` has the scale, in hundredths, as its
    step, so that its chart has guidance as the axis, and runs are compared over it.
    """
    scales = report.get("cfg_scales", {})
    uses = Counter(name for values in scales.values() for name in values)
    return {
        float(scale): {f"by_cfg.{name}": v for name, v in values.items() if uses[name] > 1}
        for scale, values in scales.items()
    }


def metric_on_run(name: str) -> str:
    """What a run calls a metric of the evaluation."""
    return _OTHER_NAMES.get(name, name)


def validation_metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of `reports/validation.json` under MLflow's names, such as `validation.used`."""
    metrics = {f"validation.{name}": value for name, value in report.get("images", {}).items()}
    metrics |= {f"validation.{name}": value for name, value in report.get("shares", {}).items()}
    failed = report.get("expectations", {})
    metrics |= {f"validation.{name}": failed[name] for name in ("warnings", "critical") if failed}
    return {name: float(value) for name, value in metrics.items()}


def _log_metrics(
    client: MlflowClient, run_id: str, metrics: Mapping[str, float], *, step: int = 0
) -> None:
    from mlflow.entities import Metric

    at = now_ms()
    entities = [Metric(name, value, at, step) for name, value in metrics.items()]
    for start in range(0, len(entities), 500):
        client.log_batch(run_id, metrics=entities[start : start + 500])


def _is_there(client: MlflowClient, run_id: str) -> bool:
    run = None
    with missing_is_none():
        run = client.get_run(run_id)
    return run is not None and bool(run.info.lifecycle_stage == "active")


def _stand_in(client: MlflowClient, root: Path, named: str, fingerprint: str) -> str:
    experiment = experiment_id(client, root)
    known = client.search_runs(
        [experiment],
        f"tags.`nadir.kind` = 'restored' and tags.`{FINGERPRINT_TAG}` = '{fingerprint}'",
        max_results=1,
    )
    if known:
        return str(known[0].info.run_id)
    tags = {
        "nadir.kind": "restored",
        "nadir.restored_from": named or "a training without a run",
        FINGERPRINT_TAG: fingerprint,
    }
    run = client.create_run(experiment, run_name="train (restored)", tags=tags)
    client.set_terminated(run.info.run_id, "FINISHED")
    return str(run.info.run_id)
