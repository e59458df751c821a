"""A `dvc.lock` that a kill has cut off is told as that by whoever reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError
from nadir.tracking.lock_file import read_lock

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = """schema: '2.0'
stages:
  bucket:
    cmd: python -m nadir.stages.bucket
    deps:
    - path: a.py
      hash: md5
      md5: 9135130e52b02b7c9864ceab1f87a2b5
      size: 1390
    outs:
    - path: b.parquet
      hash: md5
      md5: 0eb63054929774ac7c5397522781e9e7
      size: 1271
"""


def test_wherever_it_ends_it_is_whole_or_damaged(tmp_path: Path) -> None:
    path = tmp_path / "dvc.lock"
    told, kept = set(), set()
    for end in range(len(WHOLE)):
        path.write_text(WHOLE[:end], encoding="utf-8")
        lock, damage = read(tmp_path)
        if damage is None:
            parts = [p for e in lock.values() for p in [*e.get("deps", []), *e.get("outs", [])]]
            assert all(part["path"] and "md5" in part for part in parts)
            kept.add(end)
        else:
            assert damage.what.startswith("the file is damaged: ")
            assert "delete the file" in damage.fix
            told.add(end)
    for torn in ("- path: ", "- path: b.parquet\n", "hash: md5\n"):
        assert WHOLE.rindex(torn) + len(torn) in told
    assert len(kept) > 20  # before the stages, or at the end of an entry


def read(root: Path) -> tuple[dict[str, dict[str, Any]], NadirError | None]:
    try:
        return read_lock(root), None
    except NadirError as error:
        return {}, error


def test_hashes_of_other_kinds_are_hashes_too(tmp_path: Path) -> None:
    text = WHOLE.replace("      hash: md5\n", "").replace("md5: 9", "etag: 9")
    (tmp_path / "dvc.lock").write_text(text, encoding="utf-8")
    (known,) = read_lock(tmp_path)["bucket"]["deps"]
    assert known["etag"].startswith("9135")
