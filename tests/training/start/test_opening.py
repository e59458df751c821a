"""Files for all processes: made once, by what they are made of, and again when damaged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.training.start.test_mapped_equals_joined import assert_equal, is_mapped, sources_of

from nadir.data.tables import MANIFEST, read_table, write_table
from nadir.ground.errors import NadirError
from nadir.training.start import kept, opening
from nadir.training.start.making import Order, join, make
from nadir.training.start.opening import open_data

if TYPE_CHECKING:
    from nadir.config.train import TrainParams

_OPEN = """
import sys, pickle
from pathlib import Path
from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.training.start import opening
from nadir.training.start.making import Sources
opening.MAPPED_FROM_BYTES = 0
data = Path("data")
names = ("manifest.parquet", "tags.parquet", "tag_rules.parquet", "latents")
sources = Sources(*(data / name for name in names))
found = opening.open_data(sources, read_section("train", TrainParams))
print("images", len(found.samples))
"""


@pytest.fixture
def here(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, whose tables count as large; files are made in this process."""
    monkeypatch.setattr(opening, "MAPPED_FROM_BYTES", 0)
    monkeypatch.setattr(opening, "_make_apart", make)
    return project


def folders(project: Path) -> dict[str, list[Path]]:
    root = project / "work" / kept.FOLDER
    return {kind: sorted(root.glob(f"{kind}-*")) for kind in ("tags", "data")}


def test_small_tables_need_no_files(project: Path, train_params: TrainParams) -> None:
    found = open_data(sources_of(project), train_params)
    assert not is_mapped(found.samples.weights_N)
    assert not (project / "work" / kept.FOLDER).exists()


def test_processes_at_once_make_one_of_each(project: Path) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", _OPEN], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [each.communicate()[0].splitlines() for each in started]
    assert [lines[-1] for lines in said] == ["images 54", "images 54"]
    assert sum("joins tags and latents once" in line for lines in said for line in lines) == 1
    assert [len(found) for found in folders(project).values()] == [1, 1]


def test_a_fault_in_the_data_is_told_as_it_is(
    project: Path, train_params: TrainParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "MAPPED_FROM_BYTES", 0)
    params = train_params.model_copy(update={"repeats": {"no_such_tag": 2}})
    with pytest.raises(NadirError, match="no training image has the tag `no_such_tag`"):
        open_data(sources_of(project), params)
    assert not folders(project)["data"]


def test_other_data_and_other_settings_have_other_files(
    here: Path, train_params: TrainParams
) -> None:
    sources = sources_of(here)
    open_data(sources, train_params)
    open_data(sources, train_params.model_copy(update={"steps": 99, "seed": 5}))
    assert [len(found) for found in folders(here).values()] == [1, 1]
    plain = train_params.model_copy(update={"tag_weighting": False})
    assert (open_data(sources, plain).samples.weights_N == 1).all()
    assert [len(found) for found in folders(here).values()] == [1, 2], "the tags are the same"
    images = read_table(sources.manifest, MANIFEST)
    write_table(images.slice(0, 40), sources.manifest, MANIFEST)
    assert_equal(open_data(sources, plain), join(sources, plain))
    assert [len(found) for found in folders(here).values()] == [2, 3]


@pytest.mark.parametrize("damage", ["shorter", "other bytes", "gone", "no list"])
def test_damaged_files_are_made_again(
    here: Path, train_params: TrainParams, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = sources_of(here)
    open_data(sources, train_params)
    kind, name = ("tags", "tags_codes.npy") if damage == "shorter" else ("data", "weights_N.npy")
    path = folders(here)[kind][0] / name
    if damage == "shorter":
        path.write_bytes(path.read_bytes()[:-4])
    elif damage == "other bytes":
        path.write_bytes(bytes(path.stat().st_size))
    elif damage == "gone":
        path.unlink()
    else:
        (path.parent / "complete.json").write_bytes(b"\0")
    assert_equal(open_data(sources, train_params), join(sources, train_params))
    assert [len(found) for found in folders(here).values()] == [1, 1]
    assert ("is damaged" in capsys.readouterr().out) == (damage == "other bytes")


def test_a_place_that_cannot_be_written_to_costs_time_and_nothing_else(
    here: Path, train_params: TrainParams, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "work").mkdir()
    (here / "work" / kept.FOLDER).write_text("in the way", encoding="utf-8")
    found = open_data(sources_of(here), train_params)
    assert_equal(found, join(sources_of(here), train_params))
    assert not is_mapped(found.samples.weights_N)
    assert "WARNING train:" in capsys.readouterr().out


def test_a_killed_maker_leaves_nothing(here: Path, train_params: TrainParams) -> None:
    root = here / "work" / kept.FOLDER
    half = root / ".data-0.abc.tmp"
    (half / "new").mkdir(parents=True)
    (half / "new" / "weights_N.npy").write_bytes(b"half")
    open_data(sources_of(here), train_params)
    assert not half.exists()


def test_the_four_used_last_stay_and_what_is_mapped_can_be_read(
    here: Path, train_params: TrainParams
) -> None:
    sources = sources_of(here)
    first = open_data(sources, train_params)
    oldest = folders(here)["data"][0]
    for times in range(2, 6):
        params = train_params.model_copy(update={"repeats": {"smile": times}})
        open_data(sources, params)
        assert oldest.exists() == (times < 5)
    assert [len(found) for found in folders(here).values()] == [1, 4]
    assert_equal(first, join(sources, train_params))


def test_files_are_read_once_for_their_hash(tmp_path: Path) -> None:
    file, lacking = tmp_path / "a", tmp_path / "b"
    file.write_bytes(b"one")
    first = kept.content_hashes(tmp_path, [file, lacking])
    assert first["b"] == ""
    note = tmp_path / "hashes.json"
    note.write_text(note.read_text().replace(first["a"], "f" * 64))
    assert kept.content_hashes(tmp_path, [file])["a"] == "f" * 64, "not read again"
    file.write_bytes(b"other")
    assert kept.content_hashes(tmp_path, [file])["a"] not in (first["a"], "f" * 64)
    note.write_bytes(b"\xff")
    file.write_bytes(b"one")
    assert kept.content_hashes(tmp_path, [file]) == {"a": first["a"]}


def test_a_lost_maker_is_named(here: Path, train_params: TrainParams) -> None:
    order = Order(sources_of(here), train_params, here / "tags-1", here / "data-1")
    with pytest.raises(NadirError, match="joins tags and latents timed out") as found:
        opening._lost(order, "timed_out")
    assert "memory" in str(found.value)


def test_time_ids_that_a_batch_changes_are_its_own(here: Path, train_params: TrainParams) -> None:
    ids = open_data(sources_of(here), train_params).samples.time_ids_N6
    taken = ids[np.array([0, 1])]
    taken[0, 0] = -1
    assert ids[0, 0] != -1
