"""Screening gives each image one verdict; the gate stops, warns or passes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from nadir.config.reader import read_section
from nadir.config.validate import ShareGate, ValidateParams
from nadir.data import tables
from nadir.data.gate.expectations import Outcome, run_gate
from nadir.data.gate.suite import suite
from nadir.data.gate.summary import metrics, split, stop_on_critical, worst_examples
from nadir.data.gate.verdicts import Screened, screen
from nadir.data.inspection.listing import FACTS, TAG_FACTS, ListingFacts
from nadir.data.quarantine import FIXES, PASSING, UNDECODABLE, Reason
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path

GOOD_FACTS: dict[str, Any] = {
    "width": 100,
    "height": 80,
    "format": "png",
    "mean_luminance": 0.5,
    "perceptual_hash": "0123456789abcdef",
    "reason": None,
    "detail": None,
    "colour": None,
}


@pytest.fixture
def params(root: Path) -> ValidateParams:
    return read_section("validate", ValidateParams, root / "params.yaml")


def screened(params: ValidateParams, *images: dict[str, Any]) -> Screened:
    """Screen images given by what differs from a good one; `tags` is a list of (name, class)."""
    listing, facts, tags = [], [], []
    for index, image in enumerate(images):
        path = image.get("path", f"{index:03}.png")
        listing.append({"path": path, "size": image.get("size", 1000), "version": "1"})
        fact = {"sha256": f"{index:064x}", **GOOD_FACTS, **image}
        facts.append({name: fact[name] for name in FACTS.names})
        pairs = image.get("tags", [("1girl", ""), ("solo", "")])
        count = len(pairs)
        fact = {"tags": [{"name": n, "class": c} for n, c in pairs], "written": count}
        fact |= {"well_formed": count, "reason": image.get("tags_reason"), "detail": "why"}
        fact |= {"rating": image.get("rating")}
        tags.append(fact)
    table = pa.Table.from_pylist(listing, schema=tables.LISTING)
    found = ListingFacts(
        pa.Table.from_pylist(facts, schema=FACTS), pa.Table.from_pylist(tags, schema=TAG_FACTS), 0
    )
    return screen(table, found, params, [("1girl", "general"), ("watermark", "meta")])


def reasons(result: Screened) -> dict[str, str]:
    rows = result.quarantine.to_pylist()
    return {row["path"]: row["reason"] for row in rows}


def gate(params: ValidateParams, result: Screened, folder: Path, listed: int) -> dict[str, Outcome]:
    dataset = split(result, listed=listed, params=params)
    path = folder / "manifest.parquet"
    tables.write_groups(dataset.manifest.pieces(), path, tables.MANIFEST)
    outcomes = run_gate(suite(params), manifest=path, totals=dataset.totals)
    return {outcome.expectation.name: outcome for outcome in outcomes}


@pytest.mark.parametrize(
    ("image", "reason", "detail"),
    [
        ({"reason": "truncated", "detail": "cut"}, "truncated", "cut"),
        ({"width": 47}, "too_small", "47 x 80; the shorter side must have 48 pixels"),
        ({"width": 1000, "height": 100}, "extreme_aspect", "10.0 : 1; at most 6 : 1"),
        ({"width": 20_000, "height": 20_000}, "too_large", "more than 120,000,000 pixels"),
        ({"size": 1 << 30}, "too_large", "1,073,741,824 bytes"),
        ({"tags": []}, "no_tags", "0 tags; at least 1 wanted"),
        ({"tags": [(f"t{i}", "") for i in range(1001)]}, "too_many_tags", "1,001 tags"),
        ({"tags": [], "tags_reason": "bad_tags_file"}, "bad_tags_file", "why"),
        ({"tags": [], "tags_reason": "crashed"}, "cannot_open", "tags could not be read: why"),
        ({"tags": [], "tags_reason": "timed_out"}, "cannot_open", "tags could not be read: why"),
    ],
)
def test_each_fault_has_its_reason(
    params: ValidateParams, image: dict[str, Any], reason: str, detail: str
) -> None:
    row = screened(params, {}, image).quarantine.to_pylist()
    assert [(r["path"], r["reason"], r["fix"]) for r in row] == [
        ("001.png", reason, FIXES[Reason(reason)])
    ]
    assert detail in row[0]["detail"]


def test_ratings_are_excluded_by_name_and_unrated_images_have_one_too(
    params: ValidateParams,
) -> None:
    images = [{"rating": "explicit"}, {"rating": "general"}, {}, {"rating": "banned"}]
    assert reasons(screened(params, *images)) == {}
    policy = params.model_copy(update={"exclude_ratings": ("explicit", "banned")})
    result = screened(policy, *images)
    assert reasons(result) == {"000.png": "rating_excluded", "003.png": "rating_excluded"}
    assert "its rating is explicit" in result.quarantine.column("detail").to_pylist()
    # As some boorus write it.
    letters = params.model_copy(update={"exclude_ratings": ("e", "Banned")})
    assert reasons(screened(letters, *images)) == reasons(result)
    policy = params.model_copy(update={"exclude_ratings": ("unrated",)})
    assert reasons(screened(policy, *images)) == {"002.png": "rating_excluded"}


def test_ratings_can_be_used_with_a_warning(params: ValidateParams, tmp_path: Path) -> None:
    images = [{"rating": "explicit"}, {"rating": "explicit"}, {"rating": "general"}, {}]
    assert gate(params, screened(params, *images), tmp_path, 4)["unwanted_ratings"].passed
    policy = params.model_copy(update={"warn_ratings": ("explicit", "unrated")})
    outcome = gate(policy, screened(policy, *images), tmp_path, 4)["unwanted_ratings"]
    assert not outcome.passed
    assert outcome.text == (
        "expected: no image has a rating of validate.warn_ratings; found: 3 images have one"
    )
    assert outcome.expectation.severity == "warning"


def test_images_without_a_rating_are_counted_where_ratings_are_excluded(
    params: ValidateParams, tmp_path: Path
) -> None:
    images = [{"rating": "explicit"}, {}, {"rating": "general"}, {}]
    assert "unrated_images" not in gate(params, screened(params, *images), tmp_path, 4)
    policy = params.model_copy(update={"exclude_ratings": ("explicit",)})
    outcome = gate(policy, screened(policy, *images), tmp_path, 4)["unrated_images"]
    assert (outcome.passed, outcome.expectation.severity) == (False, "warning")
    assert outcome.text == (
        "expected: every image has a rating, since validate.exclude_ratings leaves images out by "
        "it; found: 2 images have none and are used"
    )
    strict = params.model_copy(update={"exclude_ratings": ("explicit", "unrated")})
    assert gate(strict, screened(strict, *images), tmp_path, 4)["unrated_images"].passed


def test_a_webp_may_have_half_the_pixels(params: ValidateParams) -> None:
    size = {"width": 9000, "height": 9000}
    found = reasons(screened(params, size, {**size, "format": "webp"}))
    assert found == {"001.png": "too_large"}


def far_hash(index: int) -> str:
    """Hashes far from each other."""
    return f"{(index + 1) * 0x9E3779B97F4A7C15 % 2**64:016x}"


def test_copies_and_lookalikes_are_told_above_their_limits(
    params: ValidateParams, tmp_path: Path
) -> None:
    images = [{"perceptual_hash": far_hash(i)} for i in range(12)]
    images += [{"sha256": f"{0:064x}"}] * 3
    images += [{"perceptual_hash": f"{int(far_hash(i), 16) ^ 1:016x}"} for i in range(4)]
    outcomes = gate(params, screened(params, *images), tmp_path, 19)
    assert outcomes["duplicate_share"].found == "15.8 %"
    assert outcomes["near_duplicate_share"].found == "50.0 %"
    assert not outcomes["duplicate_share"].passed
    assert not outcomes["near_duplicate_share"].passed
    assert outcomes["leaking_images"].passed


@pytest.mark.parametrize(
    ("tag", "readable"),
    [
        ("caf\u00e9", True),
        ("\u540d\u524d", True),
        ("n\u00ed\u017eina", True),
        ("50\u20ac", True),
        ("caf\u00e3\u00a9", False),  # café, UTF-8 read as Latin-1
        ("\u00e2\u20ac\u0153quoted", False),
        ("what\ufffd", False),
        ("icon_\ue012", False),
    ],
)
def test_tags_in_the_wrong_encoding_are_noticed(
    params: ValidateParams, tmp_path: Path, tag: str, readable: bool
) -> None:
    images = [{"perceptual_hash": far_hash(i), "tags": [("solo", ""), (tag, "")]} for i in range(9)]
    outcome = gate(params, screened(params, *images), tmp_path, 9)["readable_tag_share"]
    assert (outcome.passed, outcome.found) == ((True, "100.0 %") if readable else (False, "50.0 %"))


def test_captions_instead_of_tags_are_noticed(params: ValidateParams, tmp_path: Path) -> None:
    images = [
        {"perceptual_hash": far_hash(i), "tags": [("solo", ""), (f"a_{i}", ""), (f"b_{i}", "")]}
        for i in range(120)
    ]
    outcome = gate(params, screened(params, *images), tmp_path, 120)["recurring_tag_share"]
    assert (outcome.passed, outcome.found) == (False, "33.3 %")
    few = gate(params, screened(params, *images[:20]), tmp_path, 20)["recurring_tag_share"]
    assert (few.passed, few.found) == (True, "nothing to measure")


def test_the_first_usable_path_of_equal_files_stays(params: ValidateParams) -> None:
    same = {"sha256": "a" * 64}
    result = screened(params, {**same, "tags": []}, same, same, {})
    assert reasons(result) == {"000.png": "no_tags", "002.png": "duplicate"}
    assert result.manifest.table().column("path").to_pylist() == ["003.png", "001.png"]
    assert "same bytes as 001.png" in result.quarantine.column("detail").to_pylist()


def test_every_listed_image_has_exactly_one_verdict(params: ValidateParams) -> None:
    images = [{}, {"width": 1, "tags": []}, {"reason": "unreadable"}, {"tags": []}, {}]
    result = screened(params, *images)
    paths = result.manifest.table().column("path").to_pylist() + list(reasons(result))
    assert sorted(paths) == [f"{index:03}.png" for index in range(5)]


def test_classes_come_from_the_file_then_the_vocabulary_then_general(
    params: ValidateParams,
) -> None:
    tags = [("1girl", "meta"), ("watermark", ""), ("unheard_of", ""), ("someone", "artist")]
    row = screened(params, {"tags": tags}).manifest.table().to_pylist()[0]
    assert [(tag["name"], tag["class"]) for tag in row["tags"]] == [
        ("1girl", "meta"),
        ("watermark", "meta"),
        ("unheard_of", "general"),
        ("someone", "artist"),
    ]


def test_the_manifest_is_sorted_by_hash_and_keeps_tags_with_their_image(
    params: ValidateParams,
) -> None:
    images = [
        {"sha256": f"{9 - i}" * 64, "path": f"sub.d/{i}.png", "tags": [(f"t{i}", "")] * i or []}
        for i in range(4)
    ]
    manifest = screened(params, *images).manifest.table()
    assert manifest.schema.equals(tables.MANIFEST)
    assert manifest.column("path").to_pylist() == ["sub.d/3.png", "sub.d/2.png", "sub.d/1.png"]
    assert manifest.column("record_id").to_pylist() == ["sub.d/3", "sub.d/2", "sub.d/1"]
    assert [len(tags) for tags in manifest.column("tags").to_pylist()] == [3, 2, 1]


def test_without_a_minimum_images_may_have_no_tags(params: ValidateParams) -> None:
    free = params.model_copy(update={"min_tags": 0})
    result = screened(free, {"tags": []}, {})
    assert result.manifest.table().column("tags").to_pylist()[0] == []
    assert result.tagged == 2


def test_a_good_dataset_passes_everything(params: ValidateParams, tmp_path: Path) -> None:
    images = [{"perceptual_hash": f"{i * 0x9E3779B97F4A7C15 % 2**64:016x}"} for i in range(40)]
    outcomes = gate(params, screened(params, *images), tmp_path, 40)
    assert [name for name, outcome in outcomes.items() if not outcome.passed] == []


def test_low_shares_warn_or_stop_as_the_parameters_say(
    params: ValidateParams, tmp_path: Path
) -> None:
    result = screened(params, {}, {"reason": "unreadable"}, {"reason": "unreadable"}, {"tags": []})
    outcomes = gate(params, result, tmp_path, 4)
    failed = {name for name, outcome in outcomes.items() if not outcome.passed}
    assert failed == {"decodable_share", "usable_share", "tagged_share"}
    assert outcomes["usable_share"].text == (
        "expected: at least 50 % of the listed images are usable; found: 25.0 %"
    )
    stop_on_critical(list(outcomes.values()), result.quarantine, "page")
    strict = params.model_copy(update={"usable_share": ShareGate(minimum=0.5, severity="critical")})
    outcomes = gate(strict, result, tmp_path, 4)
    with pytest.raises(NadirError, match=r"at least 50 % of the listed images are usable") as stop:
        stop_on_critical(list(outcomes.values()), result.quarantine, "reports/validation.html")
    assert "such as '001.png' - unreadable" in str(stop.value)


def test_no_usable_image_stops_with_the_three_worst(params: ValidateParams, tmp_path: Path) -> None:
    bad = [{"reason": "truncated"}] * 3 + [{"tags": []}] * 2 + [{"width": 1}]
    result = screened(params, *bad)
    outcomes = gate(params, result, tmp_path, 6)
    with pytest.raises(NadirError, match="at least one image is usable; found: 0 images") as stop:
        stop_on_critical(list(outcomes.values()), result.quarantine, "page")
    examples = [line for line in str(stop.value).splitlines() if "such as" in line]
    assert ["truncated" in examples[0], "no_tags" in examples[1], "too_small" in examples[2]] == [
        True
    ] * 3


def test_a_lost_image_and_a_double_entry_stop(params: ValidateParams, tmp_path: Path) -> None:
    rows = screened(params, *[{"perceptual_hash": f"{i:016x}"} for i in range(30)]).manifest.table()
    path = tmp_path / "manifest.parquet"
    tables.write_table(pa.concat_tables([rows, rows.slice(0, 1)]), path, tables.MANIFEST)
    unknown = {e.name: None for e in suite(params) if e.table == "totals"}
    totals = unknown | {
        "usable_images": 31,
        "train_images": 30,
        "unaccounted_images": 1,
        "leaking_images": 0,
        "missing_holdout": 1,
        "decodable_share": 1.0,
        "usable_share": 1.0,
        "tagged_share": None,
        "tag_vocabulary_share": 0.95,
    }
    outcomes = run_gate(suite(params), manifest=path, totals=totals)
    failed = {o.expectation.name: o for o in outcomes if not o.passed}
    assert set(failed) == {
        "unaccounted_images",
        "missing_holdout",
        "sha256_unique",
        "path_unique",
    }
    assert failed["sha256_unique"].found.startswith("2 of 31 images do not, such as 0000")
    assert failed["missing_holdout"].expectation.severity == "warning"


def test_a_split_that_leaks_is_noticed_and_stops(
    params: ValidateParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three pairs of look-alikes, each torn apart by groups that do not know of them."""
    alike = [f"{int(far_hash(i), 16) ^ 0b1010_0000_0101:016x}" for i in range(3)]
    images = [{"perceptual_hash": each} for each in [*map(far_hash, range(30)), *alike]]
    monkeypatch.setattr(
        "nadir.data.gate.splits.near_duplicate_groups", lambda values: np.arange(len(values))
    )
    monkeypatch.setattr(
        "nadir.data.gate.splits._drawn",
        lambda values, seed: np.array([f"{v:016x}" not in alike for v in values.tolist()], float),
    )
    torn = screened(params.model_copy(update={"holdout_share": 0.1}), *images)
    outcomes = gate(params, torn, tmp_path, 33)
    assert not outcomes["leaking_images"].passed
    with pytest.raises(NadirError) as stop:
        stop_on_critical(list(outcomes.values()), torn.quarantine, "page")
    assert (
        "expected: no near-duplicate of a training image is held out; found: 3 held-out images are"
    ) in str(stop.value)


def test_an_expectation_that_cannot_be_evaluated_is_a_fault_of_the_suite(
    params: ValidateParams, tmp_path: Path
) -> None:
    path = tmp_path / "manifest.parquet"
    tables.write_table(screened(params, {}).manifest.table(), path, tables.MANIFEST)
    hashes = next(each for each in suite(params) if each.name == "perceptual_hash")
    assert run_gate([hashes], manifest=path, totals={})[0].passed
    broken = replace(hashes, arguments={**hashes.arguments, "regex": "("})
    with pytest.raises(RuntimeError, match=r"perceptual_hash could not be evaluated: .*missing \)"):
        run_gate([broken], manifest=path, totals={})


def test_metrics_are_numbers_and_short_texts(params: ValidateParams, tmp_path: Path) -> None:
    result = screened(params, {}, {"tags": []}, {"reason": "unreadable"})
    dataset = split(result, listed=3, params=params)
    found = metrics(dataset, list(gate(params, result, tmp_path, 3).values()))
    assert found["images"] == {
        "listed": 3,
        "used": 1,
        "quarantined": 2,
        "train": 1,
        "holdout": 0,
    }
    assert found["quarantined"] == {"no_tags": 1, "unreadable": 1}
    assert found["expectations"]["warnings"] == 3
    assert len(found["warnings"]) == 3


def test_worst_examples_show_each_reason_before_a_second_of_the_first() -> None:
    names = ["truncated"] * 5 + ["no_tags"] * 2
    rows = [
        {"path": str(i), "reason": reason, "detail": "", "fix": ""}
        for i, reason in enumerate(names)
    ]
    table = pa.Table.from_pylist(rows, schema=tables.QUARANTINE)
    assert [row["path"] for row in worst_examples(table)] == ["0", "5", "1"]


def test_every_reason_has_a_fix() -> None:
    assert set(FIXES) == set(Reason)
    assert set(Reason) > UNDECODABLE
    assert PASSING <= UNDECODABLE


def test_the_gate_leaves_no_file_behind(
    params: ValidateParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    gate(params, screened(params, {}), tmp_path, 1)
    assert list(temporary.iterdir()) == []
