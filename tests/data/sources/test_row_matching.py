"""Which image a metadata row is about, where names are vague."""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest
from tests.data.sources.datasets import examined, image, lines, reasons, write

from nadir.data.sources.detect import open_source

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.data.gate.verdicts import Screened


def screened(folder: Path, root: Path, files: dict[str, Any]) -> Screened:
    texts = {
        name: data if isinstance(data, bytes) else data.encode() for name, data in files.items()
    }
    source = open_source(str(write(folder, texts)), "auto")
    return examined(source, source.list_images(), root)


def tags_of(result: Screened) -> dict[str, list[str]]:
    rows = result.manifest.table().to_pylist()
    return {row["path"]: [tag["name"] for tag in row["tags"]] for row in rows}


def kohya(**rows: str) -> str:
    return json.dumps({name: {"tags": tags} for name, tags in rows.items()})


def test_a_stale_kohya_row_takes_no_image_that_has_its_own(tmp_path: Path, root: Path) -> None:
    result = screened(
        tmp_path,
        root,
        {
            "a/meta_cap.json": kohya(**{"001": "stale", "002": "here"}),
            "a/002.png": image(3),
            "b/meta_cap.json": kohya(**{"001": "right"}),
            "b/001.png": image(0),
        },
    )
    assert tags_of(result) == {"a/002.png": ["here"], "b/001.png": ["right"]}
    assert reasons(result) == {"a/meta_cap.json#000001": "missing_image"}


def test_a_kohya_row_takes_no_image_of_another_folder(tmp_path: Path, root: Path) -> None:
    files = {"a/meta_cap.json": kohya(**{"001": "stale"}), "b/001.png": image(0)}
    assert tags_of(screened(tmp_path, root, files)) == {}


def test_paths_of_another_machine_are_known_by_their_last_two_parts(
    tmp_path: Path, root: Path
) -> None:
    files = {
        "meta_cap.json": kohya(**{"old/b/001": "of_b", "old/a/001": "of_a", "old/003": "alone"}),
        "a/001.png": image(0),
        "b/001.png": image(3),
        "c/003.png": image(6),
    }
    found = tags_of(screened(tmp_path, root, files))
    assert found == {"a/001.png": ["of_a"], "b/001.png": ["of_b"], "c/003.png": ["alone"]}


def test_pools_beside_posts_are_passed_over(tmp_path: Path, root: Path) -> None:
    result = screened(
        tmp_path,
        root,
        {
            "5.png": image(0),
            "pools.jsonl": json.dumps({"id": 5, "name": "a pool", "category": "series"}),
            "posts.jsonl": json.dumps({"id": 5, "tag_string_general": "red_hair"}),
        },
    )
    assert tags_of(result) == {"5.png": ["red_hair"]}
    assert reasons(result) == {}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("metadata.jsonl", '{"file_name": "café/ガ.png", "text": "of_ga"}\n'),
        ("meta_cap.json", '{"café/ガ": {"tags": "of_ga"}}'),
        ("posts.jsonl", '{"file_name": "elsewhere/ガ.png", "tag_string": "of_ga"}\n'),
    ],
)
@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_match_whether_their_accents_are_composed_or_not(
    tmp_path: Path, root: Path, name: str, data: str, forms: Any
) -> None:
    path = unicodedata.normalize(forms[0], "café/ガ.png")
    files = {path: image(0), name: unicodedata.normalize(forms[1], data)}
    result = screened(tmp_path, root, files)
    assert tags_of(result) == {path: ["of_ga"]}
    assert reasons(result) == {}


def test_of_both_forms_of_a_name_each_has_its_own_row(tmp_path: Path, root: Path) -> None:
    both = [unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")]
    rows = [{"file_name": path, "text": f"tag_{n}"} for n, path in enumerate(both)]
    files = {path: image(3 * n) for n, path in enumerate(both)}
    result = screened(tmp_path, root, files | {"metadata.jsonl": lines(rows[::-1])})
    assert tags_of(result) == {both[0]: ["tag_0"], both[1]: ["tag_1"]}


def test_a_row_in_another_form_takes_no_image_that_has_its_own(tmp_path: Path, root: Path) -> None:
    apart = unicodedata.normalize("NFD", "é.png")
    rows = [{"file_name": "é.png", "text": "stale"}, {"file_name": apart, "text": "right"}]
    result = screened(tmp_path, root, {apart: image(0), "metadata.jsonl": lines(rows)})
    assert tags_of(result) == {apart: ["right"]}
    assert reasons(result) == {"metadata.jsonl#000001": "missing_image"}
