"""The manifest, put together from codes a piece at a time, is what one row after another gives."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nadir.config.reader import read_section
from nadir.config.validate import ValidateParams
from nadir.data.coded_tags import TagBook, encode_all
from nadir.data.gate.verdicts import Screened, screen
from nadir.data.inspection.listing import FACTS, TAG_FACTS, ListingFacts
from nadir.data.tables import LISTING, MANIFEST, write_groups, write_table

if TYPE_CHECKING:
    from pathlib import Path

VOCABULARY = [("solo", "general"), ("someone", "artist"), ("someone", "character")]
NAMES = ["solo", "someone", "new", "é"]
COUNT = 60


def rows() -> list[dict[str, Any]]:
    """Listed images with everything that they can have, some of them not fit for use."""
    rng = np.random.default_rng(3)
    made = []
    for number in range(COUNT):
        tags = [
            {"name": NAMES[rng.integers(4)], "class": ["", "", "meta"][rng.integers(3)]}
            for _ in range(rng.integers(0, 5))
        ]
        made.append(
            {
                "path": f"{number:02}.png",
                "size": 1,
                "version": "1",
                "repeats": None if number % 3 else number,
                # Some of the same bytes, some alike in their first half only.
                "sha256": f"{rng.integers(1, 12):032x}{rng.integers(1, 4):032x}",
                "width": 100 if number % 7 else 1,
                "height": 90,
                "format": "png",
                "mean_luminance": 0.5,
                "perceptual_hash": f"{rng.integers(1, 1 << 60):016x}",
                "tags": tags if number % 11 else None,
                "written": len(tags),
                "well_formed": len(tags),
                "record_id": None if number % 2 else f"id {number}",
                "rating": None if number % 4 else "general",
                "captions": None if number % 5 else [{"kind": "txt", "text": f"é {number}"}],
                "score": None if number % 3 else number - 9,
                "year": None,
                "kept_tags": 0,
            }
        )
    return made


def expected(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The usable ones, found one by one."""
    first_class = dict(reversed(VOCABULARY))
    seen, found = set(), []
    for row in given:
        tags = row["tags"] or []
        if row["width"] < 48 or not tags or row["sha256"] in seen:
            continue
        seen.add(row["sha256"])
        classes = [tag["class"] or first_class.get(tag["name"], "general") for tag in tags]
        pairs = zip(tags, classes, strict=True)
        changed = {
            "tags": [{"name": tag["name"], "class": kind} for tag, kind in pairs],
            "record_id": row["record_id"] or row["path"].removesuffix(".png"),
            "split": "train",
        }
        found.append({name: (row | changed)[name] for name in MANIFEST.names})
    return sorted(found, key=lambda row: row["sha256"])


def screened(root: Path, given: list[dict[str, Any]], *, coded: bool) -> Screened:
    def table(schema: pa.Schema) -> pa.Table:
        # Several chunks, as large tables have them.
        parts = [given[start : start + 17] for start in range(0, COUNT, 17)]
        return pa.concat_tables([pa.Table.from_pylist(part, schema) for part in parts])

    tags, book = table(TAG_FACTS), TagBook() if coded else None
    if book:
        tags = tags.set_column(0, "tags", encode_all(tags.column("tags"), book))
    params = read_section("validate", ValidateParams, root / "params.yaml")
    found = ListingFacts(table(FACTS), tags, COUNT, book)
    return screen(table(LISTING), found, params, VOCABULARY)


@pytest.mark.parametrize("coded", [False, True])
def test_the_manifest_is_what_one_row_after_another_gives(
    root: Path, tmp_path: Path, coded: bool
) -> None:
    given = rows()
    result, wanted = screened(root, given, coded=coded), expected(given)
    manifest = result.manifest
    assert len(wanted) > 20
    assert manifest.table().to_pylist() == wanted
    assert manifest.table(5).to_pylist() == wanted[:5]
    assert manifest.column("repeats").to_pylist() == [row["repeats"] for row in wanted]
    held = np.arange(len(wanted)) % 3 == 0
    pieces = list(manifest.with_split(held).pieces(7))
    assert [piece.num_rows for piece in pieces[:-1]] == [7] * (len(wanted) // 7)
    splits = [{"split": "train" if number % 3 else "holdout"} for number in range(len(wanted))]
    everything = [row | split for row, split in zip(wanted, splits, strict=True)]
    assert pa.concat_tables(pieces).to_pylist() == everything
    write_groups(manifest.pieces(), tmp_path / "groups", MANIFEST)
    write_table(pa.Table.from_pylist(wanted, MANIFEST), tmp_path / "whole", MANIFEST)
    assert (tmp_path / "groups").read_bytes() == (tmp_path / "whole").read_bytes()
    parts = manifest.pieces(7, at_once=10, folder=tmp_path)
    assert pa.concat_tables(parts).equals(pa.concat_tables(manifest.pieces(7)))
    uses = Counter(tag["name"] for row in wanted for tag in row["tags"])
    assert manifest.tag_counts().to_pylist() == [
        {"tag": tag, "count": uses[tag]} for tag in sorted(uses, key=lambda tag: (-uses[tag], tag))
    ]


def test_without_a_usable_image_the_manifest_has_no_row(root: Path, tmp_path: Path) -> None:
    given = [row | {"width": 1} for row in rows()]
    manifest = screened(root, given, coded=True).manifest
    assert manifest.table().equals(MANIFEST.empty_table())
    assert manifest.tag_counts().num_rows == 0
    write_groups(manifest.pieces(), tmp_path / "none", MANIFEST)
    assert pq.read_table(tmp_path / "none").equals(MANIFEST.empty_table())
    write_table(MANIFEST.empty_table(), tmp_path / "empty", MANIFEST)
    assert (tmp_path / "none").read_bytes() == (tmp_path / "empty").read_bytes()
