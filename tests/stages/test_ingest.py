"""The ingest stage lists the source the parameters name."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from tests.support.hostile import encoded, picture

from nadir.data import tables
from nadir.stages import ingest, validate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path, root: Path, params_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose source is `images`, with two tagged images."""
    shutil.copy(root / "dvc.yaml", tmp_path)
    text = params_text.replace("source: data/sample", "source: images")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "images").mkdir()
    for index in range(2):
        (tmp_path / "images" / f"{index}.png").write_bytes(encoded(picture(index), "PNG"))
        (tmp_path / "images" / f"{index}.txt").write_text("1girl, solo")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stage(project: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nadir.stages.ingest"]
    return subprocess.run(
        command,
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_listing_names_each_image_and_its_tags(project: Path) -> None:
    events = project / "events.jsonl"
    done = stage(project, NADIR_EVENTS=str(events))
    assert done.returncode == 0, done.stderr
    assert "ingest: 2 images" in done.stdout
    rows = tables.read_table(project / "data/listing.parquet", tables.LISTING).to_pylist()
    assert [(row["path"], row["tags_path"]) for row in rows] == [
        ("0.png", "0.txt"),
        ("1.png", "1.txt"),
    ]
    results = [json.loads(line) for line in events.read_text().splitlines()]
    result = next(event for event in results if event["kind"] == "result")
    assert (result["images"], result["with_tags"]) == (2, 2)


def test_an_unchanged_source_gives_equal_bytes_wherever_it_lies(project: Path) -> None:
    ingest.work()
    first = (project / "data/listing.parquet").read_bytes()
    ingest.work()
    assert (project / "data/listing.parquet").read_bytes() == first
    (project / "images").rename(project / "elsewhere")
    text = (project / "params.yaml").read_text().replace("source: images", "source: elsewhere")
    (project / "params.yaml").write_text(text)
    ingest.work()
    assert (project / "data/listing.parquet").read_bytes() == first


def test_dvcs_temporary_experiments_read_the_main_workspaces_source(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = project / ".dvc/tmp/exps/tmp1"
    temporary.mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(project / name, temporary)
    monkeypatch.chdir(temporary)
    ingest.work()
    assert tables.read_table(temporary / "data/listing.parquet", tables.LISTING).num_rows == 2


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "images does not exist"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "no image files in"),
    ],
)
def test_a_missing_or_empty_folder_is_one_clear_error(
    project: Path, spoil: object, message: str
) -> None:
    assert callable(spoil)
    spoil(project / "images")
    done = stage(project)
    assert done.returncode == 1
    assert done.stderr.startswith("error: params.yaml ingest.source: ")
    assert message in done.stderr
    assert "fix: set it to a folder with images" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / "data/listing.parquet").exists()


def test_a_broken_table_beside_a_sound_one_is_said_aloud(project: Path) -> None:
    (project / "images/metadata.jsonl").write_text('{"file_name": "0.png", "text": "solo"}\n')
    (project / "images/sub").mkdir()
    (project / "images/sub/metadata.parquet").write_bytes(b"")
    done = stage(project)
    assert done.returncode == 0, done.stderr
    assert "WARNING ingest: the rows of sub/metadata.parquet are left out: " in done.stdout
    assert "cannot be used (bad_archive 1)" in done.stdout


def set_ingest(project: Path, **values: str) -> None:
    text = (project / "params.yaml").read_text()
    for key, value in values.items():
        text, found = re.subn(rf"(?m)^  {key}: \S+", f"  {key}: {value}", text, count=1)
        assert found
    (project / "params.yaml").write_text(text)


def make_booru(project: Path) -> None:
    posts = [
        {"id": 7, "md5": "a", "rating": "q", "tag_string_artist": "me", "tag_string": "x y"},
        {"id": 0, "rating": "g", "tags": "1girl some_thing"},
        {"id": 9, "tags": "x"},
    ]
    text = "".join(json.dumps(post) + "\n" for post in posts)
    (project / "images" / "posts.jsonl").write_text(text)
    (project / "images" / "a.png").write_bytes(encoded(picture(5), "PNG"))
    # A text's own list of tags would go before the row's.
    for name in ("0.txt", "1.txt"):
        (project / "images" / name).unlink()


def test_the_layout_is_named_and_carried_to_the_report(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_booru(project)
    (project / "classes.csv").write_text("tag,class\nsome_thing,copyright\n1girl,meta\n")
    set_ingest(project, tag_table="classes.csv")
    ingest.work()
    said = capsys.readouterr().out
    assert "ingest: classes of 2 tags from classes.csv" in said
    assert "WARNING ingest: 1 more are named but cannot be used (missing_image 1)" in said
    assert re.search(r"ingest: 3 images \(.* MB\), 2 with tags, in images \(booru\)", said)
    assert json.loads((project / "data/source.json").read_text()) == {"format": "booru"}
    validate.work()
    assert "layout <code>booru</code>" in (project / "reports/validation.html").read_text()
    rows = tables.read_table(project / "data/manifest.parquet", tables.MANIFEST).to_pylist()
    found = {row["record_id"]: row for row in rows}
    assert {key: row["rating"] for key, row in found.items()} == {
        "0": "general",
        "7": "questionable",
    }
    # The flat list and the lists by class together; the source's own class, the table's, and the
    # table's before the vocabulary's.
    assert [tuple(tag.values()) for tag in found["7"]["tags"]] == [
        ("x", "general"),
        ("y", "general"),
        ("me", "artist"),
    ]
    assert [tuple(tag.values()) for tag in found["0"]["tags"]] == [
        ("1girl", "meta"),
        ("some_thing", "copyright"),
    ]
    rows = tables.read_table(project / "data/quarantine.parquet", tables.QUARANTINE).to_pylist()
    assert {row["path"]: row["reason"] for row in rows} == {
        "posts.jsonl#000003": "missing_image",
        "1.png": "no_tags",
    }


def test_the_layout_can_be_stated(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_booru(project)
    set_ingest(project, format="folder")
    ingest.work()
    assert "ingest: 3 images" in (said := capsys.readouterr().out)
    assert "(folder)" in said


def test_a_changed_tag_table_changes_what_validate_depends_on(project: Path) -> None:
    (project / "classes.csv").write_text("tag,class\na,artist\n")
    set_ingest(project, tag_table="classes.csv")
    ingest.work()
    first = (project / "data/tag_classes.parquet").read_bytes()
    ingest.work()
    assert (project / "data/tag_classes.parquet").read_bytes() == first
    (project / "classes.csv").write_text("tag,class\na,meta\n")
    ingest.work()
    assert (project / "data/tag_classes.parquet").read_bytes() != first


def test_a_wrong_tag_table_is_one_clear_error(project: Path) -> None:
    (project / "classes.csv").write_text("tag,class\na,painter\n")
    set_ingest(project, tag_table="classes.csv")
    done = stage(project)
    assert done.returncode == 1
    assert "classes.csv line 2: unknown class 'painter'" in done.stderr
    assert "Traceback" not in done.stderr


def test_aliases_and_implications_are_written_for_the_stages_that_count(project: Path) -> None:
    (project / "aliases.csv").write_text("name,tag\nkitty,cat\n")
    (project / "implied.csv").write_text("name,tag\nCat,animal\n")
    set_ingest(project, tag_aliases="aliases.csv", tag_implications="implied.csv")
    ingest.work()
    found = tables.read_table(project / "data/tag_rules.parquet", tables.TAG_RULES)
    assert found.to_pylist() == [
        {"kind": "alias", "name": "kitty", "tag": "cat"},
        {"kind": "implication", "name": "cat", "tag": "animal"},
    ]


def test_rules_that_go_in_a_circle_are_one_clear_error(project: Path) -> None:
    (project / "aliases.csv").write_text("name,tag\na,b\nb,a\n")
    set_ingest(project, tag_aliases="aliases.csv")
    done = stage(project)
    assert done.returncode == 1
    assert "params.yaml ingest.tag_aliases: aliases go in a circle: `" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bucket_goes_through_to_the_manifest(
    project: Path, s3: Any, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (project / "images").iterdir():
        s3.upload_file(str(path), bucket, f"p/{path.name}")
    expected = manifest_of(project)
    set_ingest(project, source=f"s3://{bucket}/p")
    capsys.readouterr()
    assert manifest_of(project).equals(expected)
    said = capsys.readouterr().out
    assert f"2 with tags, in s3://{bucket}/p (folder)" in said
    assert "validate: 2 of 2 images are new or changed" in said
    assert "data:image/" in (project / "reports/validation.html").read_text()
    manifest_of(project)
    assert "validate: 0 of 2 images are new or changed" in capsys.readouterr().out


def manifest_of(project: Path) -> pa.Table:
    ingest.work()
    validate.work()
    return tables.read_table(project / "data/manifest.parquet", tables.MANIFEST)


def test_a_bucket_out_of_reach_is_one_clear_error_without_secrets(project: Path) -> None:
    set_ingest(project, source="s3://bucket/images", endpoint_url="http://127.0.0.1:9")
    secret = "not-to-be-seen-anywhere"
    credentials = {"AWS_ACCESS_KEY_ID": secret, "AWS_SECRET_ACCESS_KEY": secret}
    done = stage(project, AWS_MAX_ATTEMPTS="1", **credentials)
    assert done.returncode == 1
    assert done.stderr.startswith("error: s3://bucket: S3 cannot be reached")
    assert "fix: check the network, ingest.endpoint_url" in done.stderr
    assert "Traceback" not in done.stderr
    assert secret not in done.stderr + done.stdout


@pytest.mark.parametrize("written", ["auto", "'off'", "off", "false"])
def test_a_folders_repeats_reach_the_manifest_unless_they_are_off(
    project: Path, capsys: pytest.CaptureFixture[str], written: str
) -> None:
    (project / "images/10_someone").mkdir()
    (project / "images/10_someone/2.png").write_bytes(encoded(picture(2), "PNG"))
    set_ingest(project, folder_repeats=written)
    ingest.work()
    validate.work()
    rows = tables.read_table(project / "data/manifest.parquet", tables.MANIFEST).to_pylist()
    found = {row["path"]: (row["repeats"], [tag["name"] for tag in row["tags"]]) for row in rows}
    said = capsys.readouterr().out
    if written == "auto":
        assert found["10_someone/2.png"] == (10, ["someone"])
        assert "ingest: repeats in folder names: 10_someone 10 x, 1 images in all" in said
    else:
        assert "repeats" not in said
    assert found["0.png"] == (None, ["1girl", "solo"])
    assert len(found) == (3 if written == "auto" else 2)
