"""Ten nights in one process: processes, handles, memory and disk, and what cleaning frees."""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path

import psutil
import pytest
from bench.results import ROOT, table, write_section
from tests.mini.project import MiniProject

from nadir.pipeline.opening import open_session
from nadir.pipeline.storage.cleaning import clean
from nadir.pipeline.storage.objects import cache_folder, object_path, objects_of
from nadir.tracking.registry.all_versions import registered_versions

PAGE = ROOT / "docs" / "results" / "ten_nights.md"
_HEAD = """\
# Ten nights, one after another

Ten pipelines over new data each, in one process. After each all that it may have left is counted;
after the last, `nadir clean`.
"""
NIGHTS = 10
# The second is judged beside the first, by libraries that keep what they opened.
REGISTERED = (1, 2, NIGHTS)
COUNTED = ("child processes", "temporary files", "file handles", "ports", "memory, MiB")
PLACES = (".dvc/cache", "work/mlflow", "work/training", "work/evaluations", ".git")


def kib(root: Path) -> dict[str, int]:
    """Room on disk of each place and of all, a file of several names counted once."""

    def room(place: Path) -> int:
        files = [path.lstat() for path in place.rglob("*")]
        return sum({f.st_ino: f.st_blocks for f in files}.values()) // 2

    return {name: room(root / name) for name in PLACES} | {"all": room(root)}


def night(project: MiniProject, number: int) -> dict[str, int]:
    """Run one; what there is afterwards."""
    project.source(f"pictures of night {number}")
    until = None if number in REGISTERED else "evaluate"
    name = f"night-{number}"
    with open_session(project.root, until=until, flow_run_id=name, name=name) as session:
        states = {stage: session.run(stage).state for stage in session.stages}
        if session.registers:
            session.register()
    assert states["train"] == "executed"
    gc.collect()
    me = psutil.Process()
    listening = [c for c in me.net_connections() if c.status == psutil.CONN_LISTEN]
    counts = (
        len(me.children(recursive=True)),
        len(list(Path(tempfile.gettempdir()).iterdir())),
        me.num_fds(),
        len(listening),
        me.memory_info().rss >> 20,
    )
    return {**dict(zip(COUNTED, counts, strict=True)), **kib(project.root)}


@pytest.mark.evidence
@pytest.mark.timeout(7200)
def test_ten_nights_leave_results_alone_and_cleaning_keeps_what_versions_need(
    project: MiniProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NADIR_TRACKING", "none")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    Path(os.environ["TMPDIR"]).mkdir()
    nights = [night(project, number + 1) for number in range(NIGHTS)]
    for name in COUNTED[:-1]:
        # What the libraries open once and keep is there after the second night.
        assert nights[-1][name] <= nights[1][name], name
    assert nights[-1]["memory, MiB"] <= 1.05 * nights[1]["memory, MiB"]
    done = clean(project.root, keep_days=0)
    cleaned, versions = kib(project.root), registered_versions(project.root)
    assert len(versions) == len(REGISTERED)
    assert cleaned["all"] < nights[-1]["all"]
    for version in versions:
        names = objects_of(version.md5, cache_folder(project.root))
        assert names
        assert all(object_path(md5, cache_folder(project.root)).is_file() for md5 in names.values())
    _write(nights, cleaned, done.freed, len(done.runs.ids))


def _write(nights: list[dict[str, int]], cleaned: dict[str, int], freed: int, runs: int) -> None:
    rows = [[name, *(str(nights[i][name]) for i in (0, 1, 4, 9))] for name in COUNTED]
    counts = table(["after night", "1", "2", "5", "10"], rows)
    rows = []
    for name, left in cleaned.items():
        first, last = nights[1][name], nights[9][name]
        grown = f"{(last - first) / 8:.0f}"
        rows.append([f"`{name}`", str(nights[0][name]), str(last), grown, str(left)])
    grown_table = table(["KiB on disk", "night 1", "night 10", "a night", "cleaned"], rows)
    body = (
        "The project is the tests' small one, without Prefect, and three of the nights register a "
        f"version.\n\n{counts}\n\n{grown_table}\n\n`nadir clean --keep-days 0` freed "
        f"{freed >> 10} KiB, {runs} MLflow runs among it. Every file of the weights of the "
        "registered versions was there afterwards."
    )
    write_section(PAGE, _HEAD, "one machine, embedded", body, command="make evidence")
