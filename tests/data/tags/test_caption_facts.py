"""Sentences, words of facts and kept tags of many images, as the manifest has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from nadir.config.caption import AS_BEFORE, TAG_GROUPS, CaptionParams
from nadir.data.tables import MANIFEST, TAGS, read_table, write_table
from nadir.data.tags.caption_facts import CaptionFacts, caption_facts, quality_words
from nadir.data.tags.codes import TagCoder
from nadir.data.tags.weights import tag_names

WORDS = {"worst": 0.0, "good": 0.5, "best": 0.9}
PLAIN = {"drop_all": 0, "drop_tag": 0, "shuffle": False, "underscores": "keep", "token_chunks": 1}


def ranked(scores: list[int | None], years: list[int | None], words: dict[str, float]) -> object:
    columns = pa.chunked_array([scores], pa.int64()), pa.chunked_array([years], pa.int32())
    return quality_words(*columns, words).to_pylist()


def test_quality_is_ranked_within_the_year() -> None:
    scores = [*range(100, 200, 10), *range(10)]
    years = [2020] * 10 + [2010] * 10
    each = ["worst"] * 5 + ["good"] * 4 + ["best"]
    assert ranked(scores, years, WORDS) == each * 2
    # Without years all are ranked among each other.
    assert ranked(scores, [None] * 20, WORDS)[10:] == ["worst"] * 10


def test_equal_scores_have_equal_words_and_none_has_none() -> None:
    assert ranked([5, None, 5, 5], [2020] * 4, WORDS) == ["worst", None, "worst", "worst"]
    assert ranked([1, 2], [None, None], {"good": 0.5}) == [None, "good"]
    assert ranked([None], [None], WORDS) == [None]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    tags = [["trigger", "hat", "1girl"], ["old_name", "cap"], ["hat"], []]
    rows = [
        {
            "sha256": str(place),
            "path": f"{place}.png",
            "width": 8,
            "height": 8,
            "format": "png",
            "split": "holdout" if place == 2 else "train",
            "tags": [{"name": name, "class": "general"} for name in names],
            "mean_luminance": 0.5,
            "perceptual_hash": "0",
            "record_id": "r",
            "rating": [None, "safe", None, "explicit"][place],
            "score": place,
            "year": 2020 if place else None,
            "kept_tags": [2, None, 1, None][place],
            "captions": [{"kind": "txt", "text": f"A {place}."}] if place % 2 else None,
        }
        for place, names in enumerate(tags)
    ]
    write_table(pa.Table.from_pylist(rows, MANIFEST), tmp_path / "manifest.parquet", MANIFEST)
    return tmp_path / "manifest.parquet"


def table_of_tags() -> pa.Table:
    names = ["hat", "1girl", "trigger", "name"]
    rows = [
        {"tag": name, "class": "general", "from_names": ["old_name"] if name == "name" else []}
        for name in names
    ]
    return pa.Table.from_pylist(rows, pa.schema([TAGS.field(n) for n in rows[0]]))


def facts_of(manifest: Path, **changes: object) -> CaptionFacts | None:
    table = table_of_tags()
    split = read_table(manifest, MANIFEST, ["split"])["split"].to_pylist()
    return caption_facts(
        manifest,
        CaptionParams.model_validate(AS_BEFORE | PLAIN | changes),
        coder=TagCoder(table),
        tag_names=tag_names(table),
        chosen=np.array([name == "train" for name in split]),
    )


def found(manifest: Path, **changes: object) -> list[tuple[list[str], dict[str, str], list[str]]]:
    facts = facts_of(manifest, **changes)
    assert facts is not None
    about = [facts.of(image) for image in range(3)]
    return [(list(a.sentences), dict(a.words), [name for name, _ in a.kept]) for a in about]


def test_what_is_asked_for_is_read_of_the_chosen_images(manifest: Path) -> None:
    assert facts_of(manifest) is None
    both = AS_BEFORE["forms"] | {"sentence": 1.0}
    assert [each[0] for each in found(manifest, forms=both)] == [[], ["A 1."], ["A 3."]]
    order = (*TAG_GROUPS, "rating", "year", "quality")
    words = [each[1] for each in found(manifest, order=order, quality={"best": 0.6})]
    # The held-out image of 2020 counts in the ranks.
    assert words == [
        {},
        {"rating": "safe", "year": "year_2020"},
        {"rating": "explicit", "year": "year_2020", "quality": "best"},
    ]


def test_kept_tags_are_the_first_of_the_source(manifest: Path) -> None:
    # An alias counts as the tag that it stands for, and tags that training does not know as none.
    assert [each[2] for each in found(manifest, keep_first=1)] == [["trigger"], ["name"], []]
    marked = [each[2] for each in found(manifest, keep_first="marked")]
    assert marked == [["trigger", "hat"], [], []]
