"""Numbers of a run as Prometheus reads them, and the dashboard that asks for them."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.servers import free_port

from nadir.ground.errors import NadirError
from nadir.ground.exposition import METRICS_VARIABLE, metrics_place
from nadir.ground.files import write_json
from nadir.pipeline.processes.process import StageResult
from nadir.pipeline.watching.metrics import leave_metrics, run_metrics
from nadir.serving.metrics import Metrics
from nadir.training.reports.metrics import TrainingMetrics, with_metrics
from nadir.training.reports.reporter import NoReporter

Samples = dict[tuple[str, tuple[str, ...]], float]
RESULTS = {
    "ingest": StageResult("ingest", "executed", 1.5),
    "train": StageResult("train", "failed"),
}


def samples(text: str) -> Samples:
    """By name and the values of all labels but the workspace."""
    found = [s for f in text_string_to_metric_families(text) for s in f.samples]
    return {
        (s.name, tuple(v for k, v in s.labels.items() if k != "workspace")): s.value for s in found
    }


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A workspace with the results of `validate` and `evaluate`."""
    shares = {"tag_drift": 0.3}
    images = {"used": 9, "listed": 10}
    outcomes = {"passed": 3, "warnings": 1, "critical": 0}
    write_json(
        tmp_path / "reports/validation.json",
        {"images": images, "quarantined": {"no_tags": 1}, "shares": shares,
         "expectations": outcomes},
    )  # fmt: skip
    scales = {"cfg_scales": {"4.5": {"tag_recall": 0.5, "none": None}}}
    write_json(tmp_path / "reports/evaluation.json", scales)
    return tmp_path


def test_a_run_leaves_a_file_that_keeps_when_runs_ended_before(
    measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = measured / "text files"
    folder.mkdir()
    monkeypatch.setenv(METRICS_VARIABLE, f"{folder}/")
    leave_metrics(measured, RESULTS, status="FINISHED", started=0.0)
    leave_metrics(measured, RESULTS, status="FAILED", started=0.0)
    (file,) = folder.iterdir()
    assert re.fullmatch(r"nadir_pipeline_[0-9a-f]{8}\.prom", file.name)
    assert f'workspace="{measured}"' in file.read_text()
    found = samples(file.read_text())
    ended = "nadir_pipeline_end_timestamp_seconds"
    assert 0 < found[ended, ("finished",)] < found[ended, ("failed",)]
    assert found["nadir_pipeline_stage_seconds", ("ingest",)] == 1.5
    assert found["nadir_pipeline_stage_state", ("train", "failed")] == 1
    assert found["nadir_dataset_images", ("used",)] == 9
    assert found["nadir_dataset_quarantined", ("no_tags",)] == 1
    assert found["nadir_dataset_share", ("tag_drift",)] == 0.3
    assert [key for key in found if key[0] == "nadir_evaluation_metric"] == [
        ("nadir_evaluation_metric", ("4.5", "tag_recall"))
    ]
    file.write_text("nadir_pipeline_end_timestamp_seconds{ torn")
    leave_metrics(measured, RESULTS, status="KILLED", started=0.0)
    assert (ended, ("killed",)) in samples(file.read_text())


@pytest.mark.parametrize("place", ["0", "here", "localhost:x", "/no/such/folder", "./file"])
def test_a_wrong_place_is_one_clear_error(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(METRICS_VARIABLE, place)
    with pytest.raises(NadirError, match=r"NADIR_METRICS: '.*' is no(t a port| folder)"):
        metrics_place()
    with pytest.raises(NadirError, match="NADIR_METRICS"):
        with_metrics(NoReporter())


@pytest.mark.parametrize("in_file", [True, False])
def test_a_training_is_seen_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *,
    in_file: bool,
) -> None:  # fmt: skip
    (tmp_path / "params.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    plain = NoReporter()
    assert with_metrics(plain) is plain, "without the setting nothing is in between"
    port = free_port()
    monkeypatch.setenv(METRICS_VARIABLE, f"{tmp_path}/" if in_file else str(port))
    reporter = with_metrics(plain)
    reporter.started({"steps_done": 5})
    reporter.step(10, 40, {"loss": 0.5, "val/x0/mid": 0.25})
    if in_file:
        (file,) = tmp_path.glob("nadir_training_*.prom")
        text = file.read_text()
        assert "process_" not in text, "two trainings on a machine would both claim it"
    else:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        assert "process_resident_memory_bytes" in text
        assert with_metrics(plain) is plain
        assert f"WARNING train: metrics cannot be shown at {port}" in capsys.readouterr().out
    found = samples(text)
    assert found["nadir_training_step", ()] == 10
    assert found["nadir_training_loss", ()] == 0.5
    assert found["nadir_training_measure", ("val/x0/mid",)] == 0.25
    assert found["nadir_training_peak_memory_bytes", ("main",)] > 50e6
    assert found["nadir_training_running", ()] == 1
    reporter.finished("FINISHED")
    if in_file:
        assert samples(file.read_text())["nadir_training_running", ()] == 0


def families(registry: CollectorRegistry) -> dict[str, set[str]]:
    """Names of samples and of their labels."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_each_query_of_the_dashboard_names_a_metric_and_labels_that_there_are(
    root: Path, measured: Path
) -> None:
    served = Metrics()
    served.requests.labels("200").inc()
    training = TrainingMetrics(measured, None)
    training.step(1, 4, {"loss": 1.0, "val/x0/mid": 1.0})
    run = run_metrics(measured, RESULTS, workspace="w", ends={"finished": 1.0}, started=0.0)
    known = {k: v for one in (served.registry, training.registry, run) for k, v in
             families(one).items()}  # fmt: skip
    board = json.loads((root / "docs/dashboard.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(queries) > 15
    used: set[str] = set()
    for query in queries:
        asked = re.findall(r"\b((?:nadir|process)_[a-z_]+)(\{[^}]*\})?", query)
        assert asked, query
        for name, labels in asked:
            assert name in known, query
            assert set(re.findall(r"(\w+)=~?\"", labels)) <= known[name], query
            used.add(name)
    own = {n for n in known if n.startswith("nadir_") and not re.search("_(created|sum|count)$", n)}
    unseen = {"nadir_pipeline_run_seconds", "nadir_training_images", "nadir_pixels_total",
              "nadir_dataset_expectations"}  # fmt: skip
    assert own - used == unseen
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
