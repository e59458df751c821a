"""Every layout gives the same twelve images, from a folder and from S3."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
from tests.data.sources.datasets import (
    COUNT,
    LAYOUTS,
    RATINGS,
    contract,
    examined,
    folder_of_text,
    image,
    reasons,
    tags,
    write,
)

from nadir.data.sources.detect import open_source
from nadir.data.tables import LISTING, MANIFEST

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The contract columns, from the plainest layout."""
    from tests.conftest import ROOT

    source = open_source(str(write(tmp_path_factory.mktemp("plain"), folder_of_text())), "folder")
    rows = contract(examined(source, source.list_images(), ROOT))
    assert len(rows) == COUNT
    for row in rows:
        number = int(row["record_id"]) - 1000
        pairs = [(kind, tag) for kind, names in tags(number).items() for tag in names]
        assert row["tags"] == sorted(pairs)
    return rows


def with_facts(rows: list[dict[str, Any]], layout: str) -> list[dict[str, Any]]:
    """Ratings and scores, where the layout's records give them."""

    def facts(number: int) -> dict[str, Any]:
        given = post_score(layout, number)
        return {"rating": RATINGS[number % 4] if LAYOUTS[layout][2] else None, "score": given}

    return [{**row, **facts(int(row["record_id"]) - 1000)} for row in rows]


def post_score(layout: str, number: int) -> int | None:
    if layout == "e621 answer":
        return 7
    return number - 3 if layout.startswith("booru") else None


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stated", [False, True], ids=["detected", "stated"])
def test_each_layout_loads_the_same_images(
    tmp_path: Path, root: Path, expected: list[dict[str, Any]], layout: str, stated: bool
) -> None:
    form, make, _ = LAYOUTS[layout]
    folder = write(tmp_path / "source", make())
    memory = tmp_path / "memory"
    source = open_source(str(folder), form if stated else "auto", memory=memory)
    listing = source.list_images()
    assert listing.format == form
    assert listing.table.schema.equals(LISTING)
    result = examined(source, listing, root)
    assert reasons(result) == {}
    assert result.manifest.table().schema.equals(MANIFEST)
    assert contract(result) == with_facts(expected, layout)
    # What a worker process gets opens the same paths.
    again: Any = pickle.loads(pickle.dumps(source))
    for row in result.manifest.table().select(["path", "record_id"]).to_pylist():
        number = int(row["record_id"]) - 1000
        assert again.read(row["path"], 1 << 30).data == image(number)
        with again.open(row["path"]) as file:
            assert file.read() == image(number)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_loads_the_same_images_from_s3(
    s3: Any,
    bucket: str,
    tmp_path: Path,
    root: Path,
    expected: list[dict[str, Any]],
    layout: str,
) -> None:
    form, make, _ = LAYOUTS[layout]
    for path, data in make().items():
        s3.put_object(Bucket=bucket, Key=f"some/where/{path}", Body=data)
    source = open_source(f"s3://{bucket}/some/where", "auto", memory=tmp_path)
    listing = source.list_images()
    assert listing.format == form
    result = examined(source, listing, root)
    assert reasons(result) == {}
    assert contract(result) == with_facts(expected, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_unchanged_source_is_listed_the_same(tmp_path: Path, layout: str) -> None:
    folder = write(tmp_path / "source", LAYOUTS[layout][1]())
    first = open_source(str(folder), "auto", memory=tmp_path / "memory").list_images()
    again = open_source(str(folder), "auto", memory=tmp_path / "memory").list_images()
    forgotten = open_source(str(folder), "auto").list_images()
    assert first.table.equals(again.table)
    assert first.table.equals(forgotten.table)
    assert first.table.column("path").to_pylist() == sorted(first.table.column("path").to_pylist())


@pytest.mark.parametrize("ending", [".tar", ".parquet"])
def test_a_single_file_may_be_the_source(tmp_path: Path, root: Path, ending: str) -> None:
    layout = {".tar": "WebDataset", ".parquet": "parquet of bytes"}[ending]
    folder = write(tmp_path, LAYOUTS[layout][1]())
    path = sorted(folder.rglob(f"*{ending}"))[1]
    source = open_source(str(path), "auto")
    result = examined(source, source.list_images(), root)
    ids = [int(row["record_id"]) for row in contract(result)]
    assert sorted(ids) == list(range(1006, 1012))


def test_the_score_is_kept_beside_the_tags(tmp_path: Path) -> None:
    from nadir.data.inspection.tag_files import read_tag_rows

    source = open_source(str(write(tmp_path, LAYOUTS["booru JSON lines"][1]())), "auto")
    table = source.list_images().table
    columns = (table.column(f"tags_{name}").to_pylist() for name in ("path", "size", "version"))
    rows = read_tag_rows(source, list(zip(*columns, strict=True)))
    assert {row["record_id"]: row["score"] for row in rows} == {
        str(1000 + number): number - 3 for number in range(COUNT)
    }
