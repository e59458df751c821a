"""What a pipeline's MLflow run says of its stages."""

from __future__ import annotations

import pytest
from tests.mini.project import MiniProject

from nadir.pipeline.mlflow_summary import close_in_mlflow
from nadir.pipeline.processes.process import StageResult
from nadir.tracking.runs.pipeline_run import announce_pipeline, pipeline_run
from nadir.tracking.store.connection import connect

TRAINED = {"steps": 5, "blockiness_before": 1.5, "blockiness_after": 1.25, "encoder_hash": "a"}


@pytest.mark.parametrize("facts", [{}, {"steps": 0}, TRAINED])
def test_a_decoder_that_was_trained_is_measured_in_the_pipelines_run(
    trained: MiniProject, facts: dict[str, object]
) -> None:
    announced = trained.root / "work/run.json"
    announce_pipeline(announced, flow_run_id="f", name="n")
    run_id = pipeline_run(announced, trained.root)
    close_in_mlflow(
        run_id,
        "FINISHED",
        results={"decoder": StageResult("decoder", "executed", 2.0, facts=facts)},
        registering=None,
        registration=None,
        root=trained.root,
    )
    found = connect(trained.root).get_run(run_id).data.metrics
    numbers = {f"decoder/{k}": v for k, v in facts.items() if k != "encoder_hash"}
    expected = numbers if facts.get("steps") else {}
    assert found == {"stage_seconds/decoder": 2.0, **expected}
