"""Tags: counts of the training split, rarity, weights by the formula, weights of samples."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.manifests import manifest_table, tag_list

from nadir.config.tag_statistics import TagStatisticsParams
from nadir.data.tables import MANIFEST, TAGS, read_table, write_table
from nadir.data.tags.codes import TagCoder
from nadir.data.tags.rules import TagRules
from nadir.data.tags.weights import (
    TagStatistics,
    effective_sample_share,
    rarity_bins,
    sample_weights,
    tag_statistics,
    tag_weights,
)

if TYPE_CHECKING:
    from pathlib import Path

Tags = list[tuple[str, str]]
COUNTS = np.array([10_000, 1_000, 100, 10])
ONE_CLASS = np.array(["character"] * 4)


def params(**changes: object) -> TagStatisticsParams:
    values = {
        "power": 0.5,
        "min_weight": 0.1,
        "max_weight": 3.0,
        "max_document_frequency": 1.0,
        "weighted_classes": ("general", "character", "artist"),
        "head_share": 0.8,
        "tail_share": 0.05,
        "paired_tags": 100,
    }
    return TagStatisticsParams.model_validate(values | changes)


def manifest_of(images: list[tuple[str, Tags]]) -> pa.Table:
    return manifest_table({"split": split, "tags": tag_list(tags)} for split, tags in images)


def found_in(
    manifest: pa.Table, folder: Path, rules: TagRules | None = None, **changes: object
) -> TagStatistics:
    write_table(manifest, folder / "manifest.parquet", MANIFEST)
    return tag_statistics(
        folder / "manifest.parquet", params(**changes), rules=rules, scratch=folder
    )


def statistics_of(
    manifest: pa.Table, folder: Path, rules: TagRules | None = None, **changes: object
) -> pa.Table:
    write_table(found_in(manifest, folder, rules, **changes).tags, folder / "tags.parquet", TAGS)
    return read_table(folder / "tags.parquet", TAGS)


def weights_of(manifest: pa.Table, tags: pa.Table) -> np.ndarray:
    return sample_weights(TagCoder(tags).encode(manifest["tags"].combine_chunks()), tags)


def test_weights_match_the_worked_example() -> None:
    wide = {"min_weight": 0.001, "max_weight": 1000.0}
    np.testing.assert_allclose(
        tag_weights(COUNTS, ONE_CLASS, params(**wide)),
        [0.177828, 0.562341, 1.77828, 5.62341],
        rtol=3e-6,
    )
    np.testing.assert_allclose(
        tag_weights(COUNTS, ONE_CLASS, params()), [0.177828, 0.562341, 1.77828, 3.0], rtol=3e-6
    )
    np.testing.assert_allclose(
        tag_weights(COUNTS, ONE_CLASS, params(power=1.0)), [0.1, 0.316228, 3.0, 3.0], rtol=3e-6
    )


def test_the_count_weighted_mean_of_the_example_shows_why_weights_are_normalised() -> None:
    wide = params(min_weight=0.001, max_weight=1000.0)
    mean = np.average(tag_weights(COUNTS, ONE_CLASS, wide), weights=COUNTS)
    assert mean == pytest.approx(0.231745, rel=3e-6)


def test_power_zero_weighs_all_tags_alike() -> None:
    np.testing.assert_array_equal(tag_weights(COUNTS, ONE_CLASS, params(power=0.0)), 1.0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 10**7), min_size=1, max_size=30))
def test_rarer_tags_never_weigh_less_and_clips_hold(counts: list[int]) -> None:
    ordered = np.sort(np.array(counts))
    weights = tag_weights(ordered, np.array(["artist"] * len(counts)), params())
    assert (np.diff(weights) <= 0).all()
    assert ((weights >= 0.1) & (weights <= 3.0)).all()


def test_each_class_has_its_own_reference() -> None:
    counts = np.array([100, 100, 4, 4])
    classes = np.array(["general", "general", "artist", "artist"])
    np.testing.assert_allclose(tag_weights(counts, classes, params()), 1.0)


def test_only_training_images_are_counted_and_a_repeated_tag_counts_once(tmp_path: Path) -> None:
    hair, artist = ("red_hair", "general"), ("ann", "artist")
    manifest = manifest_of(
        [("train", [hair, artist]), ("train", [hair, hair]), ("holdout", [hair, ("x", "meta")])]
    )
    table = statistics_of(manifest, tmp_path)
    rows = [
        (row["tag"], row["class"], row["count"], row["document_frequency"])
        for row in table.to_pylist()
    ]
    assert rows == [("red_hair", "general", 2, 1.0), ("ann", "artist", 1, 0.5)]


def test_tags_are_sorted_by_count_then_name_and_one_name_may_have_two_classes(
    tmp_path: Path,
) -> None:
    images = [
        ("train", [("b", "general"), ("a", "general"), ("red", "artist"), ("red", "general")])
    ]
    table = statistics_of(manifest_of(images), tmp_path)
    assert list(zip(table["tag"].to_pylist(), table["class"].to_pylist(), strict=True)) == [
        ("a", "general"),
        ("b", "general"),
        ("red", "artist"),
        ("red", "general"),
    ]


def test_common_tags_and_unweighted_classes_carry_weight_one(tmp_path: Path) -> None:
    common, rare, meta = ("1girl", "general"), ("halo", "general"), ("highres", "meta")
    images = [("train", [common])] * 9 + [("train", [common, rare, meta])]
    table = statistics_of(manifest_of(images), tmp_path, max_document_frequency=0.5)
    weights = {row["tag"]: (row["weighted"], row["weight"]) for row in table.to_pylist()}
    assert weights["1girl"] == (False, 1.0)
    assert weights["highres"] == (False, 1.0)
    assert weights["halo"] == (True, pytest.approx(10**0.25))


def test_a_folder_name_with_glob_characters_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "set[1]*"
    folder.mkdir()
    assert statistics_of(manifest_of([("train", [("a", "general")])]), folder).num_rows == 1


def test_a_manifest_without_training_tags_gives_an_empty_table_and_equal_weights(
    tmp_path: Path,
) -> None:
    manifest = manifest_of([("train", []), ("holdout", [("a", "general")])])
    assert found_in(manifest, tmp_path).weights.tolist() == [1.0]
    table = statistics_of(manifest, tmp_path)
    assert table.num_rows == 0
    np.testing.assert_array_equal(weights_of(manifest, table), [1.0, 1.0])


def test_head_and_tail_hold_their_shares_of_uses() -> None:
    counts = np.array([50, 20, 10, 10, 5, 3, 1, 1])
    bins = rarity_bins(counts, head_share=0.8, tail_share=0.05)
    assert bins.tolist() == ["head", "head", "mid", "mid", "mid", "tail", "tail", "tail"]


def test_the_most_used_tag_is_head_even_alone_above_the_share() -> None:
    assert rarity_bins(np.array([1, 90, 1]), head_share=0.5, tail_share=0.05).tolist() == [
        "tail",
        "head",
        "tail",
    ]


def test_tags_with_equal_counts_share_a_bin_and_singletons_are_tail() -> None:
    counts = np.array([30, 20] + [1] * 50)
    bins = rarity_bins(counts, head_share=0.8, tail_share=0.05)
    assert bins.tolist() == ["head", "head"] + ["tail"] * 50
    assert rarity_bins(np.array([], dtype=int), head_share=0.8, tail_share=0.05).size == 0


def test_a_sample_takes_the_mean_in_a_class_and_the_product_over_classes() -> None:
    tags = pa.Table.from_pylist(
        [
            {
                "tag": tag,
                "class": tag_class,
                "count": 1,
                "document_frequency": 0.1,
                "rarity": "mid",
                "weight": weight,
                "weighted": weighted,
                "from_names": [],
            }
            for tag, tag_class, weight, weighted in [
                ("a", "general", 0.5, True),
                ("b", "general", 1.5, True),
                ("ann", "artist", 3.0, True),
                ("1girl", "general", 1.0, False),
            ]
        ],
        schema=TAGS,
    )
    general, artist = [("a", "general"), ("b", "general")], [("ann", "artist")]
    images: list[tuple[str, Tags]] = [
        ("train", [("a", "general"), ("1girl", "general")]),  # 0.5: the common tag is left out
        ("train", [*general, *artist]),  # 1.0 * 3.0
        ("train", []),  # 1.0
        ("holdout", [*artist, ("never_seen", "artist"), ("a", "artist")]),  # 3.0
    ]
    mean = (0.5 + 3.0 + 1.0 + 3.0) / 4
    np.testing.assert_allclose(
        weights_of(manifest_of(images), tags), np.array([0.5, 3.0, 1.0, 3.0]) / mean
    )


def random_manifest(images: int = 500) -> pa.Table:
    rng = np.random.default_rng(0)
    return manifest_of(
        [
            (
                "train" if rng.random() < 0.9 else "holdout",
                [(f"t{tag}", "general") for tag in np.unique(rng.zipf(1.5, 9)) if tag < 99],
            )
            for _ in range(images)
        ]
    )


def test_weights_of_the_training_images_have_mean_one_and_follow_the_tags(tmp_path: Path) -> None:
    manifest = random_manifest()
    found = found_in(manifest, tmp_path)
    assert found.weights.mean() == pytest.approx(1.0)
    assert found.weights.std() > 0.1
    train = manifest.filter(pc.equal(manifest["split"], "train"))
    np.testing.assert_allclose(found.weights, weights_of(train, found.tags))


def test_pieces_that_are_read_one_by_one_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = found_in(random_manifest(), tmp_path)
    monkeypatch.setattr("nadir.data.tags.codes.IMAGES_AT_ONCE", 7)
    monkeypatch.setattr("nadir.data.tags.pairs._IMAGES_AT_ONCE", 3)
    pieces = found_in(random_manifest(), tmp_path)
    assert pieces.tags.equals(whole.tags)
    assert pieces.pairs.equals(whole.pairs)
    np.testing.assert_allclose(pieces.weights, whole.weights)


def test_nothing_is_left_in_the_scratch_folder(tmp_path: Path) -> None:
    found_in(random_manifest(20), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.parquet"]


def test_pairs_count_images_with_both_tags_and_say_how_much_more_than_chance(
    tmp_path: Path,
) -> None:
    a, b, c = ("a", "general"), ("b", "artist"), ("c", "general")
    images = [[a, b], [a, b], [a], [c], [b, a, c], []]
    manifest = manifest_of([*(("train", tags) for tags in images), ("holdout", [a, b, c])])
    pairs = found_in(manifest, tmp_path).pairs.to_pylist()
    assert [(row["tag"], row["other"], row["count"]) for row in pairs] == [
        ("a", "b", 3),
        ("a", "c", 1),
        ("b", "c", 1),
    ]
    assert pairs[0]["lift"] == pytest.approx(3 / (4 * 3 / 6))
    assert found_in(manifest, tmp_path, paired_tags=2).pairs.num_rows == 1
    assert found_in(manifest, tmp_path, paired_tags=0).pairs.num_rows == 0


def test_the_pairs_of_many_images_are_those_of_a_plain_count(tmp_path: Path) -> None:
    manifest = random_manifest()
    expected: Counter[tuple[str, str]] = Counter()
    for row in manifest.to_pylist():
        if row["split"] == "train":
            names = sorted(tag["name"] for tag in row["tags"])
            expected.update(itertools.combinations(names, 2))
    pairs = found_in(manifest, tmp_path).pairs.to_pylist()
    assert {(*sorted((row["tag"], row["other"])), row["count"]) for row in pairs} == {
        (*names, count) for names, count in expected.items()
    }


def test_aliases_count_as_their_tag_and_implied_tags_count_once(tmp_path: Path) -> None:
    rules = TagRules([("kitty_ears", "cat_ears")], [("cat_ears", "animal_ears")])
    images = [
        [("kitty_ears", "general")],
        [("cat_ears", "general"), ("animal_ears", "general")],
        [("kitty_ears", "general"), ("cat_ears", "general"), ("hat", "general")],
    ]
    manifest = manifest_of([("train", tags) for tags in images])
    table = statistics_of(manifest, tmp_path, rules)
    assert [(row["tag"], row["count"], row["from_names"]) for row in table.to_pylist()] == [
        ("animal_ears", 3, ["cat_ears", "kitty_ears"]),
        ("cat_ears", 3, ["kitty_ears"]),
        ("hat", 1, []),
    ]
    assert table["document_frequency"].to_pylist()[0] == 1.0
    # The table alone says what an image's names stand for: its own tags first, then what they add.
    uses = TagCoder(table).encode(manifest["tags"].combine_chunks())
    names = table["tag"].to_pylist()
    assert [[names[row] for row in uses.of(image)] for image in range(3)] == [
        ["animal_ears", "cat_ears"],
        ["cat_ears", "animal_ears"],
        ["cat_ears", "hat", "animal_ears"],
    ]


def test_a_tag_that_only_rules_name_takes_the_class_of_what_brings_it(tmp_path: Path) -> None:
    rules = TagRules([("old", "new")], [("saber", "fate")])
    manifest = manifest_of([("train", [("old", "artist"), ("saber", "character")])])
    table = statistics_of(manifest, tmp_path, rules)
    assert dict(zip(table["tag"].to_pylist(), table["class"].to_pylist(), strict=True)) == {
        "fate": "character",
        "new": "artist",
        "saber": "character",
    }


@settings(max_examples=25, deadline=None)
@given(
    images=st.lists(st.lists(st.integers(0, 9), max_size=6, unique=True), max_size=12),
    aliases=st.dictionaries(st.integers(0, 4), st.integers(5, 9), max_size=3),
    implications=st.sets(st.tuples(st.integers(0, 6), st.integers(7, 12)), max_size=6),
)
def test_counts_with_rules_are_those_of_rewriting_each_image_by_hand(
    images: list[list[int]],
    aliases: dict[int, int],
    implications: set[tuple[int, int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    pairs = [(f"t{name}", f"t{tag}") for name, tag in aliases.items()]
    rules = TagRules(pairs, [(f"t{name}", f"t{tag}") for name, tag in implications])
    expected: Counter[str] = Counter()
    for tags in images:
        expected.update({tag for name in tags for tag in rules.tags(f"t{name}")})
    manifest = manifest_of(
        [("train", [(f"t{name}", "general") for name in tags]) for tags in images]
    )
    table = statistics_of(manifest, tmp_path_factory.mktemp("tags"), rules)
    counts = dict(zip(table["tag"].to_pylist(), table["count"].to_pylist(), strict=True))
    assert counts == dict(expected)


def test_equal_weights_keep_the_whole_effective_sample_and_one_heavy_image_nearly_none() -> None:
    assert effective_sample_share(np.ones(7)) == pytest.approx(1.0)
    assert effective_sample_share(np.array([1.0, 0, 0, 0])) == pytest.approx(0.25)
