"""What is remembered is found again, also where only a part of it is asked for."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nadir.data.inspection import fact_cache
from nadir.data.inspection.fact_cache import FactCache, match, span_of

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
    known = cache.known(span_of(wanted))
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


def test_a_part_is_read_without_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fact_cache, "_AT_ONCE", 10)
    cache, _ = remembered(tmp_path, [[f"{number:04}" for number in range(1000)]])
    part = cache.known(("0500", "0519")).column("path").to_pylist()
    assert set(part) >= {f"{number:04}" for number in range(500, 520)}
    assert len(part) <= 40
    assert cache.known(("0990", None)).num_rows == 10
    assert cache.known(("2", None)).num_rows == 0
