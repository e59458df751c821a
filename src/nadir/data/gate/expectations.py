"""The gate: what a dataset must be like, as a Great Expectations suite in code.

Single bad images never reach it, they are in quarantine. What it says of the manifest is counted in
the file that the stages behind it will read; one Checkpoint call checks these counts beside the
totals, a table of one row.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from nadir.data.gate.sums import sums

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nadir.data.gate.suite import Expectation
    from nadir.data.gate.sums import Sum

    Total = int | float | None


@dataclass(frozen=True)
class Outcome:
    """What came of an expectation; `found` says what was seen instead, or as well."""

    expectation: Expectation
    passed: bool
    found: str

    @property
    def text(self) -> str:
        """The outcome as one line."""
        sentence = self.expectation.sentence
        wanted = sentence[0].lower() + sentence[1:]
        return f"expected: {wanted}; found: {self.found}"


def run_gate(
    expectations: list[Expectation], *, manifest: Path, totals: Mapping[str, Total]
) -> list[Outcome]:
    """Check all expectations in one Checkpoint call.

    Args:
        expectations: From `suite`.
        manifest: The written manifest.
        totals: The one row that expectations about `totals` look at, by column.

    Raises:
        RuntimeError: An expectation could not be evaluated; a fault of the suite, not of the data.
    """
    about_manifest = [each for each in expectations if each.table == "manifest"]
    try:
        counted = sums(about_manifest, manifest)
    except duckdb.Error as error:
        names = ", ".join(each.name for each in about_manifest)
        msg = f"expectations {names} could not be evaluated: {error}"
        raise RuntimeError(msg) from error
    # Floats, so that an unknown share is a null of a numeric column.
    row = {name: pa.array([value], pa.float64()) for name, value in totals.items()}
    row |= {name: pa.array([each.unexpected], pa.float64()) for name, each in counted.items()}
    with tempfile.TemporaryDirectory(prefix="nadir-gate-") as folder:
        table = Path(folder) / "totals.parquet"
        pq.write_table(pa.table(row), table)
        results = _checkpoint(expectations, table)
    return [_outcome(each, results[each.name], totals, counted) for each in expectations]


def _checkpoint(expectations: list[Expectation], table: Path) -> dict[str, Any]:
    # Imported here: it takes seconds, and it must see the variable.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types import base

    # In memory from end to end, and no site of docs: the page is ours, readable offline.
    stores = base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    settings = base.DataContextConfig(
        store_backend_defaults=stores,
        analytics_enabled=False,
        progress_bars=base.ProgressBarsConfig(globally=False),
    )
    context = gx.get_context(mode="ephemeral", project_config=settings)
    files = context.data_sources.add_pandas("nadir")
    asset = files.add_parquet_asset("totals", path=table)
    rules = gx.ExpectationSuite(name="gate", expectations=[_translate(e) for e in expectations])
    definition = gx.ValidationDefinition(
        name="gate", data=asset.add_batch_definition("totals"), suite=context.suites.add(rules)
    )
    checkpoint = gx.Checkpoint(
        name="gate",
        validation_definitions=[context.validation_definitions.add(definition)],
        result_format={"result_format": "SUMMARY"},
    )
    result = context.checkpoints.add(checkpoint).run()
    found = [each for run in result.run_results.values() for each in run.results]
    return {each.expectation_config.meta["name"]: each for each in found}


def _translate(each: Expectation) -> Any:
    import great_expectations.expectations as gxe

    about = {"severity": each.severity, "description": each.sentence, "meta": {"name": each.name}}
    if each.table == "manifest":
        # Its unexpected values are counted already: there must be none.
        return gxe.ExpectColumnValuesToBeBetween(column=each.name, max_value=0, **about)
    return getattr(gxe, each.kind)(**each.arguments, **about)


def _outcome(
    each: Expectation, result: Any, totals: Mapping[str, Total], counted: Mapping[str, Sum]
) -> Outcome:
    if not result.success and "unexpected_count" not in result.result:
        msg = f"expectation {each.name} could not be evaluated: {result.exception_info}"
        raise RuntimeError(msg)
    if each.table == "totals":
        return Outcome(each, bool(result.success), _shown(totals[each.name], each.unit))
    seen, bad = counted[each.name].images, counted[each.name].unexpected
    examples = ", ".join(value[:80] for value in counted[each.name].examples)
    found = f"{bad:,} of {seen:,} images do not, such as {examples}" if bad else f"{seen:,} images"
    return Outcome(each, bool(result.success), found)


def _shown(value: Total, unit: str) -> str:
    if value is None:
        return "nothing to measure"
    return f"{value:,} {unit}" if unit else f"{100 * value:.1f} %"
