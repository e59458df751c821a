"""A stage is a supervised process: watched while it runs, stopped without orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.mini.project import MiniProject

from nadir.pipeline.processes.process import quiet_environment, run_stage
from nadir.pipeline.processes.stage_faults import plain_fault
from nadir.pipeline.processes.supervise import group_is_alive, run_group


def test_a_stage_is_executed_then_unchanged_then_restored(project: MiniProject) -> None:
    assert run_stage("ingest", project.root).state == "executed"
    assert run_stage("encode", project.root).state == "executed"
    assert run_stage("encode", project.root).state == "unchanged"
    (project.root / "data/latents/a-b").unlink()
    restored = run_stage("encode", project.root)
    assert restored.state == "restored"
    assert (project.root / "data/latents/a-b").is_file()
    assert restored.duration_s > 0


def test_lines_and_events_arrive_without_dvcs_chatter(project: MiniProject) -> None:
    lines: list[str] = []
    events: list[dict[str, Any]] = []
    run_stage("ingest", project.root)
    result = run_stage("encode", project.root, on_line=lines.append, on_event=events.append)
    assert [line.split(",")[0] for line in lines] == [f"encode: {n}/3 files" for n in (1, 2, 3)]
    kinds = ["stage_started", *["progress"] * 3, "result", "stage_finished"]
    assert [event["kind"] for event in events] == kinds
    assert result.facts == {"files": 3}
    assert result.log is not None
    assert "Updating lock file" in result.log.read_text(encoding="utf-8")


def test_a_failed_stage_tells_its_own_reason(project: MiniProject) -> None:
    project.source("broken")
    run_stage("ingest", project.root)
    lines: list[str] = []
    result = run_stage("encode", project.root, on_line=lines.append)
    assert result.state == "failed"
    assert result.error == "data/listing.txt: the listing is broken\n  fix: mend source.txt"
    assert lines == [], "the reason is told once, by whoever reads the result"


def test_a_stage_that_cannot_even_start_tells_the_last_line_of_its_log(
    project: MiniProject,
) -> None:
    (project.root / "steps.py").write_text("raise RuntimeError('broken on purpose')\n")
    result = run_stage("ingest", project.root)
    assert result.state == "failed"
    assert "RuntimeError: broken on purpose" in result.error


def test_a_fault_of_dvc_itself_is_passed_on(project: MiniProject) -> None:
    result = run_stage("encode", project.root)
    assert result.state == "failed"
    assert "data/listing.txt" in result.error


def test_an_interrupted_stage_saves_before_the_caller_goes_on(project: MiniProject) -> None:
    project.source("slow")
    for stage in ("ingest", "encode", "base_model"):
        run_stage(stage, project.root)

    def interrupt(line: str) -> None:
        if "waiting" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage("train", project.root, on_line=interrupt)
    (saved,) = (project.root / "work/training").glob("*/saved")
    assert saved.read_text() == "yes"
    assert "train" not in (project.root / "dvc.lock").read_text(encoding="utf-8")
    assert run_stage("encode", project.root).state == "unchanged", "DVC's locks are free"


def spawn(code: str, tmp_path: Path, on_line: Any = lambda _line: None) -> int:
    return run_group(
        [sys.executable, "-u", "-c", code],
        cwd=tmp_path,
        environment=os.environ,
        log=tmp_path / "log",
        on_line=on_line,
        on_tick=lambda: None,
    )


GRANDCHILD = """
import signal, subprocess, sys, time
child = 'import signal, time, pathlib; signal.signal(signal.SIGINT, signal.SIG_IGN);' \\
    'print("ready", flush=True); time.sleep(1); pathlib.Path("late").touch()'
subprocess.Popen([sys.executable, '-u', '-c', child])
time.sleep(60)
"""


def test_stopping_waits_for_the_whole_group_and_not_for_its_leader(tmp_path: Path) -> None:
    groups: list[int] = []

    def interrupt(line: str) -> None:
        groups.append(int((tmp_path / "pid").read_text()))
        raise KeyboardInterrupt

    code = "import os; open('pid', 'w').write(str(os.getpid()))\n" + GRANDCHILD
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        spawn(code, tmp_path, interrupt)
    assert (tmp_path / "late").is_file(), "the grandchild finished its work"
    assert time.monotonic() - start < 20
    assert not group_is_alive(groups[0])


KILLED_PARENT = """
import os, sys, time
from pathlib import Path
from nadir.pipeline.processes.supervise import run_group
child = 'import pathlib, time\\n' \\
    'try: print("ready", flush=True); time.sleep(60)\\n' \\
    'except KeyboardInterrupt: time.sleep(0.3); pathlib.Path("saved").touch()'
run_group([sys.executable, '-c', child], cwd=Path(), environment=os.environ, log=Path('log'),
    on_line=lambda line: os.kill(os.getpid(), 9), on_tick=lambda: None)
"""


def test_a_stage_whose_pipeline_is_killed_saves_and_leaves_no_process(tmp_path: Path) -> None:
    read, write = os.pipe()  # every process of the family holds the other end
    code = f"import os; os.environ['FAMILY'] = '{write}'\n" + KILLED_PARENT
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, pass_fds=[write]) as parent:
        os.close(write)
        assert parent.wait() == -signal.SIGKILL
    deadline = time.monotonic() + 120
    while not (tmp_path / "saved").is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "saved").is_file()
    assert os.read(read, 1) == b""
    os.close(read)


def test_carriage_returns_end_lines_and_odd_bytes_do_no_harm(tmp_path: Path) -> None:
    lines: list[str] = []
    code = "import os; os.write(1, b'1/2\\r2/2\\r\\nbad \\xff\\nno newline')"
    assert spawn(code, tmp_path, lines.append) == 0
    assert lines == ["1/2", "2/2", "bad \ufffd", "no newline"]


def test_the_exit_code_is_passed_on(tmp_path: Path) -> None:
    assert spawn("raise SystemExit(7)", tmp_path) == 7


def test_the_environment_is_quiet_and_runs_this_interpreter(
    project: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "somebody-elses")
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    environment = quiet_environment(project.root)
    assert environment["DO_NOT_TRACK"] == "true"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert "MLFLOW_RUN_ID" not in environment
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert environment["PREFECT_HOME"] == str(project.root / "work" / "prefect")


CALLS = """
import sys
from pathlib import Path
from nadir.ground.errors import NadirError
from nadir.pipeline.storage.cache import cache_folder
from nadir.pipeline.graph import changed_stages, stage_graph
from nadir.pipeline.processes.process import run_stage
for call in (stage_graph, changed_stages, cache_folder, lambda root: run_stage("ingest", root)):
    try:
        call(Path.cwd())
    except NadirError as error:
        print(error)
    else:
        print("done")
"""


# What a container knows of a user that is a bare number.
NAMELESS = """
import pwd
def getpwuid(number):
    raise KeyError(f"getpwuid(): uid not found: {number}")
pwd.getpwuid = getpwuid
"""


def test_a_user_without_a_name_is_told_to_set_one_and_then_can_work(
    project: MiniProject, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NAMELESS, encoding="utf-8")
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    names = {"USER", "LOGNAME", "LNAME", "USERNAME"}
    unnamed = {k: v for k, v in os.environ.items() if k not in names} | {"PYTHONPATH": paths}
    told = (
        f"the environment: user {os.getuid()} has no name on this system, and DVC needs one\n"
        "  fix: set USER to any name, e.g. `export USER=nadir`\n"
    )
    assert _calls(unnamed) == told * 4
    assert _calls({**unnamed, "USER": "nadir"}) == "done\n" * 4


def _calls(environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CALLS], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_killed_stage_is_told_with_what_takes_less_memory(project: MiniProject) -> None:
    (project.root / "steps.py").write_text("import os; os.kill(os.getpid(), 9)", encoding="utf-8")
    error = run_stage("ingest", project.root).error
    assert error.startswith("ingest: its process was killed (SIGKILL)")
    assert error.count("fix:") == 1
    again = str(plain_fault("encode", ["failed to run: x, exited with 137"], project.root))
    assert "`encode.batch_size`" in again


@pytest.mark.parametrize(
    "words",
    [
        "failed to reproduce 'bucket': [Errno 28] No space left on device",
        "failed to reproduce 'ingest': No possible cache link types for 'data/a'. See <",
    ],
)
def test_a_disk_that_is_full_for_dvc_is_named_with_a_remedy(
    words: str, project: MiniProject, tmp_path: Path
) -> None:
    (project.root / ".dvc/config").write_text(f"[cache]\n    dir = {tmp_path}\n")
    told = str(plain_fault("bucket", ["the last line", words], project.root))
    assert "least room has " in told
    assert "MiB free)" in told
    assert told.count("fix:") == 1
    assert plain_fault("bucket", ["failed to run: x, exited with 1"], project.root) is None
