"""The validate stage: every image has a verdict, and the outputs say so."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.colour_profiles import P3_XY, SRGB_XY, rgb_profile, srgb_curve
from tests.support.hostile import BAD, BOMBS, GOOD, add_bombs, encoded, make_hostile_folder, picture
from typer.testing import CliRunner

from nadir.cli import app
from nadir.data import tables
from nadir.data.gate.removed import read_removed
from nadir.ground.errors import NadirError
from nadir.stages import ingest, validate
from nadir.tracking.lock_file import stage_definitions

if TYPE_CHECKING:
    from pathlib import Path

OUTPUTS = (
    "data/manifest.parquet",
    "data/quarantine.parquet",
    "reports/validation.html",
    "data/profile.json",
)


@pytest.fixture
def project(tmp_path: Path, root: Path, params_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose source, `images`, is empty."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(root / "dvc.yaml", folder)
    text = params_text.replace("source: data/sample", "source: images")
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    (folder / "images").mkdir()
    monkeypatch.chdir(folder)
    return folder


def add_photographs(folder: Path, count: int) -> None:
    for index in range(count):
        (folder / f"{index:02}.jpg").write_bytes(encoded(picture(100 + index), "JPEG"))
        (folder / f"{index:02}.txt").write_text(f"outdoors, tennis racket, tag {index % 3}")


def run_both() -> dict[str, bytes]:
    ingest.work()
    validate.work()
    return {name: open(name, "rb").read() for name in OUTPUTS}  # noqa: PTH123


def numbers() -> dict[str, dict[str, int]]:
    with open("reports/validation.json", encoding="utf-8") as file:  # noqa: PTH123
        return json.load(file)


class Page(HTMLParser):
    """Tags and addresses of a page, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]


def test_a_hostile_folder_goes_through_with_a_reason_for_every_bad_file(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_hostile_folder(project / "images")
    outputs = run_both()
    manifest = tables.read_table(project / OUTPUTS[0], tables.MANIFEST).to_pylist()
    quarantine = tables.read_table(project / OUTPUTS[1], tables.QUARANTINE).to_pylist()
    assert {row["path"]: row["format"] for row in manifest} == GOOD
    assert {row["path"]: row["reason"] for row in quarantine} == BAD
    assert all(row["detail"] and row["fix"] for row in quarantine)
    assert next(r["width"] for r in manifest if r["path"] == "turned.jpg") == 64
    said = capsys.readouterr().out
    assert "WARNING validate: expected: at least 50 % of the listed images are usable" in said
    assert "12 of 35 images are used" in said
    page = outputs[OUTPUTS[2]].decode()
    assert "<script>alert(1)</script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    parsed = Page(page)
    assert not {"script", "link", "iframe"} & set(parsed.tags)
    assert parsed.tags.count("img") == len(GOOD) + 8  # of the bad ones eight can be shown
    assert all(address.startswith(("data:image/", "#")) for address in parsed.addresses)
    assert str(project) not in page


@pytest.mark.parametrize("rows", [1, 7, 34, 35])
def test_a_listing_in_parts_gives_the_same_bytes_first_and_again(
    project: Path, rows: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_hostile_folder(project / "images")
    outputs = run_both()
    shutil.rmtree(project / "work")
    monkeypatch.setattr(validate, "PART_ROWS", rows)
    capsys.readouterr()
    assert run_both() == outputs
    said = capsys.readouterr().out
    parts = re.findall(r"part (\d+) of (\d+), (\d+) of 35 images", said)
    assert len(parts) == (-(-35 // rows) if rows < 35 else 0)
    assert {int(count) for _, count, _ in parts} <= {-(-35 // rows)}
    assert "29 of 35 images are new" in said
    # And what they remember is the same thing.
    assert run_both() == outputs
    monkeypatch.undo()
    monkeypatch.chdir(project)
    assert run_both() == outputs
    kept = [path.name for path in (project / "work/inspection").iterdir()]
    assert all(name.startswith(("images-", "tags-")) for name in kept)


def test_what_became_of_colour_profiles_is_counted(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project / "images"
    add_photographs(folder, 4)
    profiles = [rgb_profile(P3_XY, srgb_curve()), rgb_profile(SRGB_XY, srgb_curve()), b"no profile"]
    for index, profile in enumerate(profiles):
        (folder / f"{index:02}.jpg").write_bytes(
            encoded(picture(100 + index), "JPEG", icc_profile=profile)
        )
    outputs = run_both()
    assert numbers()["colour_profiles"] == {"converted": 1, "srgb": 1, "unusable": 1}
    assert "colour profile cannot be used, and which are read as sRGB: 1" in capsys.readouterr().out
    assert "converted to sRGB" in outputs["reports/validation.html"].decode()


def test_bombs_cost_no_gigabytes_and_the_time_that_is_allowed(project: Path) -> None:
    """Peak of the stage and its workers together, and nothing outside the folder is read."""
    folder = project / "images"
    make_hostile_folder(folder)
    add_bombs(folder)
    secret = project / "outside" / "secret.png"
    os.utime(secret, (1, secret.stat().st_mtime))
    set_params(project, {"max_seconds: 60.0": "max_seconds: 6.0", "workers: 0": "workers: 2"})
    ingest.work()
    peak = peak_bytes([sys.executable, "-m", "nadir.stages.validate"])
    assert peak < 1.5e9
    bad = tables.read_table(project / OUTPUTS[1], tables.QUARANTINE).to_pylist()
    found = {row["path"]: row["reason"] for row in bad}
    assert found == BAD | {name: reason for name, reason in BOMBS.items() if reason}
    manifest = tables.read_table(project / OUTPUTS[0], tables.MANIFEST)
    allowed = {name for name, reason in BOMBS.items() if reason is None}
    assert allowed <= set(manifest.column("path").to_pylist())
    assert secret.stat().st_atime == 1


def set_params(project: Path, changes: dict[str, str]) -> None:
    path = project / "params.yaml"
    text = path.read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def peak_bytes(command: list[str]) -> int:
    """Largest memory of a command and its children together; it must succeed."""
    peak = 0
    with subprocess.Popen(command) as process:
        parent = psutil.Process(process.pid)
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                family = [parent, *parent.children(recursive=True)]
                peak = max(peak, sum(one.memory_info().rss for one in family))
            time.sleep(0.02)
    assert process.returncode == 0
    return peak


def test_photographs_with_comma_separated_tags_pass_untouched(project: Path) -> None:
    add_photographs(project / "images", 24)
    run_both()
    found = numbers()
    assert found["images"]["used"] == found["images"]["listed"] == 24
    assert found["images"]["holdout"] >= 1
    assert found["expectations"] == {"critical": 0, "passed": 24, "warnings": 0}
    manifest = tables.read_table(project / OUTPUTS[0], tables.MANIFEST)
    names = [tag["name"] for tag in manifest.column("tags").to_pylist()[0]]
    assert names[:2] == ["outdoors", "tennis_racket"]
    hashes = manifest.column("sha256").to_pylist()
    assert hashes == sorted(hashes)


def test_touching_moving_or_forgetting_changes_no_byte(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_photographs(project / "images", 6)
    first = run_both()
    listing = (project / "data/listing.parquet").read_bytes()
    for path in (project / "images").iterdir():
        os.utime(path)
    capsys.readouterr()
    assert run_both() == first
    assert (project / "data/listing.parquet").read_bytes() != listing
    assert "6 of 6 images are new or changed" in capsys.readouterr().out
    shutil.rmtree(project / "work")
    assert run_both() == first
    add_photographs(project / "images", 7)
    capsys.readouterr()
    run_both()
    assert numbers()["images"]["used"] == 7


def test_a_second_run_decodes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_photographs(project / "images", 3)
    run_both()
    run_both()
    assert "0 of 3 images are new or changed" in capsys.readouterr().out


def test_no_readable_image_stops_after_the_page_is_written(project: Path) -> None:
    for index in range(5):
        whole = encoded(picture(index), "PNG")
        (project / "images" / f"{index}.png").write_bytes(whole[: len(whole) // 2])
    ingest.work()
    with pytest.raises(NadirError, match="the dataset does not pass") as stop:
        validate.work()
    text = str(stop.value)
    assert "at least one image is usable; found: 0 images" in text
    assert re.findall(r"such as '(\d)\.png' - truncated", text) == ["0", "1", "2"]
    assert "reports/validation.html" in text
    assert "does not pass" in (project / "reports/validation.html").read_text()
    assert numbers()["quarantined"] == {"truncated": 5}
    assert tables.read_table(project / OUTPUTS[0], tables.MANIFEST).num_rows == 0


def test_excluded_ratings_hold_where_a_text_hides_them_and_images_without_one_are_counted(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_photographs(project / "images", 6)
    rating = {"rating": "e", "tag_string_artist": "someone", "tag_string": "outdoors someone"}
    (project / "images/00.jpg.json").write_text(json.dumps(rating))
    (project / "images/01.json").write_text(json.dumps(rating | {"rating": 0}))
    (project / "images/02.txt").write_text("outdoors, rating: explicit")
    set_params(project, {"exclude_ratings: []": "exclude_ratings: [explicit]"})
    run_both()
    quarantine = tables.read_table(project / OUTPUTS[1], tables.QUARANTINE).to_pylist()
    assert [(row["path"], row["reason"]) for row in quarantine] == [
        ("00.jpg", "rating_excluded"),
        ("02.jpg", "rating_excluded"),
    ]
    assert "found: 3 images have none and are used" in capsys.readouterr().out
    # What has changed beside an unchanged text is seen.
    (project / "images/01.json").write_text(json.dumps(rating | {"score": 1}))
    run_both()
    assert numbers()["quarantined"] == {"rating_excluded": 3}


def test_removed_images_are_left_out_whatever_they_are_called_and_come_back_by_their_line(
    project: Path,
) -> None:
    add_photographs(project / "images", 3)
    shutil.copy(project / "images/01.jpg", project / "images/copy.jpg")
    shutil.copy(project / "images/01.txt", project / "images/copy.txt")
    before = run_both()
    (project / "removed_images.txt").write_text("# tracked by git")

    def removed(*images: str) -> str:
        return CliRunner().invoke(app, ["data", "remove", *images], catch_exceptions=False).stdout

    sha256 = hashlib.sha256((project / "images/01.jpg").read_bytes()).hexdigest()
    assert f"{sha256}: removed (01.jpg)" in removed("images/01.jpg", sha256.upper())
    told = removed(sha256, "f" * 64)
    assert f"{sha256}: is listed already" in told
    assert "1 of them the present dataset does not use" in told
    listed = (project / "removed_images.txt").read_text()
    assert listed == f"# tracked by git\n{sha256}\n{'f' * 64}\n"
    run_both()
    rows = tables.read_table(project / OUTPUTS[1], tables.QUARANTINE).to_pylist()
    assert [(row["path"], row["reason"]) for row in rows] == [
        ("01.jpg", "removed"),
        ("copy.jpg", "removed"),
    ]
    manifest = tables.read_table(project / OUTPUTS[0], tables.MANIFEST)
    assert manifest["path"].to_pylist()
    assert sha256 not in manifest["sha256"].to_pylist()
    (project / "removed_images.txt").write_text("# none\n")
    assert run_both() == before
    (project / "removed_images.txt").write_text("# none\n01.jpg\n")
    with pytest.raises(NadirError, match="line 2 is not a sha256"):
        run_both()


def test_the_list_of_removed_images_is_an_input_of_the_stage_and_tracked(root: Path) -> None:
    assert "removed_images.txt" in stage_definitions(root)["validate"]["deps"]
    assert read_removed(root) == frozenset()
