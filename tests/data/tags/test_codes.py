"""Tags as numbers: what is found fast is what a plain loop finds."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.manifests import manifest_table, tag_list

from nadir.data import tables
from nadir.data.tags import codes, meanings
from nadir.data.tags.codes import TagCoder, TagUses, meant_uses, tag_batches
from nadir.data.tags.names import most_used_first, names_used

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@st.composite
def coded_images(draw: st.DrawFn) -> tuple[pa.Table, list[list[tuple[str, str]]]]:
    """Tags with the names that bring them, and images whose names may be none of them."""
    kinds = st.sampled_from(["general", "artist", ""])
    names = st.sampled_from([f"t{number}" for number in range(7)])
    pairs = st.tuples(names, kinds)
    tags = draw(st.lists(pairs, unique=True, max_size=8))
    brought = draw(st.lists(st.lists(names, unique=True, max_size=3), min_size=8, max_size=8))
    table = pa.table(
        {
            "tag": pa.array([name for name, _ in tags], pa.string()),
            "class": pa.array([kind for _, kind in tags], pa.string()),
            "from_names": pa.array(brought[: len(tags)], pa.list_(pa.string())),
        }
    )
    return table, draw(st.lists(st.lists(pairs, max_size=6), max_size=6))


def plainly_coded(tags: pa.Table, images: list[list[tuple[str, str]]]) -> list[list[int]]:
    """An image's own tags, then what its names bring, each in order and each row once."""
    own = {(row["tag"], row["class"]): number for number, row in enumerate(tags.to_pylist())}
    from_names = tags["from_names"].to_pylist()
    coded = []
    for image in images:
        rows = [own[pair] for pair in image if pair in own]
        for name, _ in image:
            rows += [row for row, names in enumerate(from_names) if name in names]
        coded.append(list(dict.fromkeys(rows)))
    return coded


@settings(max_examples=200, deadline=None)
@given(
    coded_images(),
    st.booleans(),
    st.sampled_from([1, 2, 1 << 18]),
)
def test_uses_are_those_of_a_plain_loop(
    given: tuple[pa.Table, list[list[tuple[str, str]]]],
    as_dictionaries: bool,
    at_once: int,
) -> None:
    table, images = given
    lists = pa.array(
        [[{"name": name, "class": kind} for name, kind in image] for image in images],
        tables.TAG_LIST,
    )
    if as_dictionaries:
        fields = [lists.values.field(name).dictionary_encode() for name in ("name", "class")]
        values = pa.StructArray.from_arrays(fields, names=["name", "class"])
        lists = pa.ListArray.from_arrays(lists.offsets, values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meanings, "_USES_AT_ONCE", at_once)
        uses = TagCoder(table).encode(lists)
    assert uses.rows.dtype == np.int32
    assert [uses.of(image).tolist() for image in range(len(uses))] == plainly_coded(table, images)


def test_pieces_hold_the_same_images() -> None:
    starts = np.array([0, 2, 2, 5, 6])
    uses = TagUses(starts, np.arange(6, dtype=np.int32))
    assert len(uses) == 4
    assert uses.images().tolist() == [0, 0, 2, 2, 2, 3]
    pieces = list(uses.pieces(3))
    assert [piece.rows.tolist() for piece in pieces] == [[0, 1, 2, 3, 4], [5]]
    assert [piece.starts.tolist() for piece in pieces] == [[0, 2, 2, 5], [0, 1]]


def peak_bytes(pieces: Iterable[object]) -> int:
    """Most that pyarrow holds while the pieces come and go, besides what it held before."""
    before = pa.total_allocated_bytes()
    return max(pa.total_allocated_bytes() - before for _ in pieces)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest of 40 row groups whose tags do not pack."""
    monkeypatch.setattr(tables, "ROWS_PER_GROUP", 250)
    monkeypatch.setattr(codes, "IMAGES_AT_ONCE", 250)
    letters = np.random.default_rng(0).integers(97, 123, (10_000, 400), dtype=np.uint8)
    rows = (
        {"tags": tag_list((bytes(name).decode(), "general") for name in row.reshape(20, 20))}
        for row in letters
    )
    path = tmp_path / "manifest.parquet"
    tables.write_table(manifest_table(rows), path, tables.MANIFEST)
    assert pq.ParquetFile(path).num_row_groups == 40
    return path


def test_a_manifest_is_read_group_by_group_and_not_kept(large: Path) -> None:
    """Kept, its packed bytes alone would be as many as it has."""
    assert peak_bytes(tag_batches(large)) < 0.7 * large.stat().st_size


def test_pieces_end_where_a_row_group_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dictionaries of two groups are not joined: beyond 262,144 images reading failed."""
    monkeypatch.setattr(tables, "ROWS_PER_GROUP", 16)
    monkeypatch.setattr(codes, "IMAGES_AT_ONCE", 10)
    images = [[(f"t{number % 7}", "general"), (f"u{number}", "artist")] for number in range(40)]
    whole = manifest_table({"tags": tag_list(iter(tags))} for tags in images)
    path = tmp_path / "manifest.parquet"
    tables.write_table(whole, path, tables.MANIFEST)
    found = [tags for _, tags in tag_batches(path)]
    assert [len(tags) for tags in found] == [10, 6, 10, 6, 8]
    read = [each for tags in found for each in tags.to_pylist()]
    assert read == whole.column("tags").to_pylist()
    last = [len(tags) for _, tags in tag_batches(path, groups=[2])]
    assert last == [8]
    used = Counter(tag for tags in images for tag in tags)
    wanted = [(*tag, used[tag]) for tag in sorted(used, key=lambda tag: (-used[tag], tag))]
    table, uses = names_used(path, tmp_path / "names.bin")
    assert [tuple(row.values()) for row in most_used_first(table).to_pylist()] == wanted
    pairs = list(zip(table["name"].to_pylist(), table["class"].to_pylist(), strict=True))
    assert [[pairs[row] for row in uses.of(image)] for image in range(len(uses))] == images


@settings(max_examples=100, deadline=None)
@given(coded_images())
def test_uses_of_names_mean_what_their_texts_do(
    tmp_path_factory: pytest.TempPathFactory,
    given: tuple[pa.Table, list[list[tuple[str, str]]]],
) -> None:
    table, images = given
    pairs = list(dict.fromkeys(pair for image in images for pair in image))
    numbers = [pairs.index(pair) for image in images for pair in image]
    starts = np.cumsum([0, *(len(image) for image in images)])
    texts = (pa.array([pair[part] for pair in pairs], pa.string()) for part in (0, 1))
    uses = meant_uses(
        TagUses(starts, np.array(numbers, np.int32)),
        TagCoder(table).meanings(*texts),
        tmp_path_factory.mktemp("uses") / "uses.bin",
    )
    assert [uses.of(image).tolist() for image in range(len(uses))] == plainly_coded(table, images)
