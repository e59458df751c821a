"""A password in an address is printed by no command and kept in no store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.mini.project import MiniProject
from tests.support.servers import free_port

from nadir.pipeline.processes.process import quiet_environment
from nadir.tracking.runs.pipeline_run import finish_pipeline_run, log_params, set_tags
from nadir.tracking.store.connection import connect, experiment_id

PASSWORD = "TrackPW-PLANTED"
REPOSITORY = Path(__file__).resolve().parents[2]
FLOW = REPOSITORY / "flows/training_pipeline.py"


def holders(root: Path, secret: str) -> list[str]:
    """Files of a project that hold a secret."""
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return [str(path.relative_to(root)) for path in files if secret.encode() in path.read_bytes()]


def program(project: MiniProject, *command: str, **variables: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=project.root,
        env={**quiet_environment(project.root), "PYTHONPATH": str(REPOSITORY), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def nadir(project: MiniProject, *arguments: str, **variables: str) -> tuple[int, str]:
    start = ("-c", "from nadir.cli import main; main()")
    return program(project, *start, *arguments, **variables)


def test_no_command_shows_or_keeps_the_password_of_a_server_that_is_away(
    trained: MiniProject,
) -> None:
    away = {
        "MLFLOW_TRACKING_URI": f"http://mluser:{PASSWORD}@127.0.0.1:{free_port()}",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    trained.source("other pictures")
    for code, told in (
        nadir(trained, "status", "--json", **away),
        nadir(trained, "promote", **away),
        program(trained, str(FLOW), **away, PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL="DEBUG"),
    ):
        assert PASSWORD not in told
        assert "http://mluser:***@127.0.0.1" in told, told
        assert (code == 0) == told.startswith("{"), told
    assert (trained.root / "work/pipeline/last.json").is_file()
    assert (trained.root / "work/prefect/prefect.db").is_file()
    assert holders(trained.root, PASSWORD) == []


def test_the_password_of_a_prefect_server_that_is_away_is_not_shown(
    trained: MiniProject,
) -> None:
    api = f"http://me:{PASSWORD}@127.0.0.1:{free_port()}/api"
    code, told = program(trained, str(FLOW), PREFECT_API_URL=api)
    assert code == 1
    assert "http://me:***@127.0.0.1" in told, told
    assert PASSWORD not in told
    assert holders(trained.root, PASSWORD) == []


def test_runs_keep_no_password_in_tags_parameters_or_logs(
    project: MiniProject, tmp_path: Path
) -> None:
    address = f"postgresql://u:{PASSWORD}@db/x"
    client = connect(project.root)
    run_id = client.create_run(experiment_id(client)).info.run_id
    set_tags(client, run_id, {"nadir.error": f"cannot reach {address}"})
    log_params(client, run_id, {"place": address})
    log = tmp_path / "train.log"
    log.write_text(f"ERROR: {address}\n")
    finish_pipeline_run(run_id, "FAILED", tags={}, durations={}, files=(log,))
    assert holders(project.root, PASSWORD) == []
    assert client.get_run(run_id).data.tags["nadir.error"].endswith("postgresql://u:***@db/x")
    assert [file.path for file in client.list_artifacts(run_id)] == ["train.log"]


@pytest.mark.parametrize("source", ["pictures", "s3://bucket/pictures"])
@pytest.mark.parametrize("info", [f"user:{PASSWORD}", PASSWORD])
def test_an_endpoint_with_a_password_is_refused_whatever_the_source(
    project: MiniProject, source: str, info: str
) -> None:
    change = [f"ingest.source={source}", f"ingest.endpoint_url=http://{info}@127.0.0.1:9000"]
    code, told = nadir(project, "params", "set", *change)
    assert code == 1
    assert "the address holds a user name, a password or a token" in told
    assert PASSWORD not in told
    assert holders(project.root, PASSWORD) == []
    path = project.root / "params.yaml"
    text = path.read_text()
    project.set("endpoint_url:", f"endpoint_url: http://{info}@127.0.0.1:9000 #")
    code, told = nadir(project, "params", "check")
    path.write_text(text)
    assert code == 1
    assert PASSWORD not in told
