"""Which files are looked at, and which again."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from tests.data.inspection.test_inspection import LIMITS, facts_of
from tests.support.coded import in_words
from tests.support.hostile import encoded, picture
from tests.support.inspecting import inspect_listing

from nadir.data.inspection.inspection import Limits, inspect_file
from nadir.data.sources.detect import open_source

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_that_changed_or_went_since_the_listing_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(picture(0), "PNG"))
    source = open_source(str(tmp_path), "folder")
    size, modified = source.version("a.png")
    (tmp_path / "a.png").write_bytes(encoded(picture(1), "PNG"))
    changed = inspect_file(source, "a.png", size, modified, limits=LIMITS)
    gone = inspect_file(source, "b.png", size, modified, limits=LIMITS)
    assert (changed.reason, gone.reason) == ("vanished", "vanished")
    assert "changed" in str(changed.detail)


def test_a_large_file_is_not_even_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bytes(2000))
    limits = Limits(max_pixels=10, max_file_bytes=1999, alpha_background=(0, 0, 0))
    facts = facts_of(tmp_path, "a.png", limits)
    assert (facts.reason, facts.sha256) == ("too_large", None)


def test_only_new_or_changed_files_are_looked_at_again(tmp_path: Path) -> None:
    folder, memory = tmp_path / "images", tmp_path / "memory"
    folder.mkdir()
    for index in range(4):
        (folder / f"{index}.png").write_bytes(encoded(picture(index), "PNG"))
        (folder / f"{index}.txt").write_text(f"tag{index}, solo")
    source = open_source(str(folder), "folder")

    def again(limits: Limits = LIMITS) -> tuple[int, list[object], list[object]]:
        found = inspect_listing(
            source.list_images().table, source, limits=limits, memory=memory, workers=1
        )
        return found.looked_at, found.facts.to_pylist(), in_words(found)

    first = again()
    expected = [asdict(facts_of(folder, f"{index}.png")) for index in range(4)]
    assert [{**row, "mean_luminance": None} for row in first[1]] == [
        {**row, "mean_luminance": None} for row in expected
    ]
    assert again() == (0, *first[1:])
    (folder / "1.png").write_bytes(encoded(picture(9), "PNG"))
    (folder / "2.txt").write_text("other")
    looked_at, facts, tags = again()
    assert looked_at == 1
    assert [a == b for a, b in zip(facts, first[1], strict=True)] == [True, False, True, True]
    assert tags[2]["tags"] == [{"name": "other", "class": ""}]
    # Another colour behind transparency may change facts; other limits do not.
    assert again(Limits(999, 1 << 20, (255, 255, 255)))[0] == 0
    assert again(Limits(1_000_000, 1 << 20, (0, 0, 0)))[0] == 4


def test_a_refusal_by_limits_is_looked_at_again(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(encoded(picture(0), "PNG"))
    source = open_source(str(folder), "folder")
    reasons = []
    for max_pixels in (100, 10_000):
        found = inspect_listing(
            source.list_images().table,
            source,
            limits=Limits(max_pixels, 1 << 20, (255, 255, 255)),
            memory=tmp_path / "memory",
            workers=1,
        )
        reasons.append(found.facts.column("reason").to_pylist())
    assert reasons == [["too_large"], [None]]
