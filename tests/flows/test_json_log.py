"""`NADIR_LOG=json` over a whole command: pipeline, stage and DVC."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.mini.project import MiniProject

from nadir.pipeline.processes.process import quiet_environment


def test_a_run_is_objects_of_one_id_and_a_wrong_form_is_told_first(trained: MiniProject) -> None:
    trained.source("other pictures")
    start = ("-c", "from nadir.cli import main; main()")
    command = [sys.executable, *start, "run", "--until", "ingest"]
    (trained.root / "data/sample").mkdir(parents=True)
    for form in ("xml", "json"):
        done = subprocess.run(
            command,
            cwd=trained.root,
            env={**quiet_environment(trained.root), "NADIR_LOG": form},
            capture_output=True,
            text=True,
            check=False,
        )
        if form == "xml":
            assert done.returncode == 1
            assert done.stdout == ""
            assert done.stderr == (
                "error: NADIR_LOG: 'xml' is no form of a log\n"
                "  fix: set it to text or json, or unset it\n"
            )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]
    assert len({line["run"] for line in told}) == 1
    by_text = {line["message"]: line for line in told}
    assert by_text["ingest: 1 file"]["stage"] == "ingest", "the stage's own line, not wrapped twice"
    assert by_text["ingest: executed"]["state"] == "executed"
    log = (trained.root / "work/logs/ingest.log").read_text()
    assert json.loads(next(x for x in log.splitlines() if "1 file" in x))["run"] == told[0]["run"]
