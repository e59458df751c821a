"""Stage tag_statistics: its files, from the manifest alone."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from PIL import Image
from tests.support.manifests import manifest_table, tag_list

from nadir.data.tables import MANIFEST, TAG_PAIRS, TAG_RULES, TAGS, read_table, write_table
from nadir.model.tiny.tokenizer import build_tokenizer
from nadir.stages.tag_statistics import main

if TYPE_CHECKING:
    from pathlib import Path


def write_manifest(folder: Path, images: list[tuple[str, list[tuple[str, str]]]]) -> None:
    table = manifest_table({"split": split, "tags": tag_list(tags)} for split, tags in images)
    write_table(table, folder / "data/manifest.parquet", MANIFEST)
    write_table(TAG_RULES.empty_table(), folder / "data/tag_rules.parquet", TAG_RULES)


@pytest.fixture
def project(tmp_path: Path, params_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    (tmp_path / "params.yaml").write_text(params_text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in ("tokenizer", "tokenizer_2"):
        build_tokenizer(["1girl", "red_hair"]).save_pretrained(tmp_path / "models/base" / name)
    return tmp_path


def test_the_stage_writes_table_metrics_and_plot(project: Path) -> None:
    common, rare = ("1girl", "general"), ("halo, black", "general")
    write_manifest(
        project, [("train", [common])] * 9 + [("train", [common, rare]), ("holdout", [rare])]
    )
    main()
    table = read_table(project / "data/tags.parquet", TAGS).to_pylist()
    assert [(row["tag"], row["count"], row["rarity"]) for row in table] == [
        ("1girl", 10, "head"),
        ("halo, black", 1, "tail"),
    ]
    report = json.loads((project / "reports/tags.json").read_text(encoding="utf-8"))
    assert report["tags"] == 2
    assert report["uses"] == 11
    assert report["classes"] == {"general": {"tags": 2, "uses": 11}}
    assert report["rarity"] == {"head": {"tags": 1, "uses": 10}, "tail": {"tags": 1, "uses": 1}}
    assert report["effective_sample_size"] == 10 * report["effective_sample_size_share"]
    pairs = read_table(project / "data/tag_pairs.parquet", TAG_PAIRS).to_pylist()
    assert pairs == [{"tag": "1girl", "other": "halo, black", "count": 1, "lift": 1.0}]
    for name in ("tag_use", "tag_weights"):
        with Image.open(project / f"reports/{name}.png") as picture:
            assert min(picture.size) > 300
    assert not (project / "work/tag_statistics").exists()
    assert 0 < report["effective_sample_size_share"] < 1
    with (project / "reports/tags.csv").open(encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["rank", "count", "tag", "class"],
            ["1", "10", "1girl", "general"],
            ["2", "1", "halo, black", "general"],
        ]


def test_a_large_vocabulary_is_plotted_at_ranks_even_on_a_log_axis(project: Path) -> None:
    tags = [(f"t{number:04}", "general") for number in range(5000)]
    write_manifest(project, [("train", tags[: 5000 // (image + 1)]) for image in range(20)])
    main()
    lines = (project / "reports/tags.csv").read_text(encoding="utf-8").splitlines()[1:]
    ranks = [int(line.split(",")[0]) for line in lines]
    assert ranks == sorted(set(ranks))
    assert ranks[:50] == list(range(1, 51))
    assert ranks[-1] == 5000
    assert len(ranks) <= 2000


def test_running_again_gives_the_same_bytes(project: Path) -> None:
    write_manifest(
        project, [("train", [(f"t{n % 7}", "general"), ("ann", "artist")]) for n in range(60)]
    )
    names = ("tags.json", "tags.csv", "tag_use.png", "tag_weights.png")
    files = ("data/tags.parquet", "data/tag_pairs.parquet", *(f"reports/{name}" for name in names))
    main()
    first = [(project / name).read_bytes() for name in files]
    main()
    assert [(project / name).read_bytes() for name in files] == first


def test_aliases_and_implications_are_applied(project: Path) -> None:
    write_manifest(project, [("train", [("kitty", "general")]), ("train", [("cat", "general")])])
    rows = [
        {"kind": "alias", "name": "kitty", "tag": "cat"},
        {"kind": "implication", "name": "cat", "tag": "animal"},
    ]
    rules = pa.Table.from_pylist(rows, schema=TAG_RULES)
    write_table(rules, project / "data/tag_rules.parquet", TAG_RULES)
    main()
    table = read_table(project / "data/tags.parquet", TAGS).to_pylist()
    assert [(row["tag"], row["count"]) for row in table] == [("animal", 2), ("cat", 2)]
    report = json.loads((project / "reports/tags.json").read_text(encoding="utf-8"))
    assert report["rules_that_apply"] == 3


def test_captions_that_are_cut_off_are_counted_with_the_tags_they_lose(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = [("1girl", "general"), ("red_hair", "general")]
    # Spelled out in bytes: 20 tokens each, and a comma between them.
    unknown = [(letter * 20, "general") for letter in "abcd"]
    write_manifest(project, [("train", known), ("train", unknown), ("holdout", unknown)])
    text = (project / "params.yaml").read_text(encoding="utf-8")
    (project / "params.yaml").write_text(text.replace("shuffle: true", "shuffle: false"))
    main()
    report = json.loads((project / "reports/tags.json").read_text(encoding="utf-8"))
    assert report["captions"] == {
        "token_limit": 75,
        "images": 2,
        "cut": 1,
        "cut_share": 0.5,
        "longest": 83,
        "most_lost": {"d" * 20: 1},
    }
    assert "WARNING tag_statistics: 50.0% of the captions (1 of 2)" in capsys.readouterr().out
    (project / "params.yaml").write_text(
        text.replace("shuffle: true", "shuffle: false").replace("chunks: 1", "chunks: 2")
    )
    main()
    report = json.loads((project / "reports/tags.json").read_text(encoding="utf-8"))
    assert (report["captions"]["cut"], report["captions"]["most_lost"]) == (0, {})
    assert "WARNING" not in capsys.readouterr().out


def test_a_missing_manifest_ends_the_stage_with_one_clear_error(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "error: data/manifest.parquet: the table is missing" in capsys.readouterr().err


STYLE = b"backend: qtagg\nfigure.facecolor: black\nlines.linewidth: 9\nsavefig.format: pdf\n"


@pytest.mark.parametrize("settings", [STYLE, STYLE + b"font.family: \xff\n"])
def test_charts_are_headless_and_the_same_whatever_the_environment_says_of_matplotlib(
    project: Path, settings: bytes
) -> None:
    write_manifest(project, [("train", [("1girl", "general"), ("fox", "general")])] * 9)
    main()
    charts = {path: path.read_bytes() for path in (project / "reports").glob("*.png")}
    assert len(charts) == 2
    for path in charts:
        path.unlink()
    home = project / "home/.config/matplotlib"
    home.mkdir(parents=True)
    for place in (project / "matplotlibrc", home / "matplotlibrc", project / "named"):
        place.write_bytes(settings)
    hostile = {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # of every `!command` in Jupyter
        "MPLCONFIGDIR": str(project / "params.yaml/no-folder"),
        "MATPLOTLIBRC": str(project / "named"),
        "HOME": str(project / "home"),
        "DISPLAY": "127.0.0.1:99",
        "QT_QPA_PLATFORM": "xcb",
    }
    stage = [sys.executable, "-m", "nadir.stages.tag_statistics"]
    done = subprocess.run(
        stage, env={**os.environ, **hostile}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in charts} == charts
