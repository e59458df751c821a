"""kohya's `10_name` folders, its dataset TOML and its like, and SimpleTuner's backend JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.data.sources.datasets import tar, write
from tests.data.sources.writers.six_posts import of_files, outcome, pixels

from nadir.data.sources.detect import open_source
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path


def kohya_db() -> dict[str, bytes]:
    """As kohya's interface lays a dataset out, with what its scripts leave beside."""
    files: dict[str, bytes] = {}
    for n, folder in enumerate(["10_saber girl", "10_saber girl", "3_style", "3_style"]):
        files[f"img/{folder}/{n}.png"] = pixels(n)
        files[f"img/{folder}/{n}.txt"] = b"mytrigger, 1girl, long hair\n"
        for ending in ("_0200x0300_sdxl.npz", "_sdxl_te.npz", ".npz"):
            files[f"img/{folder}/{n}{ending}"] = b"PK\x03\x04" + bytes(60)
    files |= {f"reg/1_girl/{n}.png": pixels(10 + n) for n in range(2)}
    return files | {
        "model/last.safetensors": bytes(100),
        "log/events.out.tfevents.1": b"x",
        "dataset.toml": b"[general]\n",
        "sample_prompts.txt": b"1girl --w 1024\n",
    }


def test_kohyas_folders_say_how_often_and_what_where_there_is_no_caption(
    tmp_path: Path, root: Path
) -> None:
    found = of_files(tmp_path, kohya_db(), root)
    assert found.reasons == {}
    assert found.repeats == {
        "img/10_saber girl/0.png": 10,
        "img/10_saber girl/1.png": 10,
        "img/3_style/2.png": 3,
        "img/3_style/3.png": 3,
        "reg/1_girl/0.png": 1,
        "reg/1_girl/1.png": 1,
    }
    assert found.tags["img/3_style/3.png"] == ["1girl", "long_hair", "mytrigger"]
    assert found.tags["reg/1_girl/0.png"] == ["girl"]
    assert (
        "repeats in folder names: img/10_saber girl 10 x, img/3_style 3 x, reg/1_girl 1 x, "
        "6 images in all; ingest.folder_repeats 'off' reads no numbers" in found.notes
    )
    assert "2 images without tags are asked for by the name of their folder" in found.notes
    assert "reg/1_girl/ looks like regularisation images" in found.notes


def test_without_folder_repeats_numbers_and_names_of_folders_mean_nothing(
    tmp_path: Path, root: Path
) -> None:
    found = of_files(tmp_path, kohya_db(), root, folder_repeats=False)
    assert set(found.repeats.values()) == {None}
    assert set(found.reasons.values()) == {"no_tags"}
    assert "folder" not in found.notes


def test_words_of_a_folder_read_as_a_text_file_with_them_would(tmp_path: Path, root: Path) -> None:
    names = ["5_saber girl", "5_red hair, artist:someone", "5_", "5_name_with_lines"]
    files = {f"{name}/{n}.png": pixels(n) for n, name in enumerate(names)}
    found = of_files(tmp_path, files, root)
    assert found.tags == {
        "5_saber girl/0.png": ["girl", "saber"],
        "5_red hair, artist:someone/1.png": ["red_hair", "someone"],
        "5_name_with_lines/3.png": ["name_with_lines"],
    }
    assert found.reasons == {"5_/2.png": "no_tags"}


@pytest.mark.parametrize(
    ("folder", "times"),
    [
        ("10_a", 10),
        ("x/2_a/deep", 2),
        ("2_a/7_b", 7),
        ("1000_a", 1000),
        ("4_2023_summer", 4),
        ("2023_summer", None),
        ("9_a/2023_summer", 9),
        ("01_sketches", None),
        ("a10_b", None),
        ("10-b", None),
    ],
)
def test_which_folders_are_numbered(
    tmp_path: Path, root: Path, folder: str, times: int | None
) -> None:
    files = {f"{folder}/x.png": pixels(0), f"{folder}/x.txt": b"1girl"}
    assert of_files(tmp_path, files, root).repeats == {f"{folder}/x.png": times}
    packed = {"all.tar": tar(files)}
    found = of_files(tmp_path / "tar", packed, root)
    assert found.repeats == {f"all.tar::{folder}/x.png": times}


def datasets(folder: Path) -> Path:
    """Folders of images somewhere, with texts of two endings beside them."""
    files: dict[str, bytes] = {}
    for n, name in enumerate(["one", "two", "10_three"]):
        files |= {
            f"{name}/{n}.png": pixels(n),
            f"{name}/{n}.txt": b"from_txt, 1girl",
            f"{name}/{n}.caption": b"from_caption, 1girl",
            f"{name}/sub/{n}.png": pixels(10 + n),
            f"{name}/sub/{n}.txt": b"below, 1girl",
        }
    files |= {"bare/9.png": pixels(9)}
    return write(folder / "pictures", files)


def test_kohyas_dataset_toml_is_a_source(tmp_path: Path, root: Path) -> None:
    folder, file = datasets(tmp_path), tmp_path / "dataset.toml"
    file.write_text(f"""
[general]
shuffle_caption = true
caption_extension = ".txt"
num_repeats = 2

[[datasets]]
resolution = 1024
batch_size = 4
keep_tokens = 1

  [[datasets.subsets]]
  image_dir = '{folder}/one'
  num_repeats = 5

  [[datasets.subsets]]
  image_dir = 'pictures/two'
  caption_extension = ".caption"

  [[datasets.subsets]]
  image_dir = 'pictures/10_three'

  [[datasets.subsets]]
  image_dir = 'pictures/bare'
  class_tokens = 'saber girl'
  is_reg = true
""")
    found = outcome(file, root)
    assert found.reasons == {}
    assert found.tags == {
        "one/5_/0.png": ["1girl", "from_txt"],
        "two/2_/1.png": ["1girl", "from_caption"],
        "10_three/2_/2.png": ["1girl", "from_txt"],
        "bare/2_saber girl/9.png": ["girl", "saber"],
    }
    assert found.repeats == {path: 5 if "one" in path else 2 for path in found.tags}
    assert "not taken over from dataset.toml: batch_size (see train.batch_size)" in found.notes
    for key in ("keep_tokens (see", "resolution (see", "shuffle_caption (see"):
        assert key in found.notes
    assert "3 in subfolders, which the dataset file does not read" in found.notes
    assert "holds regularisation images (is_reg)" in found.notes


def test_a_subset_with_a_metadata_file_is_read_by_it(tmp_path: Path, root: Path) -> None:
    folder, file = datasets(tmp_path), tmp_path / "finetune.toml"
    rows = {f"/old/{name}.png": {"tags": f"1girl, of_{n}"} for n, name in enumerate(["0", "sub/0"])}
    write(tmp_path / "metadata", {"meta_lat.json": json.dumps(rows).encode()})
    file.write_text(f"""
[[datasets]]
[[datasets.subsets]]
image_dir = '{folder}/one'
metadata_file = 'metadata/meta_lat.json'
""")
    found = outcome(file, root)
    assert found.tags["one/1_/0.png"] == ["1girl", "of_0"]
    assert found.format == "kohya"


@pytest.mark.parametrize(
    "text",
    [
        "[[datasets]]\nimage_directory = 'pictures/one'\nnum_repeats = 3\ncaption_extension='.txt'",
        "[[directory]]\npath = 'pictures/one'\nnum_repeats = 3\n",
    ],
    ids=["musubi-tuner", "diffusion-pipe"],
)
def test_tomls_of_kohyas_kin_are_read(tmp_path: Path, root: Path, text: str) -> None:
    datasets(tmp_path)
    (tmp_path / "x.toml").write_text(text)
    found = outcome(tmp_path / "x.toml", root)
    assert found.repeats == {"one/3_/0.png": 3}
    assert "from_txt" in found.tags["one/3_/0.png"]


def test_simple_tuners_backends_are_a_source(tmp_path: Path, root: Path) -> None:
    folder, file = datasets(tmp_path), tmp_path / "multidatabackend.json"
    backends: list[dict[str, Any]] = [
        {"id": "a", "type": "local", "instance_data_dir": f"{folder}/one", "repeats": 4,
         "caption_strategy": "textfile", "resolution": 1.0, "cache_dir_vae": "cache"},
        {"id": "b", "instance_data_dir": "pictures/two", "caption_strategy": "instanceprompt",
         "instance_prompt": "saber, red hair"},
        {"id": "c", "instance_data_dir": "pictures/bare", "caption_strategy": "filename"},
        {"id": "off", "instance_data_dir": "pictures/10_three", "disabled": True},
        {"id": "te", "dataset_type": "text_embeds", "cache_dir": "te"},
        {"id": "hub", "type": "huggingface", "dataset_name": "x/y"},
    ]  # fmt: skip
    file.write_text(json.dumps(backends))
    found = outcome(file, root)
    assert found.reasons == {}
    assert found.tags == {
        "one/5_/0.png": ["1girl", "from_txt"],
        "one/5_/sub/0.png": ["1girl", "below"],
        "two/1_saber, red hair/1.png": ["red_hair", "saber"],
        "two/1_saber, red hair/sub/1.png": ["red_hair", "saber"],
        "bare/1_/9.png": ["9"],
    }
    assert found.repeats == {path: 5 if "one" in path else 1 for path in found.tags}
    assert "not taken over from multidatabackend.json: cache_dir_vae" in found.notes
    assert "off is not read: it is disabled; te is not read: it holds text_embeds" in found.notes
    assert "hub is not read: a place of type huggingface cannot be opened" in found.notes


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("x.toml", "[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'gone'", "gone does not exist"),
        ("x.toml", "[general]\n", r"neither \[\[datasets\]\] nor \[\[directory\]\]"),
        ("x.toml", "[[datasets]]\nresolution = 5", "names no folder of images"),
        ("x.toml", "= what", "the dataset file cannot be read"),
        ("x.json", '{"a": 1}', "it is not a list of data backends"),
        ("x.json", "[" * 100_000, "the dataset file cannot be read"),
        ("x.json", '[{"id": "a", "instance_data_dir": 5}]', "a is not read: a place of type local"),
    ],
)
def test_a_dataset_file_that_cannot_be_read_is_one_clear_error(
    tmp_path: Path, name: str, text: str, says: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(NadirError, match=says):
        open_source(str(tmp_path / name), "auto")
