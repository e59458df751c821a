"""Damage in place goes through hard links into DVC's cache: it is found by hash and made good."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.mini.project import MiniProject
from tests.pipeline.test_session import run, states

from nadir.cli.model.models import model_path
from nadir.ground.errors import NadirError
from nadir.pipeline.fingerprint import path_md5
from nadir.pipeline.storage.cache import materialise, require_sound
from nadir.pipeline.storage.objects import cache_folder, damaged_objects, object_path
from nadir.tracking.lock_file import output_hashes, read_lock

WEIGHTS = "models/checkpoint/nadir.json"


@pytest.fixture
def linked(trained: MiniProject, monkeypatch: pytest.MonkeyPatch) -> MiniProject:
    """A trained project whose outputs are hard links into the cache, as the real one's are."""
    monkeypatch.setenv("NADIR_TRACKING", "none")
    trained.dvc("config", "cache.type", "hardlink")
    trained.dvc("checkout", "--relink", "-q")
    assert (trained.root / WEIGHTS).stat().st_nlink == 2
    return trained


def damage(path: Path, *, unseen: bool = False) -> None:
    """Overwrite a byte in place; `unseen` leaves time and mode of the file as they were."""
    status = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        old = file.read(1)
        file.seek(0)
        file.write(bytes([old[0] ^ 1]))
    if unseen:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        path.chmod(0o444)


def add_remote(project: MiniProject) -> None:
    project.dvc("remote", "add", "-q", "-d", "shared", str(project.root.parent / "remote"))
    project.dvc("push", "-q")


def assert_sound(project: MiniProject) -> None:
    cache, lock = cache_folder(project.root), output_hashes(read_lock(project.root))
    assert {path: path_md5(project.root / path) for path in lock} == lock
    assert damaged_objects(lock.values(), cache) == []
    names = [path.parent.name + path.name for path in cache.glob("??/*")]
    assert damaged_objects(names, cache) == []


@pytest.mark.parametrize("unseen", [False, True], ids=["seen", "with the old time"])
def test_damaged_weights_are_trained_again_where_no_remote_has_them(
    linked: MiniProject, unseen: bool
) -> None:
    weights = linked.root / WEIGHTS
    sound = weights.read_bytes()
    shared = linked.root / "work/training/abc/output" / weights.name
    shared.parent.mkdir(parents=True)
    os.link(weights, shared)  # as `train` leaves its outputs, to publish them again
    damage(weights, unseen=unseen)
    lines: list[str] = []
    session = run(linked, on_line=lines.append)
    assert states(session)["train"] == "executed"
    assert weights.read_bytes() == sound
    assert "models/checkpoint: damaged, nadir.json is not what dvc.lock says" in "\n".join(lines)
    assert not shared.exists()
    assert_sound(linked)
    assert states(run(linked, "two"))["train"] == "unchanged"


@pytest.mark.parametrize("name", ["models/checkpoint", WEIGHTS])
def test_a_file_for_a_folder_or_a_folder_for_a_file_is_damage_like_any_other(
    linked: MiniProject, name: str
) -> None:
    path = linked.root / name
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("a link that some program did not follow")
    else:
        path.unlink()
        path.mkdir()
    assert states(run(linked))["train"] == "restored"
    assert_sound(linked)


def test_damaged_outputs_of_any_stage_are_fetched_where_a_remote_has_them(
    linked: MiniProject,
) -> None:
    add_remote(linked)
    changed = [WEIGHTS, "data/latents/a-b", "models/base/vae/w", "reports/evaluation.html"]
    for name in changed:
        damage(linked.root / name)
    found = states(run(linked))
    for stage in ("encode", "base_model", "train", "evaluate"):
        assert found[stage] == "restored", stage
    assert_sound(linked)


def test_a_damaged_cache_does_not_bring_damage_back(linked: MiniProject) -> None:
    cache, lock = cache_folder(linked.root), output_hashes(read_lock(linked.root))
    weights = linked.root / WEIGHTS
    sound = weights.read_bytes()
    damage(weights, unseen=True)
    weights.unlink()  # the workspace is to be restored, from what is damaged
    page = linked.root / "reports/evaluation.html"
    damage(page)
    page.unlink()
    damage(object_path(lock["data/latents"], cache))  # the list of a folder's files
    found = states(run(linked))
    assert (found["train"], found["evaluate"]) == ("executed", "executed")
    assert found["encode"] == "unchanged", "its list is written again from the files"
    assert weights.read_bytes() == sound
    assert_sound(linked)


def test_damaged_weights_are_neither_drawn_nor_exported_nor_registered(
    linked: MiniProject,
) -> None:
    md5 = output_hashes(read_lock(linked.root))["models/checkpoint"]
    damage(linked.root / WEIGHTS, unseen=True)
    with pytest.raises(NadirError, match=r"the checkpoint is damaged.* nadir\.json") as caught:
        model_path("models/checkpoint")
    assert "`nadir run` fetches it" in caught.value.fix
    assert not (linked.root / WEIGHTS).exists(), "so that DVC sees that it is to be made again"
    with pytest.raises(NadirError, match="neither in DVC's cache nor in its remote"):
        materialise(md5, linked.root)
    assert states(run(linked))["train"] == "executed", "as the error said"
    assert model_path("models/checkpoint") == Path("models/checkpoint")
    require_sound(linked.root)


def test_a_version_whose_cached_weights_are_damaged_is_drawn_from_the_remote(
    linked: MiniProject,
) -> None:
    add_remote(linked)
    sound = (linked.root / WEIGHTS).read_bytes()
    md5 = output_hashes(read_lock(linked.root))["models/checkpoint"]
    damage(linked.root / WEIGHTS, unseen=True)
    folder = materialise(md5, linked.root)
    assert (folder / "nadir.json").read_bytes() == sound
    damage(folder / "nadir.json", unseen=True)
    (linked.root.parent / "remote").rename(linked.root.parent / "away")
    with pytest.raises(NadirError, match="damaged in DVC's cache and not in its remote") as caught:
        materialise(md5, linked.root)
    assert caught.value.fix == "`nadir run` makes it again"
