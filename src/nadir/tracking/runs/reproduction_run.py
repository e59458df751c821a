"""The MLflow run of an arm of the reproduction, in an experiment of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nadir.tracking.revision import git_state
from nadir.tracking.runs.pipeline_run import log_params, set_tags
from nadir.tracking.store.connection import connect, experiment_id, store_faults

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SUFFIX = "-reproduction"
KEY = "nadir.reproduction_key"


@store_faults()
def record_arm(
    root: Path, *, key: str, name: str, params: Mapping[str, Any], metrics: Mapping[str, float]
) -> str:
    """Record an arm; done again, it adds what was measured since and makes no second run.

    Args:
        root: The project's root.
        key: Of the arm's settings, code and data.
        name: Of the run.
        params: What the arm is.
        metrics: What was measured.

    Returns:
        The run's id.

    Raises:
        NadirError: The store cannot be reached.
    """
    client = connect(root)
    experiment = experiment_id(client, root, suffix=SUFFIX)
    known = client.search_runs([experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
    run = known[0] if known else client.create_run(experiment, run_name=name)
    run_id = str(run.info.run_id)
    tags = {KEY: key, "nadir.kind": "reproduction", **git_state(root).tags()}
    set_tags(client, run_id, tags)
    log_params(client, run_id, params)
    for metric, value in metrics.items():
        if run.data.metrics.get(metric) != value:
            client.log_metric(run_id, metric, value)
    client.set_terminated(run_id, "FINISHED")
    return run_id
