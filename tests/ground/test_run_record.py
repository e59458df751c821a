"""One form for every file that holds the id of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from nadir.ground.files import DamagedJsonError, read_json, write_json
from nadir.ground.run_record import RunRecord, read_run, write_run


def test_a_record_comes_back_as_it_was_written_and_says_that_there_is_no_run(
    tmp_path: Path,
) -> None:
    whole = RunRecord("1", "2", "f" * 64, "amber-fox", "sqlite", "KILLED")
    write_run(tmp_path / "whole.json", whole)
    assert read_run(tmp_path / "whole.json") == whole
    write_run(tmp_path / "untracked.json", RunRecord(fingerprint="f"))
    assert read_json(tmp_path / "untracked.json") == {"run_id": None, "fingerprint": "f"}
    assert read_run(tmp_path / "missing.json") == RunRecord()


def test_a_record_beside_other_facts_is_read_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.json"
    write_json(path, {"flow_run_id": "2", "stages": {}, "duration_s": 1.5, "run_id": None})
    assert read_run(path) == RunRecord(flow_run_id="2")
    path.write_text("[1]", encoding="utf-8")
    with pytest.raises(DamagedJsonError, match="not a JSON object"):
        read_run(path)
