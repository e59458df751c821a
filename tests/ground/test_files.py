"""Files are whole or absent; errors say where, what and how to fix."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nadir.ground.errors import NadirError, disk_full_error, exhausted_error
from nadir.ground.events import Progress, emit, read_events
from nadir.ground.files import (
    atomic_folder,
    atomic_path,
    canonical_hash,
    file_hash,
    link_or_copy,
    link_tree,
    write_json,
    write_text,
)
from nadir.ground.workspace import main_workspace, project_root


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(RuntimeError, match="boom"), atomic_path(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise RuntimeError("boom")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_replaces_a_hard_link_and_spares_the_cache(tmp_path: Path) -> None:
    cached, path = tmp_path / "cached", tmp_path / "out.json"
    cached.write_text("cached", encoding="utf-8")
    os.link(cached, path)
    write_json(path, {"a": 1})
    assert cached.read_text(encoding="utf-8") == "cached"


def test_json_is_deterministic_and_refuses_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [1.5]})
    write_json(tmp_path / "b.json", {"a": [1.5], "b": 1})
    assert file_hash(tmp_path / "a.json") == file_hash(tmp_path / "b.json")
    assert canonical_hash({"b": 1, "a": 2}) == canonical_hash({"a": 2, "b": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "c.json", {"a": float("nan")})
    assert not (tmp_path / "c.json").exists()


def test_an_error_says_where_what_and_how_to_fix() -> None:
    error = NadirError("no images", where="data/x", fix="add some")
    assert str(error) == "data/x: no images\n  fix: add some"
    assert str(NadirError("no images")) == "no images"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EFBIG, "File too large"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        RuntimeError("I/O error: Disk quota exceeded (os error 122)"),
        RuntimeError("I/O error: File too large (os error 27)"),
        sqlite3.OperationalError("database or disk is full"),
    ],
)
def test_a_full_disk_is_recognised_in_any_library(error: Exception) -> None:
    told = disk_full_error(error, where="encode")
    assert told is not None
    assert "no disk space left" in str(told)


@pytest.fixture
def few_inodes(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for megabytes, and for four more files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=8m,nr_inodes=5", "nadir-test", str(folder)]
    try:
        subprocess.run(["mount", *options], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("named", [True, False])
def test_a_disk_without_inodes_is_told_as_that_and_not_as_full(
    named: bool, few_inodes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        for number in range(9):
            write_text(few_inodes / f"{number}.txt", "text")
    for name in ("dvc.yaml", "params.yaml"):
        (few_inodes.parent / name).touch()
    monkeypatch.chdir(few_inodes.parent)
    error = caught.value if named else OSError(errno.ENOSPC, "No space left on device")
    told = str(disk_full_error(error, where="encode", written=[few_inodes]))
    assert "none of its 5 inodes is free, though 8.0 MiB are" in told
    assert "df -i" in told
    assert "nadir clean" not in told
    assert ("least room has " in told) == (not named)


def test_other_errors_are_not_taken_for_a_full_disk() -> None:
    assert disk_full_error(OSError(errno.ENOENT, "gone"), where="encode") is None


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB.\nA long advice"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_used_up_memory_is_recognised_in_any_library(error: Exception, is_it: bool) -> None:
    told = exhausted_error(error, where="train")
    assert (told is not None) == is_it
    assert "long advice" not in str(told)
    assert not is_it or "train: no memory left (" in str(told)


def test_events_are_read_back_whole_lines_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "events.jsonl"
    emit("stage_started", stage="x")
    assert not target.exists()
    monkeypatch.setenv("NADIR_EVENTS", str(target))
    emit("stage_started", stage="x")
    with target.open("a", encoding="utf-8") as file:
        file.write('{"kind": "half')
    events, offset = read_events(target)
    assert [event["kind"] for event in events] == ["stage_started"]
    assert read_events(target, offset) == ([], offset)


def test_progress_tells_rate_and_eta_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NADIR_EVENTS", str(tmp_path / "events.jsonl"))
    assert list(Progress("encode", 3, "images").over("abc")) == ["a", "b", "c"]
    assert "encode: 3/3 images" in capsys.readouterr().out
    events, _ = read_events(tmp_path / "events.jsonl")
    assert (events[-1]["done"], events[-1]["total"], events[-1]["eta_s"]) == (3, 3, 0.0)


def test_the_project_is_found_from_below_and_its_absence_is_told(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "params.yaml").touch()
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert project_root(below) == tmp_path.resolve()
    with pytest.raises(NadirError, match="no Nadir project here"):
        project_root(Path("/"))


def test_an_experiment_workspace_knows_the_main_one(tmp_path: Path) -> None:
    experiment = tmp_path / ".dvc" / "tmp" / "exps" / "standalone" / "abc"
    experiment.mkdir(parents=True)
    assert main_workspace(experiment) == tmp_path
    assert main_workspace(tmp_path) == tmp_path


def test_a_folder_is_replaced_as_a_whole_or_stays(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with atomic_folder(folder) as new:
        (new / "a").write_text("1")
    with pytest.raises(RuntimeError, match="boom"), atomic_folder(folder) as new:
        (new / "b").write_text("2")
        raise RuntimeError("boom")
    assert [path.name for path in folder.iterdir()] == ["a"]
    with atomic_folder(folder) as new:
        (new / "c").write_text("3")
    assert [path.name for path in folder.iterdir()] == ["c"]
    assert list(tmp_path.iterdir()) == [folder]


def test_links_share_a_file_and_spare_one_that_is_there(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "deep/b"
    source.write_text("one")
    link_or_copy(source, target)
    assert target.samefile(source)
    other = tmp_path / "other"
    other.write_text("two")
    link_or_copy(other, target)
    assert target.read_text() == "one"


def test_where_the_disk_refuses_links_files_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "from/deep").mkdir(parents=True)
    (tmp_path / "from/deep/a").write_text("one")
    link_tree(tmp_path / "from", tmp_path / "to")
    assert (tmp_path / "to/deep/a").read_text() == "one"
    assert not (tmp_path / "to/deep/a").samefile(tmp_path / "from/deep/a")
