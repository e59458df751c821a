"""The command: a table, JSON, exit codes; whatever is broken, whatever texts come from there."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.mini.project import MiniProject

from nadir.doctor.checks import CHECKS
from nadir.doctor.finding import Check, Finding
from nadir.doctor.show import as_table
from nadir.pipeline.processes.process import quiet_environment


def nadir(
    project: MiniProject, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """`nadir doctor`, as the program."""
    command = [sys.executable, "-c", "from nadir.cli import main; main()", "doctor", *arguments]
    return subprocess.run(
        command,
        cwd=project.root,
        env={**quiet_environment(project.root), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_sound_project_passes_every_check(project: MiniProject) -> None:
    done = nadir(project, "--json")
    answer = json.loads(done.stdout)
    wrong = [entry for entry in answer["checks"] if entry["state"] == "failed"]
    assert (done.returncode, answer["ok"], wrong) == (0, True, [])
    assert [entry["name"] for entry in answer["checks"]] == [check.name for check in CHECKS]
    assert all(set(e) == {"name", "group", "state", "told", "fix"} for e in answer["checks"])


def test_a_failure_is_exit_code_1_with_its_remedy(project: MiniProject) -> None:
    shutil.rmtree(project.root / ".git")
    done = nadir(project, "git", "leftovers", COLUMNS="70")
    assert (done.returncode, done.stderr) == (1, "")
    assert "FAIL git " in done.stdout
    assert "fix: `git init && git add --all" in " ".join(done.stdout.split())
    assert done.stdout.rstrip().endswith("1 failed")
    assert max(map(len, done.stdout.splitlines()[1:])) <= 70


def test_a_check_that_does_not_exist_is_refused_by_name(project: MiniProject) -> None:
    done = nadir(project, "gti")
    assert (done.returncode, "there is no check or group `gti`" in done.stderr) == (1, True)


def test_everything_broken_is_told_at_once(project: MiniProject) -> None:
    (project.root / "params.yaml").write_bytes(b"\xff\xfe{[")
    (project.root / "dvc.yaml").write_text("]")
    shutil.rmtree(project.root / ".dvc")
    shutil.rmtree(project.root / ".git")
    (project.root / "work/mlflow/mlflow.db").write_text("no database")
    done = nadir(project, "--json", PATH="/nowhere")
    checks = {entry["name"]: entry for entry in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1
    failed = {name for name, entry in checks.items() if entry["state"] == "failed"}
    assert {"git", "parameters", "stages", "dvc", "dvc-remote", "mlflow"} <= failed
    assert "Traceback" not in done.stdout + done.stderr
    assert all(checks[name]["fix"] for name in failed)


def test_no_secret_of_environment_or_workspace_is_told(project: MiniProject) -> None:
    project.dvc("remote", "add", "--default", "s3", "s3://someone:PLANTED-2@bucket/x")
    project.dvc("remote", "modify", "--local", "s3", "secret_access_key", "PLANTED-3-key")
    variables = {
        "MLFLOW_TRACKING_URI": "http://me:PLANTED-4@127.0.0.1:9",
        "PREFECT_API_URL": "http://me:PLANTED-5@127.0.0.1:9/api",
        "PREFECT_API_AUTH_STRING": "me:PLANTED-6",
        "AWS_SECRET_ACCESS_KEY": "PLANTED-7-key",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "http_proxy": "http://me:PLANTED-8@127.0.0.1:9",
        "PYTHONPATH": "/tmp/PLANTED-4",
    }
    for arguments in ((), ("servers", "environment", "project", "--json")):
        done = nadir(project, *arguments, **variables)
        told = (done.stdout + done.stderr).replace("/tmp/PLANTED-4", "")
        assert done.returncode == 1
        assert "http://me:***@127.0.0.1:9" in told
        assert "PLANTED" not in told


@pytest.mark.parametrize("hostile", ["\x1b[2J\x1b]0;gone\x07", "a\rb", "\u202eevil", "\x9b31m"])
def test_texts_from_elsewhere_are_harmless_in_a_terminal(hostile: str) -> None:
    check = Check("name", "group", lambda _: Finding("ok", ""))
    finding = Finding("failed", f"told {hostile}", f"fix {hostile}")
    table = as_table([(check, finding)], io.StringIO())
    assert not {letter for letter in table if not letter.isprintable() and letter != "\n"}
    assert "told" in table


def test_a_hostile_name_of_a_file_is_harmless(project: MiniProject) -> None:
    folder = project.root / "data"
    folder.mkdir()
    evil = folder / ".\x1b[31mred.x.tmp"
    evil.write_text("")
    subprocess.run(["touch", "-d", "yesterday", str(evil)], check=True)
    done = nadir(project, "half-written")
    assert "\x1b" not in done.stdout
    assert "\\x1b[31mred" in done.stdout


def test_nothing_is_left_by_the_probes(project: MiniProject) -> None:
    project.dvc("remote", "add", "--default", "local", str(project.root.with_name("remote")))
    nadir(project)
    places = (project.root, project.root.with_name("remote"))
    assert [path for place in places for path in place.rglob("*doctor*")] == []
    assert (Path(project.root.with_name("remote"))).is_dir()
