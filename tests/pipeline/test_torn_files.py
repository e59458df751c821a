"""What a power cut leaves empty or half-written stops no run for ever."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.mini.project import STAGES, MiniProject

from nadir.ground.errors import NadirError
from nadir.ground.files import DamagedJsonError, read_json, write_text
from nadir.pipeline.graph import closed_repository, stage_graph
from nadir.pipeline.opening import open_session
from nadir.pipeline.processes.process import run_stage
from nadir.pipeline.record import executions, last_run
from nadir.pipeline.status import read_status
from nadir.pipeline.storage.cleaning import clean
from nadir.pipeline.storage.torn_files import mend_torn_files


def empty(_data: bytes) -> bytes:
    return b""


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def zeros(data: bytes) -> bytes:
    return bytes(len(data))  # blocks that were never written


TEARS = (empty, half, zeros)


def tear(path: Path, how: Callable[[bytes], bytes]) -> None:
    path.write_bytes(how(path.read_bytes()))


def states(project: MiniProject, until: str | None = None) -> dict[str, str]:
    with open_session(project.root, until=until, flow_run_id="two", name="fox") as session:
        for stage in session.stages:
            session.run(stage)
    return {name: result.state for name, result in session.results.items()}


def readers(**places: Any) -> str:
    return json.dumps({"read": {}, "write": places})


@pytest.mark.parametrize("how", TEARS)
def test_dvcs_torn_list_of_writers_is_removed_by_whoever_holds_the_workspace(
    trained: MiniProject, how: Callable[[bytes], bytes]
) -> None:
    path = trained.root / ".dvc/tmp/rwlock"
    path.write_text(readers(), encoding="utf-8")
    tear(path, how)
    for lock in ("lock", "rwlock.lock"):
        (trained.root / ".dvc/tmp" / lock).write_bytes(b"")
    mend_torn_files(trained.root)
    assert not path.exists()
    if how is empty:
        assert states(trained, "ingest") == {"ingest": "executed"}


def test_a_list_of_another_form_is_removed_and_a_sound_one_stays(trained: MiniProject) -> None:
    path = trained.root / ".dvc/tmp/rwlock"
    for broken in ("[]", "null", '{"write": {"a": 1}}'):
        path.write_text(broken, encoding="utf-8")
        mend_torn_files(trained.root)
        assert not path.exists(), broken
    sound = readers(a={"pid": os.getpid(), "cmd": "dvc repro"})
    path.write_text(sound, encoding="utf-8")
    mend_torn_files(trained.root)
    assert path.read_text(encoding="utf-8") == sound


def test_a_writer_whose_number_another_process_got_since_blocks_nothing(
    trained: MiniProject,
) -> None:
    path = trained.root / ".dvc/tmp/rwlock"
    listing = str(trained.root / "data/listing.txt")
    path.write_text(readers(**{listing: {"pid": os.getpid(), "cmd": "dvc"}}), encoding="utf-8")
    before = time.time() - 30 * 86400  # this process did not run then
    os.utime(path, (before, before))
    assert states(trained, "ingest") == {"ingest": "executed"}


def test_an_empty_lock_file_is_made_anew_from_dvcs_cache(trained: MiniProject) -> None:
    tear(trained.root / "dvc.lock", zeros)
    found = states(trained)
    assert found.pop("ingest") == "executed"
    assert set(found.values()) == {"restored"}


def test_a_damaged_lock_file_is_one_error_whose_remedy_works(trained: MiniProject) -> None:
    path = trained.root / "dvc.lock"
    whole = path.read_bytes()
    for damaged in (whole[: whole.index(b"md5") + 1], b"\xff" + whole, b"stages: []\n"):
        path.write_bytes(damaged)
        for ask in (lambda: states(trained), lambda: states(trained, "ingest")):
            with pytest.raises(NadirError, match=r"dvc\.lock: the file is damaged") as told:
                ask()
            assert "delete the file" in told.value.fix
    path.unlink()
    assert states(trained, "encode") == {"ingest": "executed", "encode": "restored"}


def test_a_stop_while_dvc_writes_its_lock_file_leaves_it_as_it_was(trained: MiniProject) -> None:
    lock = trained.root / "dvc.lock"
    whole = lock.read_bytes()
    torn = whole[: whole.rindex(b"md5")]
    program = f"import pathlib; pathlib.Path('dvc.lock').write_bytes({torn!r}); exit(1)"
    (trained.root / "steps.py").write_text(program, encoding="utf-8")
    assert run_stage("ingest", trained.root).state == "failed"
    assert lock.read_bytes() == whole
    lock.unlink()
    assert run_stage("ingest", trained.root).state == "failed"
    assert not lock.exists()


@pytest.mark.parametrize("how", TEARS)
def test_what_dvc_remembers_is_found_out_again_when_its_database_is_torn(
    trained: MiniProject, how: Callable[[bytes], bytes]
) -> None:
    stage_graph(trained.root)  # DVC opens its databases
    folder = Path(closed_repository(trained.root).site_cache_dir)
    databases = list(folder.rglob("cache.db"))
    assert len(databases) == 2
    for path in databases:
        tear(path, how)
    if how is half:
        with pytest.raises(NadirError, match="what DVC remembers is damaged") as told:
            stage_graph(trained.root)
        assert told.value.where == str(folder)
    mend_torn_files(trained.root)
    assert list(stage_graph(trained.root)) == STAGES


@pytest.mark.parametrize("how", TEARS)
def test_torn_records_of_earlier_runs_cost_that_history_only(
    trained: MiniProject, how: Callable[[bytes], bytes]
) -> None:
    folder = trained.root / "work/pipeline"
    (folder / "runs").mkdir(parents=True)
    files = [folder / name for name in ("last.json", "executions.json", "runs/killed.json")]
    for path in files:
        path.write_text('{"status": "running", "run_id": "1"}', encoding="utf-8")
        tear(path, how)
    assert last_run(trained.root) == executions(trained.root) == {}
    assert [row["state"] for row in read_status(trained.root)["stages"]] == [None] * 6
    assert states(trained, "ingest") == {"ingest": "executed"}
    assert last_run(trained.root)["status"] == "finished"
    assert not list((folder / "runs").iterdir())


@pytest.mark.parametrize("how", [*TEARS, lambda _: b"null", lambda _: b"[1]"])
def test_status_tells_which_result_is_torn_and_shows_all_others(
    trained: MiniProject, how: Callable[[bytes], bytes]
) -> None:
    torn = ["models/run.json", "reports/evaluation.json", "reports/training.json"]
    for name in torn:
        path = trained.root / name
        data = path.read_bytes()
        path.unlink()  # shared with DVC's cache
        path.write_bytes(how(data))
    for name in ("manifest", "quarantine", "buckets"):
        (trained.root / f"data/{name}.parquet").write_bytes(how(b"PAR1 and so on"))
    found = read_status(trained.root)
    rows = {row["name"]: row for row in found["stages"]}
    assert rows["train"]["differs"] == ["models/run.json", "reports/training.json"]
    assert rows["evaluate"]["differs"] == ["reports/evaluation.json"]
    assert rows["encode"]["up_to_date"]
    assert found["verdict"] is found["training"]["steps"] is found["images"]["used"] is None
    assert found["metrics"] == {}


def test_a_record_of_another_form_is_history_only(trained: MiniProject) -> None:
    write_text(trained.root / "work/pipeline/last.json", '{"stages": null}')
    assert last_run(trained.root) == {}


@pytest.mark.parametrize(
    ("name", "data", "where"),
    [
        ("dvc.yaml", b"", "dvc.yaml"),
        ("dvc.yaml", b"stages:\n", "dvc.yaml"),
        ("params.yaml", b"ingest: {sour", "params.yaml"),
        ("params.yaml", bytes(40), "params.yaml"),
        (".dvc/config", b"[core\nremote = x", ".dvc"),
        (".dvc/config.local", bytes(40), ".dvc"),
    ],
)
def test_a_torn_file_of_the_users_is_one_error_that_names_it(
    trained: MiniProject, name: str, data: bytes, where: str
) -> None:
    (trained.root / name).write_bytes(data)
    looks = [read_status, lambda _root: states(trained), *([clean] if where == ".dvc" else [])]
    for look in looks:
        with pytest.raises(NadirError) as told:
            look(trained.root)
        assert told.value.where == str(trained.root / where)
        assert "git checkout" in told.value.fix


@pytest.mark.parametrize("lock", ["[]", '{"read": {"a": 5}, "write": {"b": 7}}'])
def test_a_list_of_writers_of_another_form_stops_no_cleaning(
    trained: MiniProject, lock: str
) -> None:
    write_text(trained.root / ".dvc/tmp/rwlock", lock)
    assert clean(trained.root, dry_run=True).objects == 0


@pytest.mark.parametrize("how", TEARS)
def test_a_torn_json_file_is_named_with_what_to_do(
    tmp_path: Path, how: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "training.json"
    path.write_text('{"steps": 3}', encoding="utf-8")
    tear(path, how)
    with pytest.raises(DamagedJsonError, match=r"training\.json: not valid JSON") as told:
        read_json(path)
    assert "delete it and run" in told.value.fix
