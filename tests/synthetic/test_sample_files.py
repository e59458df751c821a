from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from nadir.cli.dataset.sample_data import sample_data
from nadir.ground.errors import NadirError
from nadir.synthetic import make_dataset
from nadir.synthetic.dataset import MARKER, faults, sample_file

if TYPE_CHECKING:
    from pathlib import Path

_ENDINGS = {".png", ".jpg", ".webp"}


def _digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in _ENDINGS)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "pictures"
    make_dataset(folder, images=50, seed=7, workers=1)
    return folder


def test_the_same_seed_gives_the_same_bytes_however_many_processes_draw(
    sample: Path, tmp_path: Path
) -> None:
    make_dataset(tmp_path / "again", images=50, seed=7, workers=2)
    assert _digests(tmp_path / "again") == _digests(sample)


def test_another_seed_gives_other_pictures() -> None:
    first, second = (sample_file(3, seed=seed, images=10) for seed in (0, 1))
    assert set(first.values()).isdisjoint(second.values())


def test_a_picture_does_not_depend_on_how_many_others_there_are() -> None:
    assert sample_file(3, seed=0, images=10) == sample_file(3, seed=0, images=2000)


def test_the_dataset_has_as_many_pictures_as_asked_for(sample: Path) -> None:
    assert len(_pictures(sample)) == 50


def test_all_three_formats_occur_and_files_hold_what_their_ending_says(sample: Path) -> None:
    seen = set()
    for path in set(_pictures(sample)) - set(_faulty(sample, "truncated")):
        with Image.open(path) as image:
            assert image.format == {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}[path.suffix]
            seen.add(image.format)
    assert len(seen) == 3


def _faulty(sample: Path, fault: str) -> list[Path]:
    numbers = [number for number, kind in faults(50).items() if kind == fault]
    assert numbers
    return [path for path in _pictures(sample) if int(path.stem) in numbers]


def test_truncated_pictures_do_not_decode(sample: Path) -> None:
    for path in _faulty(sample, "truncated"):
        with pytest.raises(OSError, match=r"truncated|decoder"), Image.open(path) as image:
            image.load()


def test_all_pictures_but_the_truncated_ones_decode(sample: Path) -> None:
    for path in set(_pictures(sample)) - set(_faulty(sample, "truncated")):
        with Image.open(path) as image:
            image.load()


def test_the_duplicate_has_the_bytes_of_the_picture_before_it(sample: Path) -> None:
    (path,) = _faulty(sample, "duplicate")
    earlier = _pictures(sample)[int(path.stem) - 1]
    assert path.read_bytes() == earlier.read_bytes()


def test_one_picture_has_no_tag_file_and_one_an_empty_one(sample: Path) -> None:
    (without,) = _faulty(sample, "no_tags")
    (empty,) = _faulty(sample, "empty_tags")
    assert not without.with_suffix(".txt").exists()
    assert empty.with_suffix(".txt").read_text() == ""


def test_one_picture_is_a_single_pixel(sample: Path) -> None:
    (path,) = _faulty(sample, "one_pixel")
    with Image.open(path) as image:
        assert image.size == (1, 1)


def test_small_datasets_have_no_bad_files() -> None:
    assert faults(49) == {}
    assert len(faults(50)) == len(faults(2000)) == 6


def test_an_earlier_sample_is_replaced_as_a_whole(tmp_path: Path) -> None:
    make_dataset(tmp_path / "s", images=5, seed=0, workers=1)
    make_dataset(tmp_path / "s", images=2, seed=0, workers=1)
    assert len(_pictures(tmp_path / "s")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "000000.png").write_bytes(b"mine")
    with pytest.raises(NadirError, match="nothing shows that its files are sample data"):
        make_dataset(tmp_path, images=2, seed=0)
    assert (tmp_path / "000000.png").read_bytes() == b"mine"


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(NadirError, match="this is a file"):
        make_dataset(tmp_path / "taken", images=2, seed=0)


def test_no_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NadirError, match="cannot make 0 images"):
        make_dataset(tmp_path / "s", images=0, seed=0)


def test_the_command_fills_the_folder_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample_data(str(tmp_path / "s"), images=2, seed=3)
    assert (tmp_path / "s" / MARKER).is_file()
    assert len(_pictures(tmp_path / "s")) == 2
    assert "2 pictures with tags" in capsys.readouterr().out
