"""The sums of the gate are those that Great Expectations' own expectations find."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nadir.config.reader import read_section
from nadir.config.validate import ValidateParams
from nadir.data.gate.suite import Expectation, suite
from nadir.data.gate.sums import Sum, sums

if TYPE_CHECKING:
    from pathlib import Path

HASHES = ("0" * 17, "0" * 15, "f" * 16, "g" * 16)
COLUMNS = {
    "sha256": ["b", "a", "c", "a", None, "b", "a", None],
    "path": ["ä 1.png", "x'.png", 'y".png', "$1.png", "b%", "[a].png", "*.png", ""],
    "width": [48, 47, 0, -1, 2_000, 1, 48, 47],
    "height": [48] * 8,
    "mean_luminance": [0.0, 1.0, -0.1, math.nan, None, 1.1, 1e20, 0.5],
    "perceptual_hash": ["0123456789abcdef", "0123456789ABCDEF", "", None, *HASHES],
    "split": ["train", "holdout", "Train", "", None, "test", "train", "holdout"],
}
TYPES = {"width": pa.int32(), "height": pa.int32(), "mean_luminance": pa.float32()}


@pytest.fixture
def expectations(root: Path) -> list[Expectation]:
    params = read_section("validate", ValidateParams, root / "params.yaml")
    return [each for each in suite(params) if each.table == "manifest"]


def asked_one_by_one(expectations: list[Expectation], manifest: Path) -> dict[str, Sum]:
    """What Great Expectations finds by itself in the manifest's values."""
    import great_expectations as gx
    import great_expectations.expectations as gxe

    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_pandas("files").add_parquet_asset("m", path=manifest)
    batch = asset.add_batch_definition("m").get_batch()
    asked: list[Any] = [
        getattr(gxe, each.kind)(**each.arguments, meta={"name": each.name}) for each in expectations
    ]
    rules = gx.ExpectationSuite(name="m", expectations=asked)
    found = {}
    for answer in batch.validate(rules, result_format="SUMMARY").results:
        result, name = answer.result, answer.expectation_config.meta["name"]
        examples = tuple(str(value) for value in result["partial_unexpected_list"][:3])
        found[name] = Sum(result["element_count"], result["unexpected_count"], examples)
    return found


def written(columns: dict[str, list[Any]], path: Path) -> Path:
    table = {n: pa.array(v, TYPES.get(n, pa.string())) for n, v in columns.items()}
    # More than one row group: rows are counted through the file.
    pq.write_table(pa.table(table), path, row_group_size=3)
    return path


def test_sums_are_what_great_expectations_finds_in_the_values(
    expectations: list[Expectation], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    drawn = {
        name: [values[i] for i in rng.integers(0, len(values), 500)]
        for name, values in COLUMNS.items()
    }
    good = {name: values[:1] for name, values in COLUMNS.items()}
    for name, columns in (("all[1]*", COLUMNS), ("drawn", drawn), ("good", good)):
        manifest = written(columns, tmp_path / f"{name}.parquet")
        assert sums(expectations, manifest) == asked_one_by_one(expectations, manifest)


def test_an_empty_manifest_has_nothing_unexpected(
    expectations: list[Expectation], tmp_path: Path
) -> None:
    manifest = written({name: [] for name in COLUMNS}, tmp_path / "none.parquet")
    found = sums(expectations, manifest)
    assert found == {each.name: Sum(0, 0, ()) for each in expectations}


def test_a_kind_that_cannot_be_counted_is_refused(tmp_path: Path) -> None:
    manifest = written(COLUMNS, tmp_path / "all.parquet")
    other = Expectation("x", "X", "critical", "manifest", "ExpectOther", {"column": "path"})
    with pytest.raises(KeyError, match="ExpectOther"):
        sums([other], manifest)
