"""What is remembered is found again, also where only a part of it is asked for."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nadir.data.inspection import fact_cache
from nadir.data.inspection.fact_cache import FactCache, match
from nadir.data.inspection.remembered import complete
from nadir.data.quarantine import Reason
from nadir.ground.errors import NadirError

COLUMNS = pa.schema([("fact", pa.int64())])
PATHS = st.text("ab/\0\U0001f600\ue000", max_size=3)
SEGMENTS = st.lists(st.lists(PATHS, min_size=1, max_size=6), max_size=6)


def remembered(folder: Path, segments: list[list[str]]) -> tuple[FactCache, dict[str, int]]:
    """A cache of these paths, one file after another, and the latest fact of each path."""
    cache, latest = FactCache(folder, COLUMNS), {}
    for paths in segments:
        facts = range(len(latest) * 100, len(latest) * 100 + len(paths))
        rows = {
            "path": paths,
            "size": [1] * len(paths),
            "version": [str(fact) for fact in facts],
            "fact": facts,
        }
        cache.add(pa.table(rows, cache.schema))
        latest |= dict(zip(paths, facts, strict=True))
    return cache, latest


def facts_of(cache: FactCache, paths: list[str], latest: dict[str, int]) -> list[Any]:
    """The facts of some paths in their present version, from what is read for these alone."""
    keys = {
        "path": paths,
        "size": [1] * len(paths),
        "version": [str(latest.get(path, "")) for path in paths],
    }
    wanted = pa.table(keys, pa.schema(list(cache.schema)[:3]))
    known = cache.known(wanted)
    rows = match(wanted, known).tolist()
    return [known.column("fact")[row].as_py() if row >= 0 else None for row in rows]


@pytest.mark.parametrize("merged", [False, True])
@settings(max_examples=60, deadline=None)
@given(segments=SEGMENTS, asked=st.lists(PATHS, max_size=4))
def test_each_path_has_its_latest_fact(
    merged: bool, segments: list[list[str]], asked: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(fact_cache, "_AT_ONCE", 2)
        patch.setattr(fact_cache, "_MERGED_AT_ONCE", 3)
        patch.setattr(fact_cache, "_MERGE_ABOVE", 1)
        cache, latest = remembered(Path(folder), segments)
        if merged:
            cache.merge()
            everything = cache.known()
            if len(segments) > 1:
                # Once each, in order, in one file.
                assert everything.column("path").to_pylist() == sorted(latest)
                assert len(list(Path(folder).iterdir())) == 1
        for paths in (asked, list(latest)):
            wanted = [latest.get(path) for path in paths]
            assert facts_of(cache, paths, latest) == wanted


def paths_of(*paths: str | None) -> pa.Table:
    return pa.table({"path": pa.array(paths, pa.string())})


def test_a_part_is_read_without_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fact_cache, "_AT_ONCE", 10)
    cache, _ = remembered(tmp_path, [[f"{number:04}" for number in range(1000)]])
    wanted = [f"{number:04}" for number in range(500, 520)]
    part = cache.known(paths_of(*wanted, None)).column("path").to_pylist()
    assert set(part) >= set(wanted)
    assert len(part) <= 40
    assert cache.known(paths_of("2")).num_rows == 0
    assert cache.known(paths_of(None)).num_rows == 0
    assert cache.known().num_rows == 1000
    # Few of a wide span are looked for one by one.
    few = cache.known(paths_of("0990", "0010", "x")).column("path").to_pylist()
    assert few == ["0010", "0990"]


def test_what_another_run_merges_while_it_is_read_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fact_cache, "_MERGE_ABOVE", 1)
    cache, latest = remembered(tmp_path, [["a"], ["b", "c"], ["a"]])
    other, listed, turns = FactCache(tmp_path, COLUMNS), FactCache._segments, []

    def segments(self: FactCache) -> list[Path]:
        found = listed(self)
        if self is cache:
            turns.append(len(found))
            other.merge()
        return found

    monkeypatch.setattr(FactCache, "_segments", segments)
    assert facts_of(cache, ["a", "b", "c"], latest) == [latest[path] for path in "abc"]
    assert turns == [3, 1]


@pytest.mark.parametrize("column", [{"path": [1]}, {"path": [b"a"]}, {"path": [1.0]}, {}])
def test_files_with_other_columns_are_passed_over_and_go_when_merged(
    tmp_path: Path, column: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fact_cache, "_MERGE_ABOVE", 1)
    cache, latest = remembered(tmp_path, [["a"], ["b"]])
    pq.write_table(pa.table(column), tmp_path / "0.parquet")
    (tmp_path / "1.parquet").write_bytes(b"none")
    assert facts_of(cache, ["a", "b"], latest) == [latest["a"], latest["b"]]
    cache.merge()
    assert len(list(tmp_path.iterdir())) == 1
    assert facts_of(cache, ["a", "b"], latest) == [latest["a"], latest["b"]]


def test_facts_that_another_run_replaces_are_one_error_and_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = pa.table({"path": ["a", None], "size": [1, None], "version": ["new", None]})
    cache = FactCache(tmp_path, pa.schema([("width", pa.int64()), ("reason", pa.string())]))
    older = {"path": ["a"], "size": [1], "version": ["old"], "width": [2], "reason": ["-"]}
    add = cache.add

    class Look:
        chunk = 8

        def __call__(self, chunks: Any, _count: int) -> Any:
            for files in chunks:
                yield files, [{"width": 1}] * len(files)

    def another_adds_after(rows: pa.Table) -> None:
        add(rows)
        add(pa.table(older, cache.schema))

    def found() -> Any:
        return complete(wanted, cache, Look(), unit="images", misfit=Reason.UNREADABLE)

    monkeypatch.setattr(cache, "add", another_adds_after)
    with pytest.raises(NadirError, match="found about 1 images is gone again"):
        found()
    monkeypatch.setattr(cache, "add", add)
    facts, looked_at = found()
    assert (facts.column("width").to_pylist(), looked_at) == ([1, None], 1)
